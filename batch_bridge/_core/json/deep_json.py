"""JSON of any depth, read and written without recursion; in pure Python, so for the rare value alone. Pure."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from json.decoder import scanstring  # type: ignore[attr-defined]  # not in typeshed
from typing import Any, Final, NoReturn

_SPACE: Final = re.compile(r"[ \t\n\r]*")
_NUMBER: Final = re.compile(r"(-?(?:0|[1-9][0-9]*))(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_CONSTANTS: Final = {"null": None, "true": True, "false": False}
_STRANGE: Final = ("NaN", "Infinity", "-Infinity")
_WORD: Final = re.compile("|".join([*_CONSTANTS, *_STRANGE]))


class BrokenJSON(ValueError):
    """A text that is no JSON.

    Attributes:
        root: What its outermost value held before it broke, as far as that was complete.
    """

    def __init__(self, message: str, root: object) -> None:
        super().__init__(message)
        self.root = root


def read(
    text: str,
    *,
    strict: bool = True,
    parse_int: Callable[[str], Any] = int,
    parse_constant: Callable[[str], Any] = float,
) -> Any:
    """Read JSON as `json.loads` does, and take the same options.

    Raises:
        BrokenJSON: It is not JSON.
    """
    reader = _Reader(text, parse_int, parse_constant, strict=strict)
    try:
        return reader.read()
    except (ValueError, IndexError) as error:
        raise BrokenJSON(str(error) or "it ends too early", reader.root) from error


class _Reader:
    """One reading.

    Attributes:
        root: The outermost value, which fills while it is read.
    """

    def __init__(
        self, text: str, parse_int: Callable[[str], Any], parse_constant: Callable[[str], Any], *, strict: bool
    ) -> None:
        self._text = text
        self._at = 0
        self._int = parse_int
        self._constant = parse_constant
        self._strict = strict
        self._open: list[tuple[dict[str, Any] | list[Any], str]] = []
        self.root: object = None

    def read(self) -> Any:
        self._skip()
        while True:
            value, is_whole = self._begin()
            while is_whole:
                if not self._open:
                    self._skip()
                    if self._at < len(self._text):
                        self._fail("more follows")
                    return value
                value, is_whole = self._put(value)

    def _begin(self) -> tuple[Any, bool]:
        """Return the value that begins here, and whether it is whole: a container that holds something is not."""
        char = self._text[self._at]
        if char == '"':
            return self._string(), True
        if char in "{[":
            made: dict[str, Any] | list[Any] = {} if char == "{" else []
            if not self._open:
                self.root = made
            self._at += 1
            self._skip()
            if self._text[self._at] == ("}" if char == "{" else "]"):
                self._at += 1
                return made, True
            self._open.append((made, self._name() if char == "{" else ""))
            return made, False
        return self._scalar(), True

    def _put(self, value: Any) -> tuple[Any, bool]:
        """Put a value into the container that is open; return that if it is whole now."""
        container, name = self._open[-1]
        if isinstance(container, dict):
            container[name] = value
        else:
            container.append(value)
        self._skip()
        char = self._text[self._at]
        self._at += 1
        if char == ("}" if isinstance(container, dict) else "]"):
            self._open.pop()
            return container, True
        if char != ",":
            self._fail("a comma or an end is missing")
        self._skip()
        if isinstance(container, dict):
            self._open[-1] = container, self._name()
        return None, False

    def _name(self) -> str:
        if self._text[self._at] != '"':
            self._fail("a name is missing")
        name = self._string()
        self._skip()
        if self._text[self._at] != ":":
            self._fail("a colon is missing")
        self._at += 1
        self._skip()
        return name

    def _string(self) -> str:
        value: str
        value, self._at = scanstring(self._text, self._at + 1, self._strict)
        return value

    def _scalar(self) -> Any:
        if (number := _NUMBER.match(self._text, self._at)) is not None:
            self._at = number.end()
            whole, fraction, exponent = number.groups()
            return float(number[0]) if fraction or exponent else self._int(whole)
        if (word := _WORD.match(self._text, self._at)) is None:
            self._fail("a value is missing")
        self._at = word.end()
        return _CONSTANTS[word[0]] if word[0] in _CONSTANTS else self._constant(word[0])

    def _skip(self) -> None:
        found = _SPACE.match(self._text, self._at)
        assert found is not None  # noqa: S101  # it matches anything
        self._at = found.end()

    def _fail(self, what: str) -> NoReturn:
        raise ValueError(f"{what} at character {self._at}")


def write(value: object) -> str:
    """Write JSON as `json.dumps` does, in ASCII and without spaces."""
    pieces: list[str] = []
    rest: list[Iterator[str | object]] = [iter((_Value(value),))]
    while rest:
        for piece in rest[-1]:
            if isinstance(piece, _Value):
                if isinstance(piece.value, Mapping):
                    rest.append(_of_object(piece.value))
                    break
                if isinstance(piece.value, list | tuple):
                    rest.append(_of_list(piece.value))
                    break
                pieces.append(json.dumps(piece.value))
            else:
                pieces.append(str(piece))
        else:
            rest.pop()
    return "".join(pieces)


class _Value:
    """A value among pieces of text."""

    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = value


def _of_object(value: Mapping[str, object]) -> Iterator[str | object]:
    before = "{"
    for name, each in value.items():
        yield f"{before}{json.dumps(name)}:"
        yield _Value(each)
        before = ","
    yield "}" if value else "{}"


def _of_list(value: list[object] | tuple[object, ...]) -> Iterator[str | object]:
    before = "["
    for each in value:
        yield before
        yield _Value(each)
        before = ","
    yield "]" if value else "[]"
