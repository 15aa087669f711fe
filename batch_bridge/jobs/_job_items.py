"""What a job was asked: its items as they were given, with their names, and the ids of its requests. Pure."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from batch_bridge._core.json import messages as _messages
from batch_bridge._core.json.json_values import dumps
from batch_bridge._core.models import JSON
from batch_bridge._node.given_items import check_items


def named(
    items: Iterable[Any] | Mapping[str, Any], places: Sequence[str] | None = None
) -> list[tuple[str | None, Any]]:
    """Return items with their names: the keys of a mapping, or the `custom_id`s of whole lines of a batch's input.

    Args:
        items: As the caller gave them.
        places: Where each of them stands, for a person, e.g. "line 7"; "item 6" where it is left out.

    Raises:
        TypeError: These are no items: a string, a coroutine, or one item's own dict.
        ValueError: Two lines have one `custom_id`.
    """
    if isinstance(items, Mapping):
        if _is_item(items):
            raise TypeError(
                f"submit() got one item, a dict with {next(each for each in _FIELDS if each in items)!r}, "
                "instead of a list "
                "of items; pass [item], or a mapping of names to items"
            )
        return [(str(name), item) for name, item in items.items()]
    return list(_named_lines(check_items(items, "submit()"), places))


_FIELDS = ("messages", "input", "body", "custom_id", "contents", "prompt")
"""Fields that a request body, or a whole line, has at least one of."""


def _is_item(items: Mapping[str, Any]) -> bool:
    """Return whether this is one request body or line, whose values are no items, and no mapping of names to items."""
    if isinstance(items.get("model"), str) and any(each in items for each in _FIELDS):
        return True
    if len(items) > 1 and _is_conversation(items.get("messages")):
        return True
    return isinstance(items.get("custom_id"), str) and isinstance(items.get("body"), Mapping)


def _is_conversation(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, Mapping) and "role" in each for each in value)


def _named_lines(items: Iterable[Any], places: Sequence[str] | None) -> Iterator[tuple[str | None, Any]]:
    seen: dict[str, str] = {}
    for index, item in enumerate(items):
        given = item.get("custom_id") if isinstance(item, Mapping) else None
        if type(given) not in (str, int):
            yield None, item
            continue
        name, place = str(given), f"item {index}" if places is None else places[index]
        if name in seen:
            raise ValueError(f"{seen[name]} and {place} have the same custom_id, {name!r}; give each its own")
        seen[name] = place
        yield name, item


def encoded(items: Iterable[tuple[str | None, object]]) -> Sequence[tuple[str | None, JSON]]:
    """Return named items as JSON.

    Raises:
        JSONError: One holds something that JSON cannot carry.
    """
    return [(name, _messages.encode(item, what=f"item {index}")) for index, (name, item) in enumerate(items)]


def request_id(handle: str, index: int, item: JSON) -> str:
    """Return the id of a job's request."""
    content = dumps(_messages.without_ids(item))
    return hashlib.blake2b(content, digest_size=16, key=f"{index}".encode(), salt=_salt(handle)).hexdigest()


def _salt(handle: str) -> bytes:
    return hashlib.blake2b(handle.encode(), digest_size=16).digest()
