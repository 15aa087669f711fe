"""JSON that was paid for: read leniently, kept exactly. Pure.

The fast reader (orjson) turns whole numbers beyond 64 bits into floats, and refuses half a surrogate pair, deep nesting
and whatever strict JSON forbids. The SDKs' own reader, Python's, keeps the first three. So does this one: it is fast
where nothing is lost, and else as exact as the SDKs. What the fast carriers cannot bear travels on as text
(`Succeeded.exact`).
"""

import json
import re
from typing import Any, Final

import orjson

from batch_bridge._models import JSON, Succeeded

DEEPEST: Final = 400
"""Levels that an answer may be nested: what Python's own reader and writer bear below the frames of a graph's node."""
_PLAIN: Final = 100
"""Levels that every carrier bears, checkpoints in msgpack too; deeper answers travel as text."""
_DIGITS: Final = bytes.maketrans(b"123456789", b"0" * 9)
_LONG: Final = b"0" * 19
"""Digits in a row that may be a whole number beyond 64 bits, once all digits are zeros."""
LEFT_OUT: Final = "(batch_bridge: left out, it is nested too deep to be carried)"
_LEFT_OUT: Final = b'"' + LEFT_OUT.encode() + b'"'
_CUT: Final = DEEPEST - 50
_ESCAPES: Final = re.compile(r'\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})|\\')
"""An escape, or a backslash that begins none."""


class TooDeepError(ValueError):
    """The JSON is nested deeper than anything on the way can carry."""


def read(text: bytes | str) -> tuple[Any, bool]:
    """Read JSON as leniently as it was paid for; tell whether the fast reader would have lost something.

    `NaN` and the infinities become `None`, bytes that are not UTF-8 and backslashes that escape nothing U+FFFD.

    Raises:
        TooDeepError: It is nested deeper than `DEEPEST`.
        ValueError: It is no JSON, however one reads it.
    """
    data = text if isinstance(text, bytes) else text.encode(errors="surrogatepass")
    deep = _depth(data) if data.count(b"[") + data.count(b"{") > _PLAIN else 0
    if deep > DEEPEST:
        raise TooDeepError(f"it is nested {deep} levels deep, and {DEEPEST} can be carried")
    if _LONG not in data.translate(_DIGITS):
        try:
            return orjson.loads(data), deep > _PLAIN
        except orjson.JSONDecodeError:
            pass
    return _read_slowly(data), True


def prune(text: bytes | str) -> bytes:
    """Return JSON without what is nested too deep to be carried; `LEFT_OUT` stands in its place."""
    data = text if isinstance(text, bytes) else text.encode(errors="surrogatepass")
    pieces: list[bytes] = []
    kept = depth = 0
    for token in _TOKENS.finditer(data):
        if token[0] in b"[{":
            depth += 1
            if depth == _CUT:
                pieces += (data[kept : token.start()], _LEFT_OUT)
        elif token[0] in b"]}":
            if depth == _CUT:
                kept = token.end()
            depth -= 1
    return b"".join([*pieces, data[kept:] if depth < _CUT else b""])


def write(value: JSON) -> bytes:
    """Return JSON as bytes that `read` gives back, whatever it read; ASCII where UTF-8 cannot hold it."""
    try:
        return orjson.dumps(value)
    except TypeError:  # a number beyond 64 bits, half a surrogate pair, or deep nesting
        return json.dumps(value, separators=(",", ":")).encode()


def own(answer: JSON) -> Succeeded:
    """Return an answer as an outcome that shares nothing which can be changed."""
    value, exact = read(write(answer))
    return Succeeded(value, exact)


def _read_slowly(data: bytes) -> Any:
    text = data.decode(errors="replace")
    try:
        return json.loads(text, strict=False, parse_constant=_nothing)
    except RecursionError as error:  # below many frames already
        raise TooDeepError("it is nested deeper than can be read here") from error
    except json.JSONDecodeError as error:
        mended = _ESCAPES.sub(lambda found: found[0] if len(found[0]) > 1 else "\ufffd", text)
        if mended == text:
            raise
        try:
            return json.loads(mended, strict=False, parse_constant=_nothing)
        except json.JSONDecodeError:
            raise error from None


def _nothing(_: str) -> None:
    """Read what JSON has no word for: `NaN`, and the infinities."""


def _depth(data: bytes) -> int:
    """Return how deep JSON is nested, without recursion; what stands in strings does not count."""
    depth = deepest = 0
    for token in _TOKENS.finditer(data):
        match token[0]:
            case b"[" | b"{":
                depth += 1
                deepest = max(deepest, depth)
            case b"]" | b"}":
                depth -= 1
    return deepest


_TOKENS: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"|[\[\]{}]', re.DOTALL)
