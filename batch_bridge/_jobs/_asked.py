"""What a job was asked: its items as they were given, the ids of its requests, and whom they were asked of. Pure."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from batch_bridge import _messages
from batch_bridge._given import check_items
from batch_bridge._json import dumps
from batch_bridge._models import JSON, Request
from batch_bridge._provider import Provider
from batch_bridge.errors import ProviderError, RequestRefused


def named(
    items: Iterable[Any] | Mapping[str, Any], places: Sequence[str] | None = None
) -> list[tuple[str | None, Any]]:
    """Return items with their names: the keys of a mapping, or the `custom_id`s of whole lines of a batch's input.

    Args:
        items: As the caller gave them.
        places: Where each of them stands, for a person, e.g. "line 7"; "item 6" where it is left out.

    Raises:
        TypeError: These are no items: a string, or one item's own dict.
        ValueError: Two lines have one `custom_id`.
    """
    if isinstance(items, Mapping):
        if _is_item(items):
            raise TypeError(
                f"submit() got one item, a dict with {next(each for each in _FIELDS if each in items)!r}, where a list "
                "of items belongs; give [item], or a mapping of names to items"
            )
        return [(str(name), item) for name, item in items.items()]
    return list(_named_lines(check_items(items, "submit()"), places))


_FIELDS = ("messages", "input", "body", "custom_id", "contents", "prompt")
"""Fields that a request body, or a whole line, has at least one of."""


def _is_item(items: Mapping[str, Any]) -> bool:
    """Return whether this is one request body or line, whose values are no items, and no mapping of names to items."""
    if isinstance(items.get("model"), str) and any(each in items for each in _FIELDS):
        return True
    return isinstance(items.get("custom_id"), str) and isinstance(items.get("body"), Mapping)


def _named_lines(items: Iterable[Any], places: Sequence[str] | None) -> Iterator[tuple[str | None, Any]]:
    seen: dict[str, str] = {}
    for index, item in enumerate(items):
        name = item.get("custom_id") if isinstance(item, Mapping) and "body" in item else None
        if name is None:
            yield None, item
            continue
        name, place = str(name), f"item {index}" if places is None else places[index]
        if name in seen:
            raise ValueError(f"{seen[name]} and {place} have the same custom_id, {name!r}; give each its own")
        seen[name] = place
        yield name, {key: value for key, value in item.items() if key != "custom_id"}


def encoded(items: Iterable[tuple[str | None, object]]) -> Sequence[tuple[str | None, JSON]]:
    """Return named items as JSON.

    Raises:
        JSONError: One holds something that JSON cannot carry.
    """
    return [(name, _messages.encode(item, what=f"item {index}")) for index, (name, item) in enumerate(items)]


def request_id(handle: str, index: int, item: JSON) -> str:
    content = dumps(_messages.without_ids(item))
    return hashlib.blake2b(content, digest_size=16, key=f"{index}".encode(), salt=_salt(handle)).hexdigest()


def _salt(handle: str) -> bytes:
    return hashlib.blake2b(handle.encode(), digest_size=16).digest()


def asked_of(provider: Provider, handle: str, items: Iterable[tuple[str | None, JSON]]) -> tuple[tuple[str, ...], str]:
    """Return the groups of a job's requests, and a digest of all that decides their answers.

    The digest is empty where the provider does not tell, or cannot: it has no API key.
    """
    groups: dict[str, None] = {}
    digest = hashlib.blake2b(digest_size=16)
    identity = getattr(provider, "identity", None)
    for index, (_, item) in enumerate(items):
        request = Request(str(index), handle, item)
        try:
            groups[provider.measure(request).group] = None
            if identity is not None:
                content = identity(request)
                digest.update(len(content).to_bytes(8, "big") + content)
        except RequestRefused:  # it ends with that error by itself
            continue
        except ProviderError:
            identity = None
    return tuple(groups), digest.hexdigest() if identity is not None else ""
