"""By what a `poll` may name its results: positions, or the ids that the items carry. Where it could be either, neither."""

import itertools
import random

import pytest

from batch_bridge.providers._item_ids import ids_of, positions


def read(items, results):
    return positions(results, len(items), ids_of(items))


@pytest.mark.parametrize(
    ("items", "results"),
    [
        pytest.param([{"id": "a"}, {"id": "b"}], {"b": 1, "a": 0}, id="ids"),
        pytest.param([{"custom_id": "a", "id": "x"}, {"custom_id": "b", "id": "y"}], {"b": 1, "a": 0}, id="custom_ids"),
        pytest.param([{"custom_id": "a", "id": "x"}, {"custom_id": "b", "id": "y"}], {"y": 1, "x": 0}, id="either"),
        pytest.param([{"id": 17}, {"id": 12}], {12: 1, 17: 0}, id="ids that are numbers"),
        pytest.param([{"id": 17}, {"id": 12}], {"12": 1, "17": 0}, id="ids that are numbers, as JSON's keys"),
        pytest.param([{"id": "0"}, {"id": "1"}], {"1": 1, "0": 0}, id="ids that are the positions"),
        pytest.param(["x", {"id": "a"}], {"a": 1, 0: 0}, id="some items have none"),
        pytest.param([{"id": "a"}, {"id": "a"}], {0: 0, 1: 1}, id="positions, where two share an id"),
        pytest.param([{"id": True}, {"id": None}], {0: 0, 1: 1}, id="no ids"),
    ],
)
def test_a_result_is_read_by_what_it_is_named(items, results):
    assert read(items, results) == {0: 0, 1: 1}


@pytest.mark.parametrize(
    ("items", "results", "says"),
    [
        pytest.param([{"id": 1}, {"id": 0}], {0: "a", 1: "b"}, "position", id="numbers that are other positions"),
        pytest.param([{"id": 1}, {"id": 0}], {"0": "a"}, "position", id="the same as strings"),
        pytest.param([{"id": "1"}, {"id": "x"}], {1: "a"}, "position", id="a number for an id that is a string"),
        pytest.param([{"id": "1"}, "x"], {"1": "a"}, "position", id="though not every item has an id"),
        pytest.param([{"id": "1"}, {"id": "1"}], {"1": "a"}, "2 items", id="two items, and a position"),
        pytest.param([{"id": "a"}, {"id": "a"}], {"a": "x"}, "2 items", id="two items"),
        pytest.param([{"custom_id": "a", "id": 1}, {"custom_id": "b", "id": 0}], {1: "x"}, "position", id="by the other id"),
        pytest.param([{"id": "a"}, {"id": "b"}], {"a": 1, 0: 2}, "already", id="one item by both"),
        pytest.param([{"id": "a"}, {"id": "b"}], {"c": 1}, "nor the id", id="nobody's"),
        pytest.param(["x"] * 12, {"01": 1}, "neither", id="a position that is written otherwise"),
        pytest.param(["x"], {None: 1}, "neither", id="nothing"),
    ],
)  # fmt: skip
def test_what_could_be_either_is_not_guessed(items, results, says):
    with pytest.raises(ValueError, match=says):
        read(items, results)


def test_no_name_is_ever_given_to_another_item():
    """Of ids drawn from the numbers that positions are, too: who names by ids gets his own, or an error."""
    chance = random.Random(7)
    for _ in range(2_000):
        drawn = [chance.choice([0, 1, 2, "0", "1", "a", None]) for _ in range(3)]
        items = [{"id": each} if each is not None else "x" for each in drawn]
        results = {each: ("of", str(each)) for each in drawn if each is not None}
        try:
            got = read(items, results)
        except ValueError:
            continue
        for place, (_, named) in got.items():
            assert str(drawn[place]) == named, (drawn, results)


def test_who_names_by_positions_gets_them_or_an_error():
    for drawn in itertools.product([0, 1, "1", "a", None], repeat=2):
        items = [{"id": each} if each is not None else "x" for each in drawn]
        try:
            assert read(items, {0: "p0", 1: "p1"}) == {0: "p0", 1: "p1"}
        except ValueError:
            continue
