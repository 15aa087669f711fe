"""A process that wakes after another one took its bridge over: what it writes, sends and asks for of its old batches is nothing."""

import pytest
from fakes import FakeProvider, FakeStore, at, request

from batch_bridge._core.models import Limits, Succeeded
from batch_bridge._core.policy.flush_policy import FlushPolicy
from batch_bridge._engine import Engine
from batch_bridge._ledger.make import budgeted, durable
from batch_bridge.errors import ProviderUnavailable, StoreInUseError

REQUESTS = [request(number) for number in range(3)]


class Death(BaseException):
    """The end of a process."""


class Mute(FakeProvider):
    """Cannot look up what was created."""

    def finds(self, prepared):
        return False


def lost(error):
    async def check():
        raise error

    return check


LOST = [StoreInUseError("taken over"), ProviderUnavailable("another tick has taken over")]


def engine(store, provider, make=durable):
    return Engine("bridge", provider, FlushPolicy(), make(store, "bridge"))


def rows(store):
    return {kind: dict(found) for kind, found in store.read().items() if kind in ("batches", "members", "money")}


@pytest.mark.parametrize("error", LOST)
@pytest.mark.parametrize("make", [durable, budgeted])
async def test_an_intent_that_it_inherited_is_another_process_now(make, error):
    store, provider = FakeStore(), FakeProvider()
    first = engine(store, provider, make)
    await first.open(at(0))
    await first.collect(REQUESTS[:1], at(0))
    provider.then("prepare", Death())
    with pytest.raises(Death):
        await first.tick(at(0), drain=True)
    woken = engine(store, provider, make)
    await woken.open(at(10))
    other = engine(store, provider, make)
    await other.open(at(100))
    await other.collect(REQUESTS[:1], at(100))
    for second in (100, 101):
        await other.tick(at(second), drain=True)
    written = rows(store)
    woken.before_submit = lost(error)
    if isinstance(error, StoreInUseError):
        with pytest.raises(StoreInUseError):
            await woken.tick(at(110), drain=True)
    else:
        await woken.tick(at(110), drain=True)
    await woken.take_back()
    assert await woken_cancels(woken, error) == set()
    assert rows(store) == written
    assert len([verb for verb, *_ in provider.calls if verb == "submit"]) == 1


async def woken_cancels(woken, error):
    if isinstance(error, StoreInUseError):
        with pytest.raises(StoreInUseError):
            await woken.cancel([REQUESTS[0].id], at(111))
        return set()
    return await woken.cancel([REQUESTS[0].id], at(111))


async def test_it_does_not_write_that_nothing_was_sent_over_what_another_process_has_sent():
    store, provider = FakeStore(), Mute()
    woken = engine(store, provider)
    await woken.open(at(0))
    await woken.collect(REQUESTS, at(0))
    looks = 0

    async def check():  # it sleeps after it has written what it has prepared
        nonlocal looks
        looks += 1
        if store.read().get("batches") and any(row["stage"] == "prepared" for row in store.read()["batches"].values()):
            raise ProviderUnavailable("another tick has taken over")

    woken.before_submit = check
    await woken.tick(at(0), drain=True)
    assert [row["stage"] for row in store.read()["batches"].values()] == ["prepared"]
    assert looks
    assert not [verb for verb, *_ in provider.calls if verb == "submit"]


@pytest.mark.parametrize("limits", [Limits(), Limits(creations_per_hour=2000)])
async def test_a_flush_ends_where_nothing_may_be_sent(limits):
    store = FakeStore()
    woken = Engine("bridge", FakeProvider(limits=limits), FlushPolicy(max_requests=1), durable(store, "bridge"))
    await woken.open(at(0))
    await woken.collect(REQUESTS, at(0))
    looks = 0

    async def check():
        nonlocal looks
        looks += 1
        if looks > 3:
            raise ProviderUnavailable("another tick has taken over")
        woken._state.checked_at = None

    woken.before_submit = check
    await woken.flush(at(0))
    assert looks <= 10
    woken.before_submit = None
    for second in range(5):
        await woken.tick(at(second), drain=True)
    outcomes = await woken.outcomes([each.id for each in REQUESTS])
    assert all(isinstance(each, Succeeded) for each in outcomes.values())
    assert len(outcomes) == len(REQUESTS)
