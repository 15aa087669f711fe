"""Which responses of a window are retrieved when, and what comes of a retrieval that fails. The clock is the test's."""

import math
from datetime import timedelta

import httpx
import openai
import pytest
from fakes import T0, FakeProvider, FakeStore

from batch_bridge import events
from batch_bridge._core.models import Request, Succeeded
from batch_bridge._core.policy.flush_policy import FlushPolicy
from batch_bridge._core.policy.lanes import LANE
from batch_bridge._core.policy.vendor_terms import terms_of
from batch_bridge._engine import Engine, EngineSettings
from batch_bridge._engine.waiting.ladder import Ladder
from batch_bridge._ledger.ledger import Ledger
from batch_bridge.bridge._mode_switch import ModeSwitch
from batch_bridge.errors import SubmissionUnknown
from batch_bridge.providers.openai import OpenAIBatch
from batch_bridge.providers.openai._windows import provider as module


class Clock:
    now = 0.0

    def time(self):
        return T0.timestamp() + self.now

    def monotonic(self):
        return 1_000 + self.now

    def at(self):
        return T0 + timedelta(seconds=self.now)


class Api:
    """Answers `create` at once and `retrieve` as `answer` says, and notes both."""

    def __init__(self, clock):
        self.clock, self.made, self.seen = clock, [], []
        self.answer = lambda name: {"id": name, "status": "queued"}
        self.refusal = None

    async def post(self, name, path, body):
        if name != "responses.create":
            return {}
        if self.refusal is not None:
            raise self.refusal
        self.made.append(f"resp_{len(self.made) + 1}")
        return {"id": self.made[-1]}

    async def get(self, name):
        self.seen.append((self.clock.now, name))
        return self.answer(name)


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def api(clock):
    return Api(clock)


def window(api, **options):
    provider = OpenAIBatch(openai.AsyncOpenAI(api_key="k"), model="gpt-5-mini").window("2h", **options)
    provider._post, provider._get = api.post, api.get
    return provider


def engine(provider, store=None, **options):
    ledger = Ledger(store or FakeStore(), "bridge")
    return Engine(
        "bridge", provider, FlushPolicy(max_requests=1, max_age=timedelta(0)), ledger, EngineSettings(**options)
    )


def request(number):
    return Request(f"{number:032x}", f"thread {number}", [{"role": "user", "content": f"hello {number}"}])


def completed(name):
    content = [{"type": "output_text", "text": "well"}]
    return {
        "id": name,
        "status": "completed",
        "output": [{"type": "message", "content": content}],
        "usage": {"input_tokens": 1, "output_tokens": 1},
        "model": "gpt-5-mini",
    }


def refused(status, kind):
    said = {"message": "no", "code": "no"}
    answer = httpx.Response(status, json={"error": said}, request=httpx.Request("GET", "http://x"))
    return kind("no", response=answer, body=said)


def raising(error):
    def answer(name):
        raise error

    return answer


def handle(name="resp_1", created_at=None):
    created_at = T0.timestamp() if created_at is None else created_at
    return {"id": name, "created_at": created_at, "model": "m", "is_chat": True, "wants_message": False}


async def run(engine, clock, until):
    """Tick whenever the engine wants to; return what was settled."""
    settled = []
    while clock.now < until:
        tick = await engine.tick(clock.at())
        settled += tick.settled
        wake_at = tick.wake_at or clock.at() + timedelta(seconds=30)
        clock.now = max(clock.now + 0.05, (wake_at - T0).total_seconds())
    return settled


async def test_slow_responses_do_not_keep_others_from_being_retrieved(clock, api):
    def answer(name):
        slow = int(name.removeprefix("resp_")) <= 100
        return completed(name) if not slow and clock.now >= 1_800 else {"id": name, "status": "queued"}

    api.answer = answer
    bridge = engine(window(api))
    await bridge.open(T0)
    await bridge.collect([request(each) for each in range(300)], T0)
    await run(bridge, clock, 1_800)
    assert {name for _, name in api.seen} == set(api.made)
    assert len(await run(bridge, clock, 1_800 + 180)) == 200


async def test_who_was_turned_away_goes_first_and_knows_when(clock, api):
    provider = window(api)
    created_at = T0.timestamp() - 60
    looks = [await provider.poll(handle(f"resp_{each}", created_at), ["m"]) for each in range(50)]
    assert [look.again_in for look in looks] == [None] * 20 + [1.0] * 20 + [2.0] * 10
    clock.now = 1.0
    assert (await provider.poll(handle("new", created_at), ["m"])).again_in is not None
    for each in range(20, 40):
        await provider.poll(handle(f"resp_{each}", created_at), ["m"])
    assert [name for _, name in api.seen] == [f"resp_{each}" for each in range(40)]


async def test_a_turn_that_nobody_comes_for_is_lost(clock, api):
    provider = window(api)
    for each in range(60):
        await provider.poll(handle(f"resp_{each}"), ["m"])
    clock.now = 90.0
    await provider.poll(handle("new"), ["m"])
    assert api.seen[-1] == (90.0, "new")


async def test_a_look_that_retrieves_nothing_is_no_good_one(clock, api):
    api.answer = raising(refused(401, openai.AuthenticationError))
    bridge, told = engine(window(api)), []
    bridge.on_event = told.append
    await bridge.open(T0)
    await bridge.collect([request(1)], T0)
    await run(bridge, clock, 3_600)
    (flight,) = bridge.flights
    assert flight.bad_since is not None
    assert clock.at() - flight.bad_since > timedelta(minutes=55)
    assert flight.failures == len(api.seen) > 10
    assert not any(isinstance(each, events.Polled) for each in told)
    assert any(isinstance(each, events.Stalled) for each in told)


def test_the_life_of_stored_responses_is_known():
    assert terms_of("OpenAIWindow").keeps == timedelta(days=30).total_seconds()


async def test_a_response_that_is_not_found_for_a_while_is_answered(clock, api):
    lost = raising(refused(404, openai.NotFoundError))
    api.answer = lambda name: completed(name) if clock.now >= 3_600 else lost(name)
    bridge = engine(window(api))
    await bridge.open(T0)
    await bridge.collect([request(1)], T0)
    assert await run(bridge, clock, 3_600) == []
    assert await run(bridge, clock, 4_000) == [request(1).id]
    outcomes = await bridge.outcomes([request(1).id])
    assert isinstance(outcomes[request(1).id], Succeeded)


async def test_a_response_that_is_never_found_fails_and_is_not_made_again(clock, api):
    api.answer = raising(refused(404, openai.NotFoundError))
    bridge = engine(window(api), attempts=3, poll_patience=timedelta(hours=2))
    await bridge.open(T0)
    await bridge.collect([request(1)], T0)
    assert await run(bridge, clock, 7_000) == []
    assert await run(bridge, clock, 8_000) == [request(1).id]
    outcome = (await bridge.outcomes([request(1).id]))[request(1).id]
    assert (outcome.code, outcome.retryable, len(api.made)) == ("response_not_found", True, 1)


async def test_what_is_paid_again_is_retrieved_right_before(clock, api):
    api.answer = lambda name: completed(name) if clock.now >= 3_590 else {"id": name, "status": "queued"}
    fallback = FakeProvider()
    bridge = engine(window(api), ladder=Ladder.of_fallback(timedelta(hours=1), "pay_again", fallback))
    await bridge.open(T0)
    await bridge.collect([request(each) for each in range(60)], T0)
    await run(bridge, clock, 3_700)
    outcomes = await bridge.outcomes([request(each).id for each in range(60)])
    assert len(outcomes) == 60
    assert fallback.batches == {}


async def test_the_last_look_has_no_limit(clock, api):
    provider = ModeSwitch(window(api).batch, math.inf, window(api), "window:2h")
    for each in range(40):
        await provider.poll({LANE: "window:2h", **handle(f"resp_{each}")}, ["m"])
    last = {LANE: "window:2h", **handle("resp_39")}
    provider.look_at_once(last)
    assert (await provider.poll(last, ["m"])).again_in is None
    assert api.seen[-1] == (0.0, "resp_39")


@pytest.mark.parametrize("switched", [False, True])
async def test_what_was_refused_for_now_is_sent_by_the_next_process(clock, api, switched):
    def provider():
        twin = window(api)
        return ModeSwitch(twin.batch, math.inf, twin, twin.way) if switched else twin

    store = FakeStore()
    api.refusal = refused(429, openai.RateLimitError)
    first = engine(provider(), store)
    await first.open(T0)
    await first.collect([request(1)], T0)
    await first.tick(T0)
    await first.tick(T0 + timedelta(seconds=1))
    api.refusal, api.answer = None, completed
    later = engine(provider(), store)
    clock.now = 10.0
    await later.open(clock.at())
    await later.collect([request(1)], clock.at())
    assert await run(later, clock, 60) == [request(1).id]
    assert isinstance((await later.outcomes([request(1).id]))[request(1).id], Succeeded)
    assert api.made == ["resp_1"]


async def test_what_was_refused_for_now_is_prepared_anew_and_in_doubt_while_it_is_sent(clock, api):
    store = FakeStore()
    api.refusal = refused(429, openai.RateLimitError)
    first = engine(window(api), store)
    await first.open(T0)
    await first.collect([request(1)], T0)
    await first.tick(T0)
    api.refusal = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        await first._sender.submit(first.flights[0], first.flights[0].batch, T0)
    clock.now = 10.0
    later = engine(window(api), store)
    await later.open(clock.at())
    assert await later.collect([request(1)], clock.at()) == set()
    await run(later, clock, 60)
    assert (await later.outcomes([request(1).id]))[request(1).id].code == "submission_unknown"


async def test_an_unclear_create_does_not_promise_to_look_it_up(api):
    provider = window(api)
    api.refusal = refused(500, openai.InternalServerError)
    with pytest.raises(SubmissionUnknown, match="cannot be looked up") as error:
        await provider.submit("key", [request(1)], {})
    assert "will be looked up" not in str(error.value)
