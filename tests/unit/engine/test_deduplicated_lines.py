"""Lines: what a batch sends for its requests, and what the outcome of a line is to them."""

import pytest
from fakes import T0, at, ended
from hypothesis import given
from hypothesis import strategies as st

from batch_bridge._core.models import Ended, Errored, InProgress, Limits, SubmittedBatch, Succeeded
from batch_bridge._core.policy.batching import Waiting, lines, split
from batch_bridge._engine.deduplication import GROUP, spread
from batch_bridge.errors import ProviderUnavailable

LIMITS = st.builds(Limits, requests=st.none() | st.integers(1, 4), bytes=st.none() | st.integers(1, 12))
MISSING = Errored("no line", code="missing")


@st.composite
def queues(draw):
    """Requests of a few keys; those without a key are equal to none. Equal ones are of one group and size."""
    keys = draw(st.lists(st.sampled_from(["", "k", "l", "m", "n", "o"]), max_size=25))
    shape = {key: (draw(st.sampled_from("ab")), draw(st.integers(1, 15))) for key in sorted(set(keys))}
    return [Waiting(f"{i}", *shape[key], at(i), key) for i, key in enumerate(keys)]


def batch(*requests, shared=True):
    ids, keys = zip(*(each.split("=") for each in requests), strict=True)
    return SubmittedBatch("bb", ids, "", T0, "handle", keys, shared)


@given(queues(), LIMITS)
def test_equal_requests_are_in_one_batch_and_count_once(waiting, limits):
    batches = list(split(waiting, limits, shared=True))
    assert sorted((each for one in batches for each in one), key=lambda each: each.queued_at) == waiting
    for key in {each.key for each in waiting} - {""}:
        assert sum(any(each.key == key for each in one) for one in batches) == 1
    for one in batches:
        sent = {each.key or each.id: each.bytes for each in reversed(one)}
        assert len({each.group for each in one}) == 1
        assert limits.requests is None or len(sent) <= limits.requests
        assert limits.bytes is None or len(sent) == 1 or sum(sent.values()) <= limits.bytes


@given(queues(), LIMITS)
def test_without_sharing_a_key_means_nothing(waiting, limits):
    keyless = [each._replace(key="") for each in waiting]
    plain = [[each.id for each in one] for one in split(keyless, limits)]
    assert [[each.id for each in one] for one in split(waiting, limits)] == plain


async def test_each_member_gets_an_answer_of_its_own():
    reply = ended([("a", Succeeded({"list": [1]}))])
    outcomes = dict([each async for each in (await spread(reply, batch("a=k", "b=k"))).outcomes])
    assert outcomes["a"] == outcomes["b"]
    outcomes["a"].answer["list"].append(2)
    assert outcomes["b"].answer == {"list": [1]}


def test_the_first_of_equal_members_is_the_line():
    assert lines(batch("a=k", "b=l", "c=k", "d=", "e=", "f=l")) == {
        "a": ("a", "c"),
        "b": ("b", "f"),
        "d": ("d",),
        "e": ("e",),
    }
    assert lines(batch("a=k", "b=k", shared=False)) == {"a": ("a",), "b": ("b",)}


class Notes:
    def __init__(self):
        self.calls = []

    async def __call__(self, answers):
        self.calls.append(dict(answers))

    @property
    def all(self):
        return {key: answer for call in self.calls for key, answer in call.items()}


async def read(reply):
    return [pair async for pair in reply.outcomes]


async def test_a_lines_outcome_is_that_of_all_its_members():
    failed = Errored("no", code="x")
    reply = ended([("b", failed), ("a", Succeeded(1))], MISSING)
    told = await spread(reply, batch("a=k", "b=l", "c=k", "d=l"))
    assert await read(told) == [("b", failed), ("d", failed), ("a", Succeeded(1)), ("c", Succeeded(1))]
    assert (told.missing, told.usage) == (reply.missing, reply.usage)


async def test_an_outcome_for_a_member_that_was_not_sent_is_a_strangers():
    told = await spread(ended([("c", Succeeded("wrong")), ("x", Succeeded("wrong"))]), batch("a=k", "c=k"))
    assert [each for each, _ in await read(told)] == ["", "x"]


async def test_what_a_provider_tells_early_is_spread_too():
    notes = Notes()
    reply = InProgress(1, 2, (("a", Succeeded(1)),))
    told = await spread(reply, batch("a=k", "b=l", "c=k"), notes)
    assert isinstance(told, InProgress)
    assert told.outcomes == (("a", Succeeded(1)), ("c", Succeeded(1)))
    assert notes.all == {"k": 1}
    late = await spread(
        ended([("a", Succeeded(1)), ("b", Succeeded(2))]), batch("a=k", "b=l", "c=k"), notes, {"a", "c"}
    )
    assert isinstance(late, Ended)
    await read(late)
    assert notes.calls == [{"k": 1}, {"l": 2}]  # none is kept twice


async def test_only_first_answers_are_kept_and_never_errors():
    notes = Notes()
    pairs = [
        ("a", Succeeded("first")),
        ("a", Succeeded("second")),
        ("b", Errored("no")),
        ("b", Succeeded("after the error")),
        ("c", Succeeded({"status": "failed", "error": {"code": "server_error"}})),
        ("d", Succeeded("of no key")),
        ("x", Succeeded("a stranger's")),
    ]
    told = await spread(ended(pairs), batch("a=k", "b=l", "c=m", "d=", shared=False), notes)
    assert await read(told) == pairs
    assert notes.calls == [{"k": "first"}]


async def test_answers_are_kept_in_groups():
    notes = Notes()
    requests = [f"{i}=k{i}" for i in range(3 * GROUP + 1)]
    pairs = [(f"{i}", Succeeded(i)) for i in range(len(requests))]
    await read(await spread(ended(pairs), batch(*requests), notes))
    assert [len(call) for call in notes.calls] == [GROUP, GROUP, GROUP, 1]


async def test_what_was_read_before_a_break_is_kept():
    notes = Notes()
    told = await spread(ended([("a", Succeeded(1))], breaks=ProviderUnavailable("503")), batch("a=k", "b=l"), notes)
    pairs = aiter(told.outcomes)
    assert await anext(pairs) == ("a", Succeeded(1))
    with pytest.raises(ProviderUnavailable):
        await anext(pairs)
    assert notes.all == {"k": 1}


async def test_nothing_is_done_where_nothing_is_shared():
    reply = ended([("a", Succeeded(1))])
    assert await spread(reply, batch("a=k", shared=False)) is reply
    assert await spread(reply, SubmittedBatch("bb", ("a",), "", T0, "handle"), Notes()) is reply
