"""What of a graph's untracked state is written down, and what is kept in memory."""

import json
import math

import pytest

from batch_bridge._node.untracked_state import TaskWrites, Untracked, UntrackedMemory, from_json, is_carried

DEEP = {"a": {"b": {"c": {"d": {"e": 1}}}}}


@pytest.mark.parametrize(
    "value", [0, -7, True, None, 1.5, [1, 2], {"search": 3, "all": 4}, {"a": [{"b": 1}]}, 2**63 - 1]
)
def test_numbers_are_carried(value):
    assert is_carried(value)
    assert json.loads(json.dumps(value)) == value


@pytest.mark.parametrize(
    "value",
    ["secret", ["secret"], {1: 2}, (1, 2), {1}, object(), math.nan, math.inf, 2**63, DEEP, list(range(2000)), b""],
)
def test_anything_else_is_not(value):
    assert not is_carried(value)


def test_what_is_carried_comes_back():
    untracked = Untracked(
        {"runs": 3, "tools": {"search": 1}},
        {1: {"runs": 4}},
        {"task": TaskWrites(2, [("runs", 5), ("runs", 6)], {0: {"runs": 7}})},
    )
    assert from_json(json.loads(json.dumps(untracked.to_json()))) == untracked
    assert untracked.in_memory() == []


def test_channels_that_hold_more_are_named_once_wherever_they_are():
    task = TaskWrites(0, [("a", object()), ("b", 1)], {0: {"c": "text"}})
    assert Untracked({"a": object()}, {0: {"d": ()}}, {"task": task}).in_memory() == ["a", "c", "d"]


def test_nothing_is_no_bytes():
    assert Untracked().to_json() == {}


def test_a_state_is_found_at_its_own_checkpoint_alone():
    memory, state = UntrackedMemory(), Untracked({"a": object()})
    memory.keep("t", "", "1", state)
    assert memory.find("t", "", "1") is state
    assert memory.find("t", "", "2") is memory.find("t", "x:1", "1") is memory.find("u", "", "1") is None
    memory.keep("t", "", "2", None)
    assert memory.find("t", "", "1") is None


def test_subgraphs_of_steps_that_are_over_are_forgotten():
    memory, state = UntrackedMemory(), Untracked({"a": object()})
    for namespace in ("", "a:1", "a:1|b:2", "a:3", "kept"):
        memory.keep("t", namespace, "1", state)
    memory.leave_only("t", "", {"3"})
    assert [each for each in ("", "a:1", "a:1|b:2", "a:3", "kept") if memory.find("t", each, "1")] == [
        "",
        "a:3",
        "kept",
    ]


def test_a_server_forgets_the_threads_that_were_parked_longest_ago():
    memory, state = UntrackedMemory(2), Untracked({"a": object()})
    for thread in ("t", "u", "t", "v"):
        memory.keep(thread, "", "1", state)
    assert [each for each in "tuv" if memory.find(each, "", "1")] == ["t", "v"]
    memory.forget("t")
    assert len(memory) == 1
