"""What the engine does about each thing that a provider can do."""

from datetime import timedelta

import pytest
from fakes import T0, Created, FakeProvider, FakeStore, at, ended, request

from batch_bridge._core.models import (
    Cancelled,
    Errored,
    Expired,
    InProgress,
    Limits,
    Measure,
    Request,
    Succeeded,
    Usage,
)
from batch_bridge._core.policy.flush_policy import FlushPolicy
from batch_bridge._engine import Engine, EngineSettings
from batch_bridge._ledger.ledger import Ledger
from batch_bridge.errors import BatchFailed, ProviderUnavailable, RequestRefused, SubmissionRefused, SubmissionUnknown

ASKED = request(1)
AWAY = ProviderUnavailable("503")
UNKNOWN = SubmissionUnknown("timed out")
REFUSED = SubmissionRefused("no quota", code="quota", status_code=429)
BUG = ValueError("a bug")
ANSWER = Succeeded(ASKED.item)
SENT = ["prepare", "submit", "poll", "release"]


class Life:
    """One bridge, ticked whenever it wants to be."""

    def __init__(self, provider=None, policy=None, interval=64):
        self.provider = provider or FakeProvider()
        self.store = FakeStore()
        self.ledger = Ledger(self.store, "bridge")
        self.engine = Engine(
            "bridge",
            self.provider,
            policy or FlushPolicy(max_age=0),
            self.ledger,
            EngineSettings(poll_interval=timedelta(seconds=interval)),
        )
        self.now = T0
        self.wakes = []

    async def ask(self, *requests):
        await self.engine.open(self.now)
        return await self.engine.collect(requests or [ASKED], self.now)

    async def tick(self, **options):
        tick = await self.engine.tick(self.now, **options)
        if tick.wake_at is not None:
            self.wakes.append((tick.wake_at - T0).total_seconds())
            self.now = tick.wake_at
        return tick

    async def end(self):
        settled = []
        for _ in range(30):
            tick = await self.tick()
            settled += tick.settled
            if tick.wake_at is None:
                return await self.engine.outcomes(settled)
        raise AssertionError("this never ends")


@pytest.mark.parametrize(
    ("replies", "verbs", "outcome"),
    [
        pytest.param({}, SENT, ANSWER, id="all goes well"),
        pytest.param({"prepare": [AWAY]}, ["prepare", *SENT], ANSWER, id="prepare: away, again later"),
        pytest.param({"prepare": [UNKNOWN]}, ["prepare", *SENT], ANSWER, id="prepare: unknown costs nothing"),
        pytest.param({"prepare": [REFUSED]}, ["prepare"], Errored("no quota", "quota", 429), id="prepare: refused"),
        pytest.param({"prepare": [BUG]}, ["prepare"], Errored("ValueError: a bug", "submit_failed"), id="prepare: bug"),
        pytest.param(
            {"submit": [AWAY, AWAY]},
            ["prepare", "submit", "submit", *SENT[1:]],
            ANSWER,
            id="submit: away, again with the same input and without a search",
        ),
        pytest.param(
            {"submit": [Created(UNKNOWN)]},
            ["prepare", "submit", "find", "poll", "release"],
            ANSWER,
            id="submit: unknown and found: adopted",
        ),
        pytest.param(
            {"submit": [UNKNOWN]},
            ["prepare", "submit", "find", "fence", "find", *SENT],
            ANSWER,
            id="submit: unknown and not found: fenced, looked for again, sent again",
        ),
        pytest.param(
            {"submit": [UNKNOWN], "find": [AWAY, [], [], AWAY], "fence": [AWAY]},
            ["prepare", "submit", "find", "find", "fence", *["find", "fence", "find"] * 2, *SENT],
            ANSWER,
            id="reconcile: away at any step: from its start again",
        ),
        pytest.param({"submit": [REFUSED]}, ["prepare", "submit"], Errored("no quota", "quota", 429), id="submit: no"),
        pytest.param(
            {"submit": [BUG]}, ["prepare", "submit"], Errored("ValueError: a bug", "submit_failed"), id="submit: bug"
        ),
        pytest.param(
            {"submit": [Created(UNKNOWN)], "find": [UNKNOWN]},
            ["prepare", "submit", "find"],
            Errored("timed out", "submission_unknown", retryable=True),
            id="find: cannot be asked: not sent again",
        ),
        pytest.param(
            {"submit": [Created(UNKNOWN)], "find": [BUG]},
            ["prepare", "submit", "find", "find", "poll", "release"],
            ANSWER,
            id="find: bug: it could not look, and looks again",
        ),
        pytest.param(
            {"submit": [Created(UNKNOWN)], "find": [["batch-2", "double"]], "cancel": [BUG]},
            ["prepare", "submit", "find", "cancel", "poll", "release"],
            ANSWER,
            id="cancel of a double: bug: the first is adopted all the same",
        ),
        pytest.param({"poll": [AWAY]}, ["prepare", "submit", "poll", *SENT[2:]], ANSWER, id="poll: away"),
        pytest.param(
            {"poll": [InProgress(), InProgress(1, 2)]},
            ["prepare", "submit", "poll", "poll", *SENT[2:]],
            ANSWER,
            id="poll: not yet",
        ),
        pytest.param(
            {"poll": [BUG, KeyError()]}, [*SENT[:3], "poll", "poll", *SENT[3:]], ANSWER, id="poll: a bug: again"
        ),
        pytest.param(
            {"poll": [BatchFailed("no quota", code="quota")]}, SENT, Errored("no quota", "quota"), id="poll: failed"
        ),
        pytest.param({"poll": [ended({})]}, SENT, Errored("no line", "missing"), id="ended without a line"),
        pytest.param({"poll": [ended({}, Expired("24 h"))]}, SENT, Expired("24 h"), id="expired"),
        pytest.param({"poll": [ended({ASKED.id: Cancelled("off")})]}, SENT, Cancelled("off"), id="cancelled"),
        pytest.param(
            {"poll": [ended({}, breaks=AWAY)]},
            ["prepare", "submit", "poll", *SENT[2:]],
            ANSWER,
            id="the reading breaks off: read again",
        ),
        pytest.param(
            {"poll": [ended({}, breaks=BUG)]}, ["prepare", "submit", "poll", *SENT[2:]], ANSWER, id="the reading: a bug"
        ),
        pytest.param({"release": [BUG]}, SENT, ANSWER, id="release: bug: what is settled stands"),
        pytest.param({"release": [AWAY]}, SENT, ANSWER, id="release: away: what is settled stands"),
    ],
)
async def test_whatever_the_provider_does_the_request_ends(replies, verbs, outcome):
    life = Life()
    for verb, those in replies.items():
        life.provider.then(verb, *those)
    assert await life.ask() == set()
    assert await life.end() == {ASKED.id: outcome}
    assert life.provider.take() == verbs
    assert not life.store.read()["requests"]
    assert not life.store.read()["batches"]
    assert not life.store.read()["members"]
    assert life.engine.queued == life.engine.in_flight == life.engine.batches_in_flight == 0


async def test_of_several_matches_the_oldest_is_adopted_and_the_others_are_cancelled():
    life = Life()
    life.provider.then("submit", Created(UNKNOWN))
    await life.ask()
    await life.tick()
    (oldest,) = life.provider.batches
    life.provider.then("find", [oldest, "batch-b", "batch-c"])
    life.provider.then("cancel", None, AWAY, None, None)
    life.provider.then("find", [oldest, "batch-b", "batch-c"])
    assert await life.end() == {ASKED.id: ANSWER}
    cancelled = [about for verb, about in life.provider.calls if verb == "cancel"]
    assert cancelled == ["batch-b", "batch-c", "batch-b", "batch-c"]
    assert [about for verb, about in life.provider.calls if verb == "poll"] == [oldest]


@pytest.mark.parametrize(
    ("measure", "outcome"),
    [
        (RequestRefused("what model?"), Errored("what model?", "invalid_item")),
        (RequestRefused("too long", code="item_too_large"), Errored("too long", "item_too_large")),
        (BUG, Errored("ValueError: a bug", "measure_failed")),
        (
            Measure("", 1001),
            Errored(
                "the request is 1,001 bytes long, but 'bridge' accepts at most 1,000; send a smaller request",
                "item_too_large",
            ),
        ),
    ],
)
async def test_a_request_that_can_never_be_sent_ends_at_once_and_its_neighbours_go_on(measure, outcome):
    def judge(asked: Request) -> Measure:
        if asked.id != ASKED.id:
            return Measure("", 1000)
        if isinstance(measure, Exception):
            raise measure
        return measure

    life = Life(FakeProvider(limits=Limits(bytes=1000), measure=judge))
    neighbour = request(2)
    assert await life.ask(ASKED, neighbour) == {ASKED.id}
    assert await life.engine.outcomes([ASKED.id]) == {ASKED.id: outcome}
    assert await life.end() == {neighbour.id: Succeeded(neighbour.item)}
    assert set(life.provider.executed) == {neighbour.id}


async def test_one_poisoned_batch_does_not_stand_in_the_way_of_the_others():
    life = Life(policy=FlushPolicy(max_requests=1))
    life.provider.then("submit", BUG)
    asked = [request(n) for n in range(6)]
    await life.ask(*asked)
    outcomes = await life.end()
    assert [type(outcomes[each.id]) for each in asked] == [Errored, *[Succeeded] * 5]


async def test_the_pauses_between_polls_double_up_to_the_interval():
    life = Life(interval=4)
    life.provider.then("poll", *[InProgress()] * 9)
    await life.ask()
    await life.end()
    pauses = [after - before for before, after in zip(life.wakes, life.wakes[1:], strict=False)]
    assert pauses == [1 / 16, 1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 4, 4]


async def test_a_provider_that_says_when_is_left_alone_until_then():
    life = Life()
    life.provider.then("submit", ProviderUnavailable("429", retry_after=20))
    life.provider.then("poll", ProviderUnavailable("429", retry_after=1000))
    await life.ask()
    await life.end()
    assert life.wakes == [20, 20, 1020]


async def test_a_submission_that_always_comes_to_nothing_is_tried_ever_more_rarely():
    life = Life(interval=64)
    life.provider.then("submit", *[UNKNOWN] * 12)
    await life.ask()
    await life.end()
    assert life.provider.executed == {ASKED.id: 1}
    assert life.wakes[-1] > 64 * 4


async def test_what_was_sent_once_is_sent_again_though_nothing_else_makes_it_due():
    life = Life(policy=FlushPolicy(max_age=None))
    life.provider.then("submit", UNKNOWN)
    await life.ask()
    await life.tick(drain=True)
    assert await life.end() == {ASKED.id: ANSWER}


async def test_a_closed_batch_leaves_its_figures():
    life = Life()
    asked = [request(n) for n in range(3)]
    usage = Usage("gpt", 10, 20, 5)
    reply = ended({asked[0].id: Succeeded(1), asked[1].id: Expired("24 h")})
    life.provider.then("poll", InProgress(), type(reply)(reply.outcomes, reply.missing, usage))
    await life.ask(*asked)
    await life.end()
    (closed,) = await life.ledger.closed_batches()
    assert closed.handle == "batch-2"
    assert closed.requests == 3
    assert closed.outcomes == {"succeeded": 1, "expired": 1, "errored": 1}
    assert closed.usage == usage
    assert (closed.submitted_at, closed.ended_at) == (T0, at(1))


async def test_a_row_that_the_store_has_lost_ends_its_request_alone():
    life = Life()
    lost, kept = request(1), request(2)
    life.provider.then("prepare", AWAY)
    await life.ask(lost, kept)
    await life.tick()
    await life.ledger.drop([lost.id])
    outcomes = await life.end()
    assert outcomes[lost.id].code == "ledger_row_lost"
    assert outcomes[kept.id] == Succeeded(kept.item)
    assert set(life.provider.executed) == {kept.id}


async def test_a_settled_request_that_is_collected_again_is_returned_each_time():
    life = Life()
    await life.ask()
    await life.end()
    assert await life.engine.collect([ASKED], life.now) == {ASKED.id}
    assert await life.engine.collect([ASKED, ASKED], life.now) == {ASKED.id}
    await life.engine.forget([ASKED.id])
    assert not life.store.read()["outcomes"]


async def test_an_engine_that_was_not_opened_says_so():
    with pytest.raises(RuntimeError, match="'bridge' was used before it was opened"):
        await Life().engine.tick(T0)
