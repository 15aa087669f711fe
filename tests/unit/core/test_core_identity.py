"""What makes one wait one wait."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_bridge._core.payload.request_identity import Identity

WAIT = Identity(thread="t", namespace="node:1", batcher="bridge", content=b"0" * 16, equal=0)
TEXT = st.text("ab|\0é", max_size=4)
IDENTITIES = st.builds(Identity, TEXT, TEXT, TEXT, st.binary(min_size=16, max_size=16), st.integers(0, 3))


def test_the_id_never_changes_from_one_version_to_the_next():
    assert WAIT.request_id() == "92085f074064d9fb70153892c5e68b3b"
    assert WAIT.request_id(1) == "5083aac3dbe12e74ea018469ccf2b4c1"


@given(IDENTITIES, st.integers(0, 3))
def test_an_id_is_32_hex_digits_and_the_same_each_time(identity, attempt):
    assert re.fullmatch("[0-9a-f]{32}", identity.request_id(attempt))
    assert identity.request_id(attempt) == replace(identity).request_id(attempt)


@pytest.mark.parametrize(
    "change",
    [
        {"thread": "u"},
        {"namespace": "node:2"},
        {"batcher": "other"},
        {"content": b"1" * 16},
        {"equal": 1},
    ],
    ids=str,
)
def test_each_part_makes_another_request(change):
    assert replace(WAIT, **change).request_id() != WAIT.request_id()


def test_an_attempt_after_a_failure_is_another_request():
    assert len({WAIT.request_id(attempt) for attempt in range(5)}) == 5


@given(IDENTITIES, IDENTITIES)
def test_parts_do_not_run_into_each_other(one, other):
    assert (one == other) == (one.request_id() == other.request_id())


def test_equal_ones_and_attempts_are_not_mistaken_for_each_other():
    assert replace(WAIT, equal=1).request_id(0) != replace(WAIT, equal=0).request_id(1)
