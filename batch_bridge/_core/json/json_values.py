"""Values as JSON: checked, copied and digested. Pure."""

import hashlib
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Final, cast

import orjson

from batch_bridge._core.json.text import read, write
from batch_bridge._core.models import JSON
from batch_bridge.errors import JSONError

_LARGEST: Final = 2**64 - 1
_SMALLEST: Final = -(2**63)
_DEEPEST: Final = 200
"""Nesting that every JSON reader on the way can be trusted with."""

_SCALARS: Final = frozenset({str, int, float, bool, type(None)})
_STRICT: Final = (
    orjson.OPT_PASSTHROUGH_DATACLASS
    | orjson.OPT_PASSTHROUGH_DATETIME
    | orjson.OPT_PASSTHROUGH_SUBCLASS
    | orjson.OPT_APPEND_NEWLINE
)


class Written:
    """A JSON value as its bytes: a snapshot, which is not written a second time.

    Args:
        data: The bytes.
        kind: The same for items that differ in nothing but what a provider passes on unread; see `Serialized`.
    """

    __slots__ = ("data", "kind")

    def __init__(self, data: bytes, kind: Hashable = None) -> None:
        self.data = data
        self.kind = kind

    def read(self) -> JSON:
        """Return the value, the reader's own."""
        value: JSON = orjson.loads(self.data)
        return value


Default = Callable[[object], "Mapping[str, object] | None"]


def to_json(value: object, *, default: Default | None = None, what: str = "the item") -> JSON:
    """Return `value` as JSON of its own: fresh containers that no caller can change afterwards.

    Args:
        value: Dicts with string keys, lists, tuples, strings, numbers, booleans and `None`, nested as one likes.
        default: Asked about anything else; returns a mapping in its place, or `None` if it does not know it.
        what: How the error names the whole.

    Raises:
        JSONError: Something JSON cannot carry, with the path to it.
    """
    return _convert(value, default, what, ())


def serialize(value: object, *, is_flat: bool = False) -> bytes | None:
    """Return `value` as JSON, which is a snapshot and a check in one; `None` where `to_json` is to look closer.

    What it returns are the bytes of what `to_json` returns. `None` is what that may refuse, and whatever is not made of
    Python's own types. With `is_flat` it is known to be a list of dicts of strings.
    """
    try:
        data = orjson.dumps(value, option=_STRICT)[:-1]  # a copy: what is returned there has room for much more
    except TypeError:
        return None
    if is_flat:
        return data
    rest: list[object] = [value]
    containers = 0
    for each in rest:  # which grows meanwhile
        kind = type(each)
        if kind is dict:
            containers += 1
            rest.extend(each.values())  # type: ignore[attr-defined]
        elif kind is list or kind is tuple:
            containers += 1
            rest.extend(each)  # type: ignore[arg-type]
        elif kind not in _SCALARS or (kind is float and not math.isfinite(each)):  # type: ignore[arg-type]
            return None  # `orjson` has a text for some that JSON cannot carry, such as a UUID, and null for NaN
    return data if containers <= _DEEPEST else None


def dumps(value: JSON) -> bytes:
    """Return the canonical bytes of a JSON value: keys sorted, no spaces, UTF-8.

    Raises:
        JSONError: A string is not valid Unicode (a lone surrogate).
    """
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        to_json(value, what="the value")  # names the place
        raise


def copied(value: JSON) -> JSON:
    """Return JSON that is equal, and shares nothing that can be changed."""
    try:
        return _copied(value)
    except RecursionError:
        copy: JSON = read(write(value))
        return copy


def digest(data: bytes) -> bytes:
    """Return 16 bytes that stand for `data`."""
    return hashlib.blake2b(data, digest_size=16).digest()


def _convert(  # noqa: C901  # the kinds of JSON, one after the other, the most frequent first
    value: object, default: Default | None, what: str, path: tuple[str | int, ...]
) -> JSON:
    kind = type(value)
    if kind is bool or value is None:
        return value  # type: ignore[return-value]
    if isinstance(value, str):
        return _text(value, what, path)
    if kind is int:
        if not _SMALLEST <= value <= _LARGEST:  # type: ignore[operator]
            raise _error(what, path, "the number needs more than 64 bits", "send it as a string")
        return value  # type: ignore[return-value]
    if kind is float:
        if not math.isfinite(value):  # type: ignore[arg-type]
            raise _error(what, path, f"the number {value} has no JSON", "send None or a string in its place")
        return value  # type: ignore[return-value]
    if len(path) > _DEEPEST:
        raise _error(what, path[:8], f"it is nested deeper than {_DEEPEST} levels", "flatten it; is it cyclic?")
    if kind is dict:
        return _object(value, default, what, path)  # type: ignore[arg-type]
    if kind is list or kind is tuple:
        return [_convert(each, default, what, (*path, i)) for i, each in enumerate(cast(Sequence[object], value))]
    if default is not None and (replaced := default(value)) is not None:
        return _object(replaced, default, what, path)
    if isinstance(value, Mapping):
        return _object(value, default, what, path)
    hint = "pass its .model_dump(mode='json')" if hasattr(value, "model_dump") else "convert it first"
    raise _error(what, path, f"a {kind.__module__}.{kind.__qualname__} has no JSON", hint)


def _object(value: Mapping[str, object], default: Default | None, what: str, path: tuple[str | int, ...]) -> JSON:
    converted: dict[str, JSON] = {}
    for key, each in value.items():
        if not isinstance(key, str):
            cause = f"the key {key!r} is a {type(key).__name__}, and JSON's are strings"
            raise _error(what, path, cause, f"use {str(key)!r}")
        step = (*path, str.__str__(key))
        converted[_text(key, what, step)] = _convert(each, default, what, step)
    return converted


def _text(value: str, what: str, path: tuple[str | int, ...]) -> str:
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            cause = "the text contains a lone surrogate, which UTF-8 and JSON cannot encode"
            raise _error(what, path, cause, "decode it with errors='replace' first") from error
    return str.__str__(value)


def _copied(value: JSON) -> JSON:
    match value:
        case dict():
            return {key: _copied(each) for key, each in value.items()}
        case list():
            return [_copied(each) for each in value]
        case _:
            return value


def _error(what: str, path: tuple[str | int, ...], cause: str, action: str) -> JSONError:
    where = _show(path)
    return JSONError(f"{what}{where} cannot be sent: {cause}; {action}", path=where)


def _show(path: tuple[str | int, ...]) -> str:
    return "".join(f"[{step!r}]" for step in path)
