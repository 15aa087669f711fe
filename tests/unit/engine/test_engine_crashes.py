"""A whole life of a bridge, in which the process dies at every call in turn. See `test_engine_machine` for the rest."""

import itertools

import pytest
import sampling
from fakes import MOMENTS, Crash, Created, FakeProvider, FakeStore, Fuse, at, ended, request

from batch_bridge._core.models import Errored, InProgress, Measure, Succeeded
from batch_bridge._core.policy.flush_policy import FlushPolicy
from batch_bridge._engine import Engine
from batch_bridge._ledger.ledger import Ledger
from batch_bridge.errors import ProviderUnavailable, SubmissionRefused, SubmissionUnknown

REQUESTS = [request(n, group="ab"[n % 2]) for n in range(7)]
IDS = [each.id for each in REQUESTS]

STORIES = {
    "all goes well": {},
    "a submission that is not known": {"submit": [Created(SubmissionUnknown("timed out"))]},
    "a submission that came to nothing": {"submit": [SubmissionUnknown("timed out")]},
    "a submission that is refused": {"submit": [SubmissionRefused("400")]},
    "a provider that cannot be asked": {
        "submit": [Created(SubmissionUnknown("timed out"))],
        "find": [SubmissionUnknown("no way to tell")] * 9,
    },
    "an input that is refused": {"prepare": [SubmissionRefused("400")]},
    "a break in the middle": {
        "poll": [ended([(IDS[0], Succeeded("early"))], breaks=ProviderUnavailable("503"))],
    },
    "outcomes before the end": {
        "poll": [InProgress(outcomes=((IDS[0], Succeeded("early")), (IDS[2], Succeeded("early"))))],
    },
    "a batch that fails": {"poll": [ValueError("a bug")]},
}


class World:
    """What outlives a process: the store and the provider; and what the dead ones have seen."""

    def __init__(self, story):
        self.fuse = Fuse()
        self.store = FakeStore(fuse=self.fuse)
        self.provider = FakeProvider(measure=lambda each: Measure(each.item["group"], 1), fuse=self.fuse)
        for verb, replies in story.items():
            self.provider.then(verb, *replies)
        self.clock = itertools.count()
        self.seen = {}

    async def live(self):
        """Run one process until nothing is under way; return the outcomes that it reported."""
        engine = Engine("bridge", self.provider, FlushPolicy(max_requests=3), Ledger(self.store, "bridge", chunk=2))
        try:
            await engine.open(self.now())
            told = await engine.collect(REQUESTS, self.now())
            for _ in range(20):
                tick = await engine.tick(self.now(), drain=True)
                told |= set(tick.settled)
                if tick.wake_at is None:
                    break
            self.look()
            return await engine.outcomes(sorted(told))
        finally:
            self.look()

    def now(self):
        return at(100 * next(self.clock))

    def look(self):
        for request_id, outcome in self.store.read()["outcomes"].items():
            assert self.seen.setdefault(request_id, outcome) == outcome, "an outcome has changed"


@pytest.mark.parametrize("story", STORIES)
@pytest.mark.parametrize("moment", MOMENTS)
async def test_wherever_the_process_dies_every_request_ends_once_and_is_paid_once(story, moment):
    for call in sampling.calls(f"{story} {moment}"):
        world = World(STORIES[story])
        world.fuse.arm(call, moment)
        try:
            outcomes = await world.live()
        except Crash:
            world.fuse.revive()
            outcomes = await world.live()
        else:
            assert call > 30, "the story is too short to prove anything"
            break
        assert outcomes.keys() == set(IDS), f"died at call {call}"
        assert max(world.provider.executed.values(), default=0) <= 1, f"died at call {call}"
        for each in REQUESTS:
            if outcomes[each.id] == Succeeded(each.item):
                assert world.provider.executed[each.id] == 1, f"died at call {call}"
            else:
                assert isinstance(outcomes[each.id], Errored) or outcomes[each.id] == Succeeded("early")


async def test_what_is_settled_while_an_intent_is_taken_back_is_reported():
    world = World({"submit": [SubmissionRefused("400")]})
    world.fuse.arm(1, "before", "put closed")
    with pytest.raises(Crash):
        await world.live()
    world.fuse.revive()
    known = dict(world.seen)
    assert known
    outcomes = await world.live()
    assert outcomes.keys() == set(IDS)
    assert all(outcomes[each] == Errored("400", code="submit_failed") for each in known)
    assert not world.provider.executed.keys() & known.keys()


async def test_an_engine_that_is_opened_again_starts_from_the_ledger_alone():
    world = World({})
    engine = Engine("bridge", world.provider, FlushPolicy(max_requests=3), Ledger(world.store, "bridge"))
    await engine.open(at(0))
    await engine.collect(REQUESTS, at(0))
    await engine.tick(at(0), drain=True)
    world.fuse.arm(2, "after", "delete members")
    with pytest.raises(Crash):
        await engine.tick(at(1))
    world.fuse.revive()
    await engine.open(at(2))
    assert (engine.queued, engine.in_flight) == (0, len(REQUESTS) - len(world.store.read()["outcomes"]))
    told = await engine.collect(REQUESTS, at(2))
    assert told == world.seen.keys() | world.store.read()["outcomes"].keys()
    assert set((await engine.tick(at(3))).settled) == set(IDS) - told
