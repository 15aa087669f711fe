"""Files of JSON, one value on each line, as commands read them."""

import codecs
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import orjson

from batch_bridge._core.json import text as _text

ARRAY: Final = "the file is one JSON array, and there is to be one item on each line; convert it with: jq -c '.[]' FILE"


def read_lines(path: Path) -> dict[str, Any]:
    """Return a file's values by where they stand; `-` is standard input.

    Raises:
        OSError: It cannot be read.
        ValueError: A line is no JSON.
    """
    with sys.stdin.buffer if str(path) == "-" else path.open("rb") as lines:
        return read(lines)


def read(file: Iterable[bytes]) -> dict[str, Any]:
    """Return a file's values by where they stand. A mark at its start, CRLF and blank lines are as good as none.

    Raises:
        ValueError: A line is no JSON.
    """
    items: dict[str, Any] = {}
    for number, line in enumerate(file, 1):
        text = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
        if not text.strip():
            continue
        try:
            item = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            if not items and text.lstrip().startswith(b"["):
                raise ValueError(ARRAY) from error
            raise ValueError(
                f"line {number} is not JSON: {error.msg} (column {error.colno}); give one item on each line, in UTF-8"
            ) from error
        items[f"line {number}"] = _text.read(text) if _text.is_long(text) else item
    return items
