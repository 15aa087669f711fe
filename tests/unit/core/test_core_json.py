"""Values as JSON: what is refused and where, what comes back, and who owns it."""

import json
from collections import OrderedDict, UserDict
from copy import deepcopy
from datetime import UTC, datetime
from enum import Enum, StrEnum
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from batch_bridge._core.json.json_values import digest, dumps, to_json
from batch_bridge.errors import JSONError

NUMBERS = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
LEAVES = st.none() | st.booleans() | NUMBERS | st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=20,
)


class Colour(Enum):
    RED = "red"


class Name(StrEnum):
    A = "a"


class Model(BaseModel):
    x: int = 1


CYCLE: list = []
CYCLE.append(CYCLE)
LOOP: dict = {}
LOOP["loop"] = [LOOP]


@pytest.mark.parametrize(
    ("value", "path", "cause"),
    [
        pytest.param(float("nan"), "", "nan has no JSON", id="NaN"),
        pytest.param({"p": [1, float("-inf")]}, "['p'][1]", "-inf has no JSON", id="infinity"),
        pytest.param([b"x"], "[0]", "builtins.bytes has no JSON", id="bytes"),
        pytest.param({"a": {"b": {1}}}, "['a']['b']", "builtins.set has no JSON", id="a set"),
        pytest.param({"when": datetime(2030, 1, 1, tzinfo=UTC)}, "['when']", "datetime.datetime", id="a datetime"),
        pytest.param({"c": Colour.RED}, "['c']", "Colour has no JSON; convert it first", id="an enum"),
        pytest.param((1, object()), "[1]", "builtins.object", id="an object in a tuple"),
        pytest.param({"a": {1: 2}}, "['a']", "the key 1 is a int, .*; use '1'", id="a number as key"),
        pytest.param({None: 2}, "", "the key None is a NoneType", id="None as key"),
        pytest.param({("a", "b"): 2}, "", "is a tuple", id="a tuple as key"),
        pytest.param([2**64], "[0]", "more than 64 bits; send it as a string", id="a huge number"),
        pytest.param([-(2**63) - 1], "[0]", "more than 64 bits", id="a huge negative number"),
        pytest.param(10**5000, "", "more than 64 bits", id="a number too long to print"),
        pytest.param({"m": [Model()]}, "['m'][0]", r"Model has no JSON; pass its .model_dump", id="pydantic"),
        pytest.param({"t": Model}, "['t']", r"has no JSON", id="a class"),
        pytest.param(CYCLE, "[0]" * 8, "deeper than 200 levels.*cyclic", id="a cycle of lists"),
        pytest.param(LOOP, "['loop'][0]" * 4, "deeper than 200 levels.*cyclic", id="a cycle of dicts"),
    ],
)
def test_what_json_cannot_carry_is_refused_with_the_path_to_it(value, path, cause):
    with pytest.raises(JSONError, match=cause) as caught:
        to_json(value, what="the thing")
    assert caught.value.path == path
    assert str(caught.value).startswith(f"the thing{path} cannot be sent: ")


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ("\ud800", ""),
        (["a", "\udfff"], "[1]"),
        ({"a": [{"b": "x\ud800"}]}, "['a'][0]['b']"),
        ({"a": {"k\ud800": 1}}, "['a']['k\\ud800']"),
    ],
)
@pytest.mark.parametrize("check", [to_json, dumps])
def test_a_lone_surrogate_is_refused_with_the_path_to_it(check, value, path):
    with pytest.raises(JSONError, match=r"lone surrogate.*errors='replace'") as caught:
        check(value)
    assert caught.value.path == path
    assert str(caught.value).encode()  # it can be logged


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ((1, (2,)), [1, [2]]),
        (OrderedDict(b=1), {"b": 1}),
        (UserDict(b=1), {"b": 1}),
        (MappingProxyType({"b": 1}), {"b": 1}),
        ({"s": Name.A, Name.A: True}, {"s": "a", "a": True}),
        (2**64 - 1, 2**64 - 1),
        (-(2**63), -(2**63)),
    ],
)
def test_what_is_nearly_json_becomes_plain_json(value, expected):
    converted = to_json(value)
    assert converted == expected
    assert json.loads(dumps(converted)) == expected


def test_keys_and_strings_are_plain_strings_afterwards():
    (key, value), *_ = to_json({Name.A: Name.A}).items()
    assert type(key) is str
    assert type(value) is str


@given(VALUES)
def test_a_round_trip_changes_nothing(value):
    assert to_json(value) == value
    assert json.loads(dumps(to_json(value))) == value


@given(VALUES)
def test_the_copy_is_owned_whatever_happens_to_the_original(value):
    before, original = deepcopy(value), deepcopy(value)
    copied = to_json(original)
    spoil(original)
    assert copied == before


def spoil(value):
    if isinstance(value, dict):
        for each in value.values():
            spoil(each)
        value.clear()
    elif isinstance(value, list):
        for each in value:
            spoil(each)
        value.append("spoiled")


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), LEAVES, max_size=6), st.randoms())
def test_the_bytes_do_not_depend_on_the_order_of_keys(value, random):
    items = list(value.items())
    random.shuffle(items)
    assert dumps(dict(items)) == dumps(value)


@pytest.mark.parametrize(
    ("one", "other"), [(1, 1.0), (1, True), ("1", 1), (None, "null"), ([], {}), ([1, 2], [2, 1]), ("é", "e\u0301")]
)
def test_values_that_differ_have_other_bytes(one, other):
    assert dumps(one) != dumps(other)
    assert digest(dumps(one)) != digest(dumps(other))


def test_a_default_stands_in_for_what_it_knows_and_only_for_that():
    def default(value):
        return {"colour": value.value} if isinstance(value, Colour) else None

    assert to_json([Colour.RED], default=default) == [{"colour": "red"}]
    with pytest.raises(JSONError, match=r"\[1\]"):
        to_json([Colour.RED, b""], default=default)


def test_deep_but_sane_nesting_is_carried():
    value = nested = []
    for _ in range(199):
        nested.append([])
        nested = nested[0]
    assert to_json(value) == value
