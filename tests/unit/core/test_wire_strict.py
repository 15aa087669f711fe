"""Interrupts and envelopes that others have written: what is not exactly of our form is none of ours."""

import pytest

from batch_bridge._core.payload import interrupt_payload as _wire

ROW = {"id": "ab" * 16, "batcher": "bridge", "item": {"q": 1}}
RUN = "0199f9a5-0f2c-7c3e-8f3e-2f6f1f3c9d11"


def value(beside=None, **changed):
    return {"batch_bridge": 1, "requests": [ROW | changed], **(beside or {})}


def test_the_right_form_is_read():
    (asked,) = _wire.read_interrupt(value(tenant="ann", sample="1", deadline=2.5, beside={"run": RUN, "by": "me"}))
    assert (asked.id, asked.tenant, asked.sample, asked.deadline.total_seconds()) == (ROW["id"], "ann", "1", 2.5)


@pytest.mark.parametrize(
    "changed",
    [
        *({"id": each} for each in (["x"], "", "../x", "a" * 65, 7, None, {}, "a\0")),
        *({"batcher": each} for each in (["bridge"], "", 7, None, "b" * 1001)),
        *({"tenant": each} for each in (["ann"], None, 7, "a\0", "a" * 1001)),
        *({"sample": each} for each in (None, 1, [])),
        *({"deadline": each} for each in (-1e18, -1, float("nan"), float("inf"), True, "1", [], {})),
        {"beside": {"requests": {}}},
        {"beside": {"requests": [7]}},
        {"beside": {"requests": [ROW, None]}},
        *({"beside": {"run": each}} for each in ("../../threads/x/state", "x", 7, None, ["r"], RUN + "/")),
        *({"beside": {"by": each}} for each in (7, None, ["me"])),
        *({"beside": {"batch_bridge": each}} for each in (True, 1.0, "1", [1])),
    ],
    ids=repr,
)
def test_an_interrupt_with_anything_else_asks_for_nothing(changed):
    bad = value(**changed)
    assert _wire.read_interrupt(bad) is None
    assert _wire.read_origin(bad) in ("", RUN)


def test_an_item_is_needed():
    assert _wire.read_interrupt({"batch_bridge": 1, "requests": [{"id": "a", "batcher": "b"}]}) is None


@pytest.mark.parametrize(
    "outcomes",
    [
        {"r": {"kind": "nothing"}},
        {"r": ["kind"]},
        {"r": {"kind": "errored", "message": 7}},
        {"../r": {"kind": "succeeded", "answer": 1}},
        {"r": {"kind": "succeeded", "answer_text": "{"}},
        {"r": {"kind": "expired", "message": "", "attempts": [[1]]}},
        {"r": {"kind": "expired", "message": "", "attempts": [["b", "k", "c", 1e300]]}},
    ],
    ids=repr,
)
def test_an_envelope_with_anything_else_brings_nothing(outcomes):
    assert _wire.read_envelope({"batch_bridge": 1, "outcomes": outcomes}) == {}
