"""The engine with a cache and with `dedupe`: a line for equal requests, none for known ones, whenever the process dies."""

import pytest
import sampling
import test_engine_crashes as crashes
from fakes import MOMENTS, Crash, FakeProvider, FakeStore, Fuse, at, ended, guarded, request
from langgraph.store.base import PutOp

from batch_bridge._core.models import Cancelled, Errored, Expired, Limits, Measure, Request, Succeeded
from batch_bridge._core.policy.flush_policy import FlushPolicy
from batch_bridge._engine import Engine, EngineSettings
from batch_bridge._engine.deduplication import Deduplication
from batch_bridge._ledger.ledger import Ledger
from batch_bridge.errors import BatchFailed, RequestRefused


class Memory:
    """A cache in memory, that outlives every process; a process may die while it is asked."""

    def __init__(self, fuse=None):
        self.fuse = fuse or Fuse()
        self.answers = {}
        self.recalled = []

    async def recall(self, keys, now, *, again=False):
        async def find():
            self.recalled += keys
            return {key: self.answers[key] for key in keys if key in self.answers}

        return await guarded(self.fuse, "recall", find)

    async def remember(self, answers, now):
        async def keep():
            self.answers.update(answers)

        await guarded(self.fuse, "remember", keep)


class Knowing(FakeProvider):
    """Says that a request's identity is the `q` of its item, and answers with it."""

    def identity(self, request):
        return str(request.item["q"]).encode()

    async def poll(self, handle, requests):
        batch = self.batches.get(str(handle))
        assert batch is None or tuple(each.id for each in batch.requests) == tuple(requests)
        return await super().poll(handle, requests)


class Place:
    def __init__(self, *, dedupe=True, cache=None, provider=None, policy=None, store=None):
        self.provider = provider or Knowing()
        self.store = store or FakeStore()
        deduplication = Deduplication("bridge", self.provider, cache, dedupe=dedupe)
        self.engine = Engine(
            "bridge",
            self.provider,
            policy or FlushPolicy(),
            Ledger(self.store, "bridge"),
            EngineSettings(deduplication=deduplication),
        )

    async def ask(self, *requests):
        """Return the outcomes, in order."""
        await self.engine.open(at(0))
        await self.engine.collect(requests, at(0))
        for second in range(1, 10):
            await self.engine.tick(at(100 * second), drain=True)
        outcomes = await self.engine.outcomes([each.id for each in requests])
        return [outcomes[each.id] for each in requests]

    @property
    def lines(self):
        return [[each.item["q"] for each in batch.requests] for batch in self.provider.batches.values()]


def asked(number, q, **more):
    plain = request(number)
    return Request(plain.id, plain.thread, {"n": number, "q": q}, **more)


def qs(outcomes):
    return [outcome.answer["q"] for outcome in outcomes]


async def test_equal_requests_are_one_line_and_each_gets_the_answer():
    place = Place()
    outcomes = await place.ask(*(asked(n, q) for n, q in enumerate("abacab")))
    assert qs(outcomes) == list("abacab")
    assert place.lines == [["a", "b", "c"]]
    assert max(place.provider.executed.values()) == 1
    assert (await Ledger(place.store, "bridge").closed_batches())[0].requests == 6


async def test_without_dedupe_each_is_a_line():
    place = Place(dedupe=False, cache=Memory())
    await place.ask(*(asked(n, q) for n, q in enumerate("aab")))
    assert place.lines == [["a", "a", "b"]]


async def test_samples_and_tenants_share_nothing():
    place = Place()
    same = [{}, {"sample": "1"}, {"tenant": "t"}, {"tenant": "t", "sample": "1"}]
    outcomes = await place.ask(*(asked(n, "a", **more) for n, more in enumerate([*same, *same])))
    assert qs(outcomes) == ["a"] * 8
    assert place.lines == [["a"] * 4]


async def test_a_failure_is_that_of_all_and_is_never_kept():
    cache = Memory()
    place = Place(cache=cache)
    failures = [Errored("no", code="x"), Expired("late"), Cancelled("off")]
    ids = [asked(n, "").id for n in range(3)]
    place.provider.then("poll", ended(dict(zip(ids, failures, strict=True)), Errored("no line", code="missing")))
    outcomes = await place.ask(*(asked(n, q) for n, q in enumerate("abcdabcd")))
    assert outcomes == [*failures, Errored("no line", code="missing")] * 2
    assert cache.answers == {}


async def test_a_batch_that_fails_is_never_kept():
    cache = Memory()
    place = Place(cache=cache)
    place.provider.then("poll", BatchFailed("no quota", code="poll_failed"))
    outcomes = await place.ask(asked(1, "a"), asked(2, "a"))
    assert [each.code for each in outcomes] == ["poll_failed"] * 2
    assert cache.answers == {}


async def test_a_known_answer_costs_nothing():
    cache = Memory()
    await Place(cache=cache, dedupe=False).ask(asked(1, "a"), asked(2, "b"))
    place = Place(cache=cache, dedupe=False)
    outcomes = await place.ask(asked(3, "b"), asked(4, "c"), asked(5, "a"))
    assert qs(outcomes) == ["b", "c", "a"]
    assert outcomes[0].answer["n"] == 2, "the answer of the first run"
    assert place.lines == [["c"]]
    assert place.store.read()["requests"] == {}


async def test_a_known_answer_is_told_when_its_request_is_collected_and_again_after_that():
    cache = Memory()
    await Place(cache=cache).ask(asked(1, "a"))
    place = Place(cache=cache)
    await place.engine.open(at(0))
    again = asked(2, "a")
    assert await place.engine.collect([again, asked(3, "new")], at(0)) == {again.id}
    assert place.engine.queued == 1
    cache.answers.clear()
    cache.recalled.clear()
    assert await place.engine.collect([again], at(0)) == {again.id}
    assert cache.recalled == [], "what is settled is not looked up"


async def test_what_becomes_known_while_a_request_waits_is_not_sent():
    cache = Memory()
    place = Place(cache=cache)
    await place.engine.open(at(0))
    waiting = [asked(1, "a"), asked(2, "b"), asked(3, "a")]
    assert await place.engine.collect(waiting, at(0)) == set()
    await Place(cache=cache).ask(asked(4, "a"))
    tick = await place.engine.tick(at(10), drain=True)
    assert set(tick.settled) == {waiting[0].id, waiting[2].id}
    assert place.lines == [["b"]]
    assert not {waiting[0].id, waiting[2].id} & place.store.read()["requests"].keys()
    tick = await place.engine.tick(at(20))
    assert set(tick.settled) == {waiting[1].id}


async def test_what_was_looked_up_just_now_is_not_looked_up_again():
    cache = Memory()
    place = Place(cache=cache)
    await place.engine.open(at(0))
    await place.engine.collect([asked(1, "a")], at(0))
    await place.engine.tick(at(0.5), drain=True)
    assert len(cache.recalled) == 1


async def test_what_could_not_be_written_waits_on():
    class Full(FakeStore):
        full = False

        async def abatch(self, ops):
            held = list(ops)
            if self.full and any(getattr(op, "namespace", ("", "", ""))[2] == "outcomes" for op in held):
                raise OSError("disk full")
            return await super().abatch(held)

    cache = Memory()
    place = Place(cache=cache, store=Full())
    await place.engine.open(at(0))
    await place.engine.collect([asked(1, "a")], at(0))
    await Place(cache=cache).ask(asked(4, "a"))
    place.store.full = True
    with pytest.raises(OSError, match="disk full"):
        await place.engine.tick(at(10), drain=True)
    assert place.engine.queued == 1
    place.store.full = False
    assert (await place.engine.tick(at(20), drain=True)).settled == (asked(1, "a").id,)
    assert place.lines == []


async def test_what_is_refused_is_not_looked_up():
    def measure(request):
        raise RequestRefused("no")

    cache = Memory()
    place = Place(cache=cache, provider=Knowing(measure=measure))
    (outcome,) = await place.ask(asked(1, "a"))
    assert outcome.code == "invalid_item"
    assert cache.recalled == []


async def test_the_limits_count_lines():
    place = Place(provider=Knowing(limits=Limits(requests=2)))
    await place.ask(*(asked(n, q) for n, q in enumerate("aabbaaccdd")))
    assert place.lines == [["a", "b"], ["c", "d"]]


async def test_groups_are_kept_apart():
    place = Place(provider=Knowing(measure=lambda each: Measure(each.item["q"][0], 1)))
    await place.ask(*(asked(n, q) for n, q in enumerate(["a1", "b1", "a1", "b2", "b1"])))
    assert place.lines == [["a1"], ["b1", "b2"]]


async def test_a_batch_that_was_sent_shared_stays_so_whatever_the_next_process_is_told():
    first = Place(cache=Memory())
    await first.engine.open(at(0))
    await first.engine.collect([asked(1, "a"), asked(2, "a"), asked(3, "b")], at(0))
    await first.engine.tick(at(0), drain=True)
    engine = Engine("bridge", first.provider, FlushPolicy(), Ledger(first.store, "bridge"))
    await engine.open(at(1))
    tick = await engine.tick(at(100))
    outcomes = await engine.outcomes(tick.settled)
    assert len(outcomes) == 3
    assert sorted(qs(outcomes.values())) == ["a", "a", "b"]


async def test_rows_of_an_older_version_are_read():
    store = FakeStore()
    ledger = Ledger(store, "bridge")
    plain, marked = Request("00", "t", {"q": 1}), Request("01", "t", {"q": 1}, "me", "2")
    await ledger.enqueue([plain, marked])
    assert store.read()["requests"]["00"] == {"thread": "t", "text": '{"q": 1}'}
    assert await ledger.requests(["00", "01"]) == [plain, marked]
    root = ("batch_bridge", "bridge")
    await store.abatch(
        [
            PutOp((*root, "requests", "02"), "02", {"thread": "t", "item": {"q": 2}}),
            PutOp((*root, "outcomes", "03"), "03", {"kind": "succeeded", "answer": [1]}),
        ]
    )
    await ledger.read_attempts()  # the first step of taking a ledger over
    assert await ledger.requests(["02"]) == [Request("02", "t", {"q": 2})]
    assert await ledger.outcomes(["03"]) == {"03": Succeeded([1])}


# -- and whenever the process dies -----------------------------------------------------------------------------------

REQUESTS = [
    Request(each.id, each.thread, {**each.item, "q": q}, sample=sample)
    for each, q, sample in zip(crashes.REQUESTS, [1, 2, 1, 2, 3, 2, 1], ["", "", "", "", "", "", "1"], strict=True)
]
"""Of groups a and b in turn; 0 and 2 are equal, 1 and 3 and 5 are, and 6 is another sample of 0."""
LINES = 4


class World(crashes.World):
    def __init__(self, story, *, cache, dedupe):
        super().__init__({})
        self.provider = Knowing(measure=lambda each: Measure(each.item["group"], 1), fuse=self.fuse)
        for verb, replies in story.items():
            self.provider.then(verb, *replies)
        self.cache = Memory(self.fuse) if cache else None
        self.dedupe = dedupe

    async def live(self):
        deduplication = Deduplication("bridge", self.provider, self.cache, dedupe=self.dedupe)
        engine = Engine(
            "bridge",
            self.provider,
            FlushPolicy(max_requests=7),
            Ledger(self.store, "bridge", chunk=2),
            EngineSettings(deduplication=deduplication),
        )
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


@pytest.mark.sampled
@pytest.mark.parametrize("story", crashes.STORIES)
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize(("cache", "dedupe"), [(True, True), (False, True), (True, False)])
async def test_wherever_the_process_dies_every_request_ends_once_and_a_key_is_paid_once(story, moment, cache, dedupe):
    for call in sampling.calls(f"{story} {moment} {cache} {dedupe}"):
        # The replies are made again, since those of an earlier story have been read.
        world = World(fresh(crashes.STORIES[story]), cache=cache, dedupe=dedupe)
        world.fuse.arm(call, moment)
        try:
            outcomes = await world.live()
        except Crash:
            world.fuse.revive()
            outcomes = await world.live()
        else:
            assert call > 15, "the story is too short to prove anything"
            break
        assert outcomes.keys() == {each.id for each in REQUESTS}, f"died at call {call}"
        paid = [each for batch in world.provider.batches.values() for each in batch.requests if batch.state != "live"]
        assert max(world.provider.executed.values(), default=0) <= 1, f"died at call {call}"
        if dedupe:
            keys = [(each.item["q"], each.sample) for each in paid]
            assert len(set(keys)) == len(keys), f"died at call {call}"
            assert len(keys) <= LINES
        for each in REQUESTS:
            outcome = outcomes[each.id]
            if isinstance(outcome, Succeeded) and outcome.answer != "early":
                assert outcome.answer["q"] == each.item["q"], f"died at call {call}"
            if not isinstance(outcome, Succeeded):
                assert isinstance(outcome, Errored)
        if cache:
            deduplication = Deduplication("bridge", world.provider, None, dedupe=True)
            q_of = {deduplication.key(each): each.item["q"] for each in REQUESTS}
            kept = world.cache.answers
            assert all(kept[key] == "early" or kept[key]["q"] == q_of[key] for key in kept)
            if story == "all goes well":
                assert len(world.cache.answers) == LINES, f"died at call {call}: an answer was not kept"


def fresh(story):
    """Return a story whose batch has not been read yet."""
    if "poll" in story and not isinstance(story["poll"][0], Exception):
        pairs = [(REQUESTS[0].id, Succeeded("early"))]
        return {"poll": [ended(pairs, breaks=crashes.ProviderUnavailable("503"))]}
    return story
