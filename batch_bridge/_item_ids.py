"""The ids that a batch's items carry themselves: what a `poll` of the user's may name its results by. Pure."""

from collections.abc import Mapping, Sequence
from typing import Final, cast

from batch_bridge._models import JSON

_NAMES: Final = ("custom_id", "id")
"""Where an item carries its id, the first that all items of a batch have."""
_TAG: Final = "__batch_bridge_ids__"
"""Marks a stored handle that the ids of its batch's items travel with."""


def ids_of(items: Sequence[JSON]) -> tuple[str, ...] | None:
    """Return the ids that a batch's items carry, in order; `None` unless each item has one, and they all differ."""
    for name in _NAMES:
        found = [item[name] for item in items if isinstance(item, dict) and isinstance(item.get(name), str)]
        if len(found) == len(items) == len(set(cast("list[str]", found))):
            return tuple(cast("list[str]", found))
    return None


def with_ids(handle: JSON, ids: Sequence[str] | None) -> JSON:
    """Return a handle as it is stored: together with the ids, which another process needs for its `poll`."""
    return handle if ids is None else {_TAG: list(ids), "handle": handle}


def split_handle(stored: JSON) -> tuple[JSON, tuple[str, ...] | None]:
    """Return the user's own handle, and the ids that were stored with it."""
    match stored:
        case {"__batch_bridge_ids__": list(ids), "handle": handle, **rest} if not rest:
            return handle, tuple(map(str, ids))
        case _:
            return stored, None


def positions(results: Mapping[object, object], size: int, ids: Sequence[str] | None) -> dict[int, object]:
    """Return results by position, whatever they are named by: positions (numbers, or strings), or the items' ids.

    Raises:
        ValueError: A name is neither, or could be either; nothing is guessed.
    """
    by_id = dict(zip(ids, range(size), strict=False)) if ids is not None else {}
    found: dict[int, object] = {}
    for name, result in results.items():
        place = _position(name, size)
        named = by_id.get(name) if isinstance(name, str) else None
        if place is not None and named is not None and place != named:
            raise ValueError(
                f"{name!r} is the id of the item at position {named}, and a position too; return a list in the order "
                "of the items, or give the items ids that are not numbers"
            )
        if (place := named if named is not None else place) is None:
            raise ValueError(f"{name!r} is neither a position, 0 to {size - 1}, {_or_id(ids)}")
        if place in found:
            raise ValueError(f"{name!r} names the item at position {place}, which has a result already")
        found[place] = result
    return found


def _position(name: object, size: int) -> int | None:
    if isinstance(name, str) and name.isascii() and name.isdecimal():
        name = int(name) if len(name) <= len(str(size)) else -1
    if isinstance(name, bool) or not isinstance(name, int):
        return None
    return name if 0 <= name < size else None


def _or_id(ids: Sequence[str] | None) -> str:
    if ids is not None:
        return "nor the id of one of its items"
    return (
        'nor an id: a result may be named by its item\'s "custom_id" or "id" only where every item is a dict with one, '
        "and no two are the same"
    )
