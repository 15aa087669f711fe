"""Interrupts one way, envelopes the other."""

import json

import pytest
from langgraph.types import Interrupt

from batch_bridge._core.models import Errored, Succeeded
from batch_bridge._core.payload import interrupt_payload as _wire
from batch_bridge._core.payload.interrupt_payload import Asked, is_bridge_interrupt

ASKED = [Asked("r1", "bridge", {"q": 1}), Asked("r2", "other", None)]
VALUE = _wire.interrupt_value([_wire.to_json(each) for each in ASKED])
FOREIGN = [None, "approve?", 7, [], {}, {"requests": []}, {"batch_bridge": 2, "requests": []}, {"batch_bridge": 1}]


def test_an_interrupt_says_who_is_asked_for_what():
    assert json.loads(json.dumps(VALUE)) == VALUE
    assert _wire.read_interrupt(VALUE) == ASKED


@pytest.mark.parametrize("value", FOREIGN, ids=repr)
def test_an_interrupt_of_anybody_else_asks_for_nothing(value):
    assert _wire.read_interrupt(value) is None


def test_an_envelope_brings_each_outcome_to_its_request():
    outcomes = {"r1": Succeeded({"a": 1}), "r2": Errored("no", code="x")}
    assert _wire.read_envelope(json.loads(json.dumps(_wire.envelope(outcomes)))) == outcomes


@pytest.mark.parametrize("value", [*FOREIGN, {"batch_bridge": 1, "outcomes": "yes"}, VALUE, True], ids=repr)
def test_an_answer_of_anybody_else_brings_nothing(value):
    assert _wire.read_envelope(value) == {}


def test_an_envelope_is_not_taken_for_an_interrupt():
    assert _wire.read_interrupt(_wire.envelope({"r1": Succeeded(1)})) is None


def test_the_list_in_an_interrupt_stays_the_writers():
    requests = []
    value = _wire.interrupt_value(requests)
    requests.append(_wire.to_json(ASKED[0]))
    assert _wire.read_interrupt(value) == ASKED[:1]


@pytest.mark.parametrize(
    ("interrupt", "ours"),
    [
        (Interrupt(value=VALUE, id="i1"), True),
        ({"value": VALUE, "id": "i1"}, True),
        (VALUE, True),
        (Interrupt(value="approve?", id="i2"), False),
        ({"value": {"approve": True}, "id": "i2"}, False),
        ({"value": _wire.envelope({}), "id": "i3"}, False),
        ("approve?", False),
        (None, False),
    ],
    ids=["Interrupt", "the SDK's dict", "its value", "a human's", "a human's dict", "an envelope", "text", "nothing"],
)
def test_ours_is_told_from_a_humans_in_every_shape(interrupt, ours):
    assert is_bridge_interrupt(interrupt) is ours
