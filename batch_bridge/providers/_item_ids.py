"""The ids that a batch's items carry themselves: what a `poll` of the user's may name its results by. Pure."""

from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

from batch_bridge._core.models import JSON

Ids: TypeAlias = Sequence[Sequence[str]]
"""The ids of each item of a batch, in order: none, one, or two."""

_NAMES: Final = ("custom_id", "id")
"""Where an item carries its ids."""
_TAG: Final = "__batch_bridge_ids__"
"""Marks a stored handle that the ids of its batch's items travel with."""


def ids_of(items: Sequence[JSON]) -> Ids | None:
    """Return the ids that a batch's items carry: strings, and whole numbers as JSON's keys show them.

    `None` if no item has any. An item without an id goes by its position, and so does one whose id another has.
    """
    ids = [_ids(item) for item in items]
    return ids if any(ids) else None


def _ids(item: JSON) -> list[str]:
    if not isinstance(item, dict):
        return []
    carried = (item.get(name) for name in _NAMES)
    return list(dict.fromkeys(str(each) for each in carried if type(each) in (str, int)))


def with_ids(handle: JSON, ids: Ids | None) -> JSON:
    """Return a handle as it is stored: together with the ids, which another process needs for its `poll`."""
    return handle if ids is None else {_TAG: [list(each) for each in ids], "handle": handle}


def split_handle(stored: JSON) -> tuple[JSON, Ids | None]:
    """Return the user's own handle, and the ids that were stored with it."""
    match stored:
        case {"__batch_bridge_ids__": list(ids), "handle": handle, **rest} if not rest:
            return handle, [list(map(str, each)) if isinstance(each, list) else [str(each)] for each in ids]
        case _:
            return stored, None


def positions(results: Mapping[object, object], size: int, ids: Ids | None) -> dict[int, object]:
    """Return results by position, whatever they are named by: positions (numbers, or strings), or the items' ids.

    Raises:
        ValueError: A name is neither, or could be either; nothing is guessed.
    """
    by_id: dict[str, list[int]] = {}
    for place, carried in enumerate(ids or ()):
        for each in carried:
            by_id.setdefault(each, []).append(place)
    found: dict[int, object] = {}
    for name, result in results.items():
        place = _place(name, size, by_id)
        if place in found:
            raise ValueError(f"{name!r} names the item at position {place}, which already has a result")
        found[place] = result
    return found


def _place(name: object, size: int, by_id: Mapping[str, Sequence[int]]) -> int:
    is_number = isinstance(name, int) and not isinstance(name, bool)
    text = str(name) if is_number or isinstance(name, str) else None
    named = by_id.get(text, ()) if text is not None else ()
    at = _position(text, size)
    if len(named) > 1:
        raise ValueError(f"{name!r} is the id of {len(named)} items; {_INSTEAD}")
    if named and at is not None and at != named[0]:
        raise ValueError(f"{name!r} is both the id of the item at position {named[0]} and another position; {_INSTEAD}")
    place = named[0] if named else at
    if place is None:
        raise ValueError(f"{name!r} is neither a position, 0 to {size - 1}, nor the id of an item: {_CARRIES}")
    return place


_INSTEAD: Final = "return a list in the order of the items, or give the items ids that are not numbers"
_CARRIES: Final = 'an item has one if it is a dict with a "custom_id" or an "id"'


def _position(text: str | None, size: int) -> int | None:
    if text is None or len(text) > len(str(size)) or not (text.isascii() and text.isdecimal()):
        return None
    number = int(text)
    return number if number < size and str(number) == text else None
