"""A small JSON value that fits a JSON schema, for stand-in answers."""

import re
from collections.abc import Mapping
from typing import Any

MAX_DEPTH = 24
"""Deeper than this a recursive schema gets `None`; those that recurse without end have no instance anyway."""

MAX_NODES = 5_000
"""So many values an instance holds at most; a small schema can describe one that fills the memory."""

_LARGEST = 1 << 53
_NUMBER = re.compile(r"(?<![\w.])-?\d{1,15}(?!\w|\.\d)")
_QUOTED = re.compile(r"""(?<!\w)(['"])([^'"\n]{1,80})\1(?!\w)""")
_READ, _TAKEN = 4_096, 16
"""So many characters are searched for numbers and quotes, and so many of each are taken."""
_FORMATS = {
    "date-time": "2000-01-01T00:00:00Z",
    "date": "2000-01-01",
    "time": "00:00:00Z",
    "duration": "PT0S",
    "email": "someone@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def instance(schema: object, text: str = "stand-in", said: str = "") -> Any:
    """A minimal instance: the required properties, the first alternatives, `text` for free strings.

    Args:
        schema: What it must fit.
        text: For strings that may be anything.
        said: What its whole numbers, and the texts in quotes, stand in: one after the other, where the schema allows.
    """
    return _Maker(schema if isinstance(schema, Mapping) else {}, text, said[:_READ]).make(schema, 0)


class _Maker:
    def __init__(self, root: Mapping[str, Any], text: str, said: str) -> None:
        self._root = root
        self._text = text
        self._numbers = [int(each) for each in _NUMBER.findall(said)[:_TAKEN]]
        self._quoted = [each for _, each in _QUOTED.findall(said)[:_TAKEN]]
        self._left = MAX_NODES

    def make(self, schema: object, depth: int) -> Any:
        self._left -= 1
        if not isinstance(schema, Mapping) or depth > MAX_DEPTH or self._left < 0:
            return None
        for fixed in ("const", "default"):
            if fixed in schema:
                return schema[fixed]
        if isinstance(schema.get("enum"), list) and schema["enum"]:
            return schema["enum"][0]
        if isinstance(schema.get("$ref"), str):
            return self.make(self._resolve(schema["$ref"]), depth + 1)
        for alternatives in ("anyOf", "oneOf"):
            options = schema.get(alternatives)
            if isinstance(options, list) and options:
                return self.make(self._simplest(options, depth), depth + 1)
        if isinstance(schema.get("allOf"), list):
            merged: dict[str, Any] = {k: v for k, v in schema.items() if k != "allOf"}
            for part in schema["allOf"]:
                merged = _merge(merged, self._followed(part))
            return self.make(merged, depth + 1)
        return self._of_type(schema, depth)

    def _of_type(self, schema: Mapping[str, Any], depth: int) -> Any:
        kind = schema.get("type")
        if isinstance(kind, list):
            kind = next((one for one in kind if one != "null"), "null")
        match kind:
            case "object":
                return self._object(schema, depth)
            case "array":
                return self._array(schema, depth)
            case "string":
                return self._string(schema)
            case "integer" | "number":
                return self._given(schema) if kind == "integer" else _number(schema, whole=False)
            case "boolean":
                return True
            case "null":
                return None
        return self._object(schema, depth) if "properties" in schema else self._text

    def _given(self, schema: Mapping[str, Any]) -> float | int:
        """The first number that was given, left, and allowed; else the least that is."""
        for number in self._numbers:
            if _number(schema, whole=True, wanted=number) == number:
                self._numbers.remove(number)
                return number
        return _number(schema, whole=True)

    def _object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        properties = schema.get("properties")
        if not isinstance(properties, Mapping):
            return {}
        required = schema.get("required")
        wanted = [name for name in properties if name in required] if isinstance(required, list) else properties
        return {name: self.make(properties[name], depth + 1) for name in wanted}

    def _array(self, schema: Mapping[str, Any], depth: int) -> list[Any]:
        if isinstance(schema.get("prefixItems"), list):
            return [self.make(item, depth + 1) for item in schema["prefixItems"]]
        least = schema.get("minItems")
        count = min(least, 100) if isinstance(least, int) and least > 0 else int(depth < MAX_DEPTH // 2)
        return [self.make(schema.get("items", {}), depth + 1) for _ in range(count)]

    def _string(self, schema: Mapping[str, Any]) -> str:
        free = self._quoted.pop(0) if self._quoted and "format" not in schema else self._text
        text = _FORMATS.get(str(schema.get("format")), free)
        least, most = schema.get("minLength"), schema.get("maxLength")
        if isinstance(least, int) and 0 < least <= 10_000:  # noqa: PLR2004
            text = text.ljust(least, ".")
        return text[:most] if isinstance(most, int) and most >= 0 else text

    def _resolve(self, ref: str) -> object:
        here: object = self._root
        for part in ref.removeprefix("#").strip("/").split("/") if ref != "#" else ():
            name = part.replace("~1", "/").replace("~0", "~")
            here = here.get(name) if isinstance(here, Mapping) else None
        return here

    def _followed(self, schema: object) -> Mapping[str, Any]:
        for _ in range(MAX_DEPTH):
            if not (isinstance(schema, Mapping) and isinstance(schema.get("$ref"), str)):
                break
            schema = self._resolve(schema["$ref"])
        return schema if isinstance(schema, Mapping) else {}

    def _simplest(self, options: list[Any], depth: int) -> object:
        """The first alternative; where we are deep already, one that does not go deeper."""
        if depth > MAX_DEPTH // 2:
            for option in options:
                if self._followed(option).get("type") not in ("object", "array"):
                    return option
        return next((one for one in options if self._followed(one).get("type") != "null"), options[0])


def _merge(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**one, **other}
    mine, theirs = one.get("properties"), other.get("properties")
    if isinstance(mine, Mapping) and isinstance(theirs, Mapping):
        merged["properties"] = {**mine, **theirs}
    needed, also = one.get("required"), other.get("required")
    if isinstance(needed, list) and isinstance(also, list):
        merged["required"] = [*needed, *also]
    return merged


def _number(schema: Mapping[str, Any], *, whole: bool, wanted: int = 1) -> float | int:
    """The number that is wanted, or one near it that the schema allows."""
    step = 1 if whole else 0.5
    value: float = wanted
    least, above = _bound(schema, "minimum"), _bound(schema, "exclusiveMinimum")
    most, below = _bound(schema, "maximum"), _bound(schema, "exclusiveMaximum")
    if least is not None:
        value = max(value, least)
    if above is not None and value <= above:
        value = above + step
    if most is not None:
        value = min(value, most)
    if below is not None and value >= below:
        value = below - step
    multiple = _bound(schema, "multipleOf")
    if multiple is not None and multiple > 0 and value % multiple:
        value = (value // multiple + 1) * multiple
    return int(value) if whole else value


def _bound(schema: Mapping[str, Any], name: str) -> float | None:
    value = schema.get(name)
    return value if isinstance(value, int | float) and abs(value) < _LARGEST else None
