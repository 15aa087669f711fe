"""What stands up to the last mark of the cache in a body: what the API writes there, and reads. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from hashlib import blake2b
from typing import Any, Final

import orjson

from batch_bridge._core.models import CachedPrefix

_MARK: Final = "cache_control"
_LASTS: Final = {"5m": timedelta(minutes=5), "1h": timedelta(hours=1)}
"""How long the API keeps an entry, by the mark's `ttl`.

Source: platform.claude.com/docs/en/build-with-claude/prompt-caching, "1-hour cache duration".
"""
_DECIDING: Final = ("tool_choice", "thinking")
"""Fields of the body that void what the cache holds of its messages, though they stand in none.

Source: the same, "What invalidates the cache".
"""
_DIGEST_BYTES: Final = 16


def prefix_of(body: Mapping[str, Any], betas: Sequence[str] = ()) -> CachedPrefix | None:
    """Return what a body has the API keep; `None` if it marks nothing.

    Tools come first, then the system prompt, then the messages. The order of a block's own fields means nothing, and
    neither does whether another block before it is marked.
    """
    parts = list(_parts(body))
    marked = next((place for place in reversed(range(len(parts))) if _mark(parts[place][2]) is not None), None)
    if marked is None:
        return None
    kind, _, last = parts[marked]
    deciding = {name: body.get(name) for name in _DECIDING} if kind == "messages" else None
    said = [(kind, role, _plain(block)) for kind, role, block in parts[: marked + 1]]
    digest = blake2b(_dumps([body.get("model"), list(betas), deciding, said]), digest_size=_DIGEST_BYTES)
    ttl = (_mark(last) or {}).get("ttl")
    lasts = _LASTS.get(ttl, _LASTS["5m"]) if isinstance(ttl, str) else _LASTS["5m"]
    return CachedPrefix(digest.hexdigest(), lasts)


def _parts(body: Mapping[str, Any]) -> Iterator[tuple[str, object, object]]:
    """Yield kind, role and content of each part of a prompt, in the order in which the API caches it."""
    for name in ("tools", "system"):
        yield from ((name, None, block) for block in _blocks(body.get(name)))
    messages = body.get("messages")
    for message in messages if isinstance(messages, list) else []:
        if isinstance(message, Mapping):
            yield from (("messages", message.get("role"), block) for block in _blocks(message.get("content")))


def _blocks(given: object) -> Sequence[object]:
    return given if isinstance(given, list) else [] if given is None else [{"type": "text", "text": given}]


def _mark(block: object) -> Mapping[str, Any] | None:
    mark = block.get(_MARK) if isinstance(block, Mapping) else None
    return mark if isinstance(mark, Mapping) else None


def _plain(block: object) -> object:
    return {name: value for name, value in block.items() if name != _MARK} if isinstance(block, Mapping) else block


def _dumps(value: object) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
