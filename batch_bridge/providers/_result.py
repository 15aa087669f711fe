"""How all vendors' answers are read. Pure."""

import json
from typing import Any

import orjson


def loads(text: bytes | str) -> Any:
    """Read JSON; half a surrogate pair, which models do write and UTF-8 cannot hold, becomes a question mark.

    Raises:
        ValueError: It is none.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        lenient = json.dumps(json.loads(text), ensure_ascii=False)
        return orjson.loads(lenient.encode("utf-8", "replace"))
