"""How all vendors' answers are read: leniently, since they were paid for. Pure."""

import json
import re
from typing import Any, Final

import orjson

from batch_bridge._core.json import deep_json as _deep
from batch_bridge._core.json.text import is_long
from batch_bridge._core.models import Errored
from batch_bridge._core.wording.log import logger_of
from batch_bridge.providers._shared.results.line_splitter import TooLong

logger = logger_of(__name__)

UNREADABLE: Final = "unreadable_answer"
"""The code of a request whose line in a batch's results cannot be read."""
TOO_LARGE: Final = "answer_too_large"
"""The code of a request whose line was longer than is allowed."""
_KEPT: Final = 2_000
"""Characters of such a line that are kept."""
_MOST_KEPT: Final = 1_000
"""Such lines of one batch that are kept; beyond them something else is wrong, and memory is bounded."""
_ESCAPE: Final = re.compile(r'\\(["\\/bfnrt]|u[0-9a-fA-F]{4})?')
_ANSWERS: Final = ('"response"', '"result"')


def loads(text: bytes | str) -> Any:
    """Read JSON as the vendors' SDKs do, and what those would refuse as well as can be.

    Integers keep all their digits, half a surrogate pair stays one, and depth has no limit. `NaN` and infinities, which
    JSON has not, are null; a byte that is no UTF-8 is U+FFFD; raw control characters stay; a backslash that escapes
    nothing is itself. An integer of more digits than Python reads is a string of them.

    Raises:
        ValueError: It is no JSON all the same.
    """
    data = text.encode(errors="surrogatepass") if isinstance(text, str) else text
    if not is_long(data):
        try:
            return orjson.loads(data)
        except orjson.JSONDecodeError:
            pass
    decoded = _decoded(data)
    try:
        return _read(decoded)
    except ValueError:
        return _read(_escaped(decoded))


def _decoded(data: bytes) -> str:
    try:
        text = data.decode(errors="surrogatepass")
    except UnicodeDecodeError:
        text = data.decode(errors="replace")
    return text.removeprefix("\ufeff")


def _read(text: str) -> Any:
    try:
        return _DECODER.decode(text)
    except RecursionError:
        return _deep.read(text, strict=False, parse_int=_integer, parse_constant=_nothing)


def _integer(digits: str) -> int | str:
    try:
        return int(digits)
    except ValueError:  # Python's own limit of digits
        return digits


def _nothing(_: str) -> None:
    return None


_DECODER: Final = json.JSONDecoder(strict=False, parse_int=_integer, parse_constant=_nothing)


def _escaped(text: str) -> str:
    return _ESCAPE.sub(lambda found: found[0] if found[1] else "\\\\", text)


class Unreadable:
    """The lines of a batch's results that cannot be read, until all others have been: one of those may be the answer.

    Args:
        batch: The batch, for the log.
        field: What holds a request's name in a line, such as `"custom_id"`.
    """

    def __init__(self, batch: str, field: str) -> None:
        self._batch = batch
        self._field = field
        self._kept: dict[str, str] = {}
        self._long: dict[str, int] = {}
        self._lines = 0

    def add(self, line: bytes) -> None:
        """Take a line that names no request, or cannot be read."""
        self._lines += 1
        name = name_in(line, self._field)
        if name is not None:
            room = _KEPT if len(self._kept) < _MOST_KEPT else 0
            self._kept.setdefault(name, line.strip()[: 4 * room].decode(errors="replace")[:room])

    def too_long(self, line: TooLong, most: int) -> None:
        """Take a line that was longer than is allowed."""
        self._lines += 1
        name = name_in(line.head, self._field) or _name_around('"response"' + _decoded(line.tail), self._field)
        if name is not None and len(self._long) < _MOST_KEPT:
            self._long[name] = most

    def outcomes(self) -> list[tuple[str, Errored]]:
        """Return what the requests end with whose names could be read all the same, by name, and log how many."""
        if self._lines:
            logger.warning(
                "%s: %d lines of its results name no request or cannot be read; %d of them are of requests whose name "
                "could be read",
                self._batch,
                self._lines,
                len(self._kept) + len(self._long),
            )
        return [
            *((name, _errored(kept)) for name, kept in self._kept.items()),
            *((name, _too_large(most)) for name, most in self._long.items()),
        ]


def _too_large(most: int) -> Errored:
    return Errored(
        f"this request's line in the batch's results is longer than ResponseLimits(answer_bytes={most:_}), and was not "
        "kept, although it was paid for; raise the limit for such answers",
        code=TOO_LARGE,
    )


def _errored(kept: str) -> Errored:
    where = "the error's body has its beginning" if kept else "too many of that batch cannot, so it was not kept"
    return Errored(
        f"this request's line in the batch's results cannot be read, and may contain a paid answer; {where}",
        code=UNREADABLE,
        retryable=True,
        body=kept or None,
    )


def name_in(line: bytes, field: str) -> str | None:
    """Return the name of the request of a broken line; `None` if it is unknown, or the line is not broken.

    The name is the outermost object's: what stands before the line breaks, or before the answer begins, or at its end.
    An answer may hold a field of that name, too.
    """
    text = _escaped(_decoded(line))
    try:
        _deep.read(text, strict=False, parse_int=_integer, parse_constant=_nothing)
    except _deep.BrokenJSON as error:
        held = error.root.get(field) if isinstance(error.root, dict) else None
        return held if isinstance(held, str) else _name_around(text, field)
    return None


def _name_around(text: str, field: str) -> str | None:
    starts = [place for place in map(text.find, _ANSWERS) if place >= 0]
    own = rf'"{field}"\s*:\s*"([^"\\]+)"'
    found = re.search(own, text[: min(starts, default=0)]) or re.search(rf"[^}}\]]?,\s*{own}\s*}}\s*$", text[-500:])
    return found[1] if found else None
