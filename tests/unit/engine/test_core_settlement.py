"""Settlement is total: every request of a batch gets exactly one outcome, whatever the provider said."""

import pytest
from fakes import T0, FakeStore, ended, request
from hypothesis import given
from hypothesis import strategies as st

from batch_bridge._core.models import Cancelled, Errored, Expired, SubmittedBatch, Succeeded
from batch_bridge._engine.settlement.outcome_writer import ReadError, settle
from batch_bridge._ledger.ledger import Ledger
from batch_bridge.errors import ProviderUnavailable

MEMBERS = tuple(request(n).id for n in range(5))
BATCH = SubmittedBatch("bb-1", MEMBERS, "", T0, "batch-1")
MISSING = Errored("no line", code="missing")
LINES = st.lists(
    st.tuples(
        st.sampled_from([*MEMBERS, "ffff", "aaaa"]),
        st.integers().map(Succeeded) | st.sampled_from([Errored("no"), Expired("late"), Cancelled("off")]),
    ),
    max_size=15,
)


def fresh():
    store = FakeStore()
    return store, Ledger(store, "bridge", chunk=2)


def first_lines(lines):
    outcomes = dict.fromkeys(MEMBERS, MISSING)
    for request_id, outcome in reversed(lines):
        if request_id in outcomes:
            outcomes[request_id] = outcome
    return outcomes


@given(LINES)
async def test_the_first_line_of_each_request_counts_and_no_other(lines):
    store, ledger = fresh()
    kinds = await settle(ledger, BATCH, ended(lines, MISSING), inherited=False)
    assert await ledger.outcomes(MEMBERS) == first_lines(lines)
    assert store.read()["outcomes"].keys() == set(MEMBERS)
    assert kinds.total() == len(MEMBERS)


@given(LINES, LINES)
async def test_what_a_process_before_has_written_stands(before, after):
    _, ledger = fresh()
    first = await settle(ledger, BATCH, ended(before, MISSING), inherited=False)
    again = await settle(ledger, BATCH, ended(after, MISSING), inherited=True)
    assert await ledger.outcomes(MEMBERS) == first_lines(before)
    assert again == first


@given(LINES, st.sampled_from([ProviderUnavailable("503"), ValueError("bad line")]))
async def test_what_was_read_before_a_break_is_settled_and_the_rest_is_open(lines, cause):
    _, ledger = fresh()
    with pytest.raises(ReadError) as caught:
        await settle(ledger, BATCH, ended(lines, MISSING, breaks=cause), inherited=False)
    assert caught.value.__cause__ is cause
    read = {request_id for request_id, _ in lines}
    assert await ledger.outcomes(MEMBERS) == {
        each: outcome for each, outcome in first_lines(lines).items() if each in read
    }


async def test_the_requests_are_let_go_of_once_they_are_settled():
    store, ledger = fresh()
    await ledger.enqueue(request(n) for n in range(6))
    await settle(ledger, BATCH, ended({}, MISSING), inherited=False)
    assert store.read()["requests"].keys() == {request(5).id}


async def test_the_kinds_are_counted_as_they_stand_in_the_ledger():
    _, ledger = fresh()
    await ledger.settle({MEMBERS[0]: Succeeded(1)})
    lines = {MEMBERS[0]: Errored("later"), MEMBERS[1]: Expired("24 h"), MEMBERS[2]: Cancelled("off")}
    kinds = await settle(ledger, BATCH, ended(lines, MISSING), inherited=True)
    assert kinds == {"succeeded": 1, "expired": 1, "cancelled": 1, "errored": 2}


async def test_a_chunk_is_held_at_a_time_and_no_more():
    store, ledger = fresh()
    read = []

    async def lines():
        for number, each in enumerate(MEMBERS):
            read.append((number, len(store.read()["outcomes"])))
            yield each, Succeeded(number)

    await settle(ledger, BATCH, type(ended({}))(lines(), MISSING), inherited=False)
    assert read == [(0, 0), (1, 0), (2, 2), (3, 2), (4, 4)]
