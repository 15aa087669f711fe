"""JSON values as text and back, whatever they hold: integers of any size, half surrogate pairs, any depth. Pure.

`orjson` reads integers beyond 64 bits as floats, and takes neither half a surrogate pair nor deep nesting. It is used
where it loses nothing, and the standard library where it would; beyond what that takes, `_deep`.
"""

import json
from typing import Any, Final

import orjson

from batch_bridge._core.json import deep_json as _deep

_DIGITS: Final = bytes(48 if 48 <= each <= 57 else 120 for each in range(256))  # noqa: PLR2004  # "0" to "9"
_LONG: Final = b"0" * 19
"""So many digits in a row may be an integer that takes more than 64 bits, the sign included."""
_BEFORE: Final = b"[:,- \t\r\n"
"""What may stand before a number."""


def is_long(text: bytes) -> bool:
    """Return whether a text may hold an integer that takes more than 64 bits: cheap, and right where it says no."""
    digits = text.translate(_DIGITS)
    at = digits.find(_LONG)
    while at > 0 and text[at - 1] not in _BEFORE:  # the digits are a part of a word, such as an id, or of a fraction
        end = digits.find(b"x", at)
        if end < 0:
            return False
        at = digits.find(_LONG, end)
    return at >= 0


def read(text: bytes | str) -> Any:
    """Read JSON as the standard library does, `NaN` included, and any depth of it.

    Raises:
        ValueError: It is not JSON.
    """
    data = text.encode(errors="surrogatepass") if isinstance(text, str) else text
    if not is_long(data):
        try:
            return orjson.loads(data)
        except orjson.JSONDecodeError:
            pass
    try:
        return json.loads(text)
    except RecursionError:
        return _deep.read(data.decode(errors="surrogatepass"))


def write(value: object) -> bytes:
    """Write a JSON value so that `read` gives it back; in UTF-8, and in ASCII where it is not plain."""
    if is_plain(value):
        return orjson.dumps(value)
    try:
        return json.dumps(value).encode()
    except RecursionError:
        return _deep.write(value).encode()


def write_again(value: object) -> bytes:
    """Write a JSON value that `orjson` has read: so it is plain, but for its depth."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return write(value)


def is_plain(value: object) -> bool:
    """Return whether every JSON reader and writer on the way keeps a value: LangGraph's, its server's and the stores'.

    It is not, if it is nested deeper than about two hundred levels, or holds an integer beyond 64 bits, a number that
    is not finite or a string that is no Unicode. There is room for a few levels around it.
    """
    try:
        data = orjson.dumps([[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[value]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]])
        if b"null" in data:  # which orjson writes for a number that is not finite, too
            json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return False
    return True
