"""The engine as a state machine: whatever the provider does and whenever the process dies, every request ends once.

The parked requests are the truth, as LangGraph's checkpoints are. The store is real and outlives every process; a
process dies before, within or after any call of the store or the provider.
"""

import asyncio
import json
from collections import defaultdict
from collections.abc import Awaitable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from random import Random
from typing import Any

import sampling
from fakes import MOMENTS, T0, Crash, FakeStore, Fuse, Moment, request
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from wild_provider import (
    CALLS,
    FAILURES,
    GIVEN_UP,
    INTERVAL,
    ITEMS,
    JUMPS,
    LIMITS,
    NAME,
    POLICIES,
    UNAVAILABLE,
    WEATHER,
    WildProvider,
)

from batch_bridge._core import outcomes as _outcome
from batch_bridge._core.models import (
    JSON,
    Limits,
    Outcome,
    Request,
    SubmittedBatch,
    Succeeded,
)
from batch_bridge._core.policy.batching import cap
from batch_bridge._core.policy.flush_policy import FlushPolicy
from batch_bridge._engine import Engine, EngineSettings, Tick
from batch_bridge._ledger.ledger import Ledger


class EngineMachine(RuleBasedStateMachine):
    @initialize(
        policy=st.sampled_from(POLICIES),
        limits=st.sampled_from(LIMITS),
        searchable=st.sampled_from([True, True, False]),
        attempts=st.sampled_from([1, 3]),
    )
    def begin(self, policy: FlushPolicy, limits: Limits, searchable: bool, attempts: int) -> None:
        self.runner = asyncio.Runner()
        self.fuse = Fuse()
        self.store = FakeStore(fuse=self.fuse)
        self.policy = policy
        self.attempts = attempts
        self.most_tries = attempts - 1
        most = cap(limits, policy.max_requests, policy.max_bytes)
        self.provider = WildProvider(limits, most, self.store, searchable=searchable)
        self.now: datetime = T0
        self.due: datetime | None = None
        self.engine: Engine | None = None
        self.broken = False
        self.parked: dict[str, Request] = {}
        self.outcomes: dict[str, Outcome] = {}
        self.reported: set[str] = set()  # told to this process as settled
        self.ended: set[str] = set()  # their threads are over
        self.forgotten: set[str] = set()
        self.boot()

    # -- rules -------------------------------------------------------------------------------------------------

    @rule(items=st.lists(st.sampled_from(ITEMS), min_size=1, max_size=4))
    def park(self, items: list[dict[str, JSON]]) -> None:
        for item in items:
            new = request(len(self.provider.asked), **item)
            self.parked[new.id] = self.provider.asked[new.id] = new
        if self.engine is not None:
            self.collect(list(self.parked)[-len(items) :])

    @precondition(lambda self: self.engine is not None)
    @rule(weather=WEATHER, drain=st.sampled_from([True, False]))
    def tick_when_due(self, weather: int, drain: bool) -> None:
        if self.due is not None:
            self.now = max(self.now, self.due)
        self.do_tick(drain=drain, weather=weather)

    @precondition(lambda self: self.engine is not None)
    @rule(weather=WEATHER, jump=JUMPS, drain=st.sampled_from([False, True]))
    def tick_whenever(self, weather: int, jump: float, drain: bool) -> None:
        self.now += timedelta(seconds=jump)
        self.do_tick(drain=drain, weather=weather)

    @precondition(lambda self: self.engine is not None and self.parked)
    @rule(seed=WEATHER)
    def collect_some_again(self, seed: int) -> None:
        self.collect(Random(seed).choices([*self.parked], k=4))

    @precondition(lambda self: self.engine is not None and self.parked)
    @rule(seed=WEATHER, most=st.integers(1, 3))
    def cancel(self, seed: int, most: int) -> None:
        ids = Random(seed).choices([*self.parked], k=most)
        cancelled = self.run(self.alive.cancel(ids, self.now))
        if cancelled is not None:
            rows = self.store.read()["outcomes"]
            self.expect(cancelled <= rows.keys(), "cancelled without an outcome")
            self.reported |= cancelled
            self.expect(not any(map(self.alive.is_sent, cancelled)), "cancelled and on its way")

    @precondition(lambda self: self.engine is not None and self.reported & self.parked.keys())
    @rule(most=st.integers(1, 4))
    def deliver(self, most: int) -> None:
        ids = sorted(self.reported & self.parked.keys())[:most]
        outcomes = self.run(self.alive.outcomes(ids))
        if outcomes is None:
            return
        self.expect(outcomes == {each: self.outcomes[each] for each in ids}, "another outcome was delivered")
        for request_id in ids:
            del self.parked[request_id]
        self.ended.update(ids)
        kept = set(self.alive._state.flights._early)  # until their batch has ended: it is judged by them
        if self.run(self.done(self.alive.forget(ids))):
            self.forgotten.update(set(ids) - kept)

    @precondition(lambda self: self.engine is not None)
    @rule(calls=st.integers(0, 4), moment=st.sampled_from(MOMENTS), name=st.sampled_from(CALLS))
    def let_it_die(self, calls: int, moment: Moment, name: str | None) -> None:
        if calls:
            self.fuse.arm(calls, moment, name)
        else:
            self.bury()

    @precondition(lambda self: self.engine is None)
    @rule(everything=st.sampled_from([True, True, False]), fresh=st.booleans())
    def restart(self, everything: bool, fresh: bool) -> None:
        self.boot(fresh=fresh)
        if everything and self.engine is not None:
            self.collect(list(self.parked))

    @precondition(lambda self: self.engine is None and self.parked)
    @rule(seed=WEATHER)
    def delete_a_thread(self, seed: int) -> None:
        del self.parked[Random(seed).choice([*self.parked])]

    def recover(self) -> None:
        """Total settlement: once nothing fails any more, a few ticks settle all that is parked, and then all is quiet."""
        self.fuse.revive()
        if self.engine is None:
            self.boot()
        # Who has asked this process is told without asking again: a host waits for nothing else.
        self.collect([each for each in self.parked if each not in self.provider.collected])
        # With a clock that jumped, each tick may be one batch's turn: look, withdraw, send, poll, and send the rest.
        for _ in range(10 + 5 * (self.alive.queued + self.alive.batches_in_flight)):
            if self.due is not None:
                self.now = max(self.now, self.due)
            self.do_tick(drain=True)
            self.laws()
            if not self.alive.queued and not self.alive.batches_in_flight:
                break
        self.expect(self.parked.keys() <= self.outcomes.keys(), "a parked request has no outcome")
        self.expect(self.parked.keys() <= self.reported, "a parked request was not reported as settled")
        self.expect(not self.alive.queued and not self.alive.in_flight, "something is still under way")
        self.expect(not self.store.read()["batches"], "a batch is still open")
        calls = self.fuse.calls
        quiet = self.do_tick(drain=True)
        self.expect(quiet == Tick((), None), "a tick with nothing to do did something")
        self.expect(self.fuse.calls == calls, "a tick with nothing to do made calls")

    def teardown(self) -> None:
        if not hasattr(self, "runner"):
            return
        try:
            if not self.broken:
                self.recover()
                self.laws()
        finally:
            self.runner.close()

    # -- laws --------------------------------------------------------------------------------------------------

    @invariant()
    def laws(self) -> None:
        rows = self.store.read()
        self.outcomes_never_change(rows["outcomes"])
        self.nothing_is_paid_twice(rows)
        held = [
            each
            for key, row in rows["batches"].items()
            if row["stage"] != "overdue"  # its requests are answered elsewhere
            for each in rows["members"][key]["ids"]
        ]
        self.expect(len(held) == len(set(held)), "a request is in two batches")
        if self.engine is not None:
            self.one_state_each(rows, set(held))

    def outcomes_never_change(self, rows: dict[str, Any]) -> None:
        for request_id, row in rows.items():
            outcome = _outcome.from_json(json.loads(row["text"]))
            before = self.outcomes.setdefault(request_id, outcome)
            self.expect(before == outcome, f"an outcome has changed: {before} -> {outcome}")
            self.expect(request_id in self.provider.asked, "a stranger's outcome was written")
            bare = outcome if isinstance(outcome, Succeeded) else replace(outcome, attempts=())
            said = bare in [*self.provider.said[request_id], GIVEN_UP] or getattr(outcome, "code", "") in FAILURES
            self.expect(said, f"nobody said {outcome}")
            self.expect(UNAVAILABLE not in getattr(outcome, "message", ""), "an outage was taken for an outcome")
        lost = self.outcomes.keys() - rows.keys() - self.ended
        self.expect(not lost, f"outcomes are lost: {lost}")
        self.expect(not self.forgotten & rows.keys(), "a forgotten outcome has come back")

    def nothing_is_paid_twice(self, rows: dict[str, Any]) -> None:
        self.expect(not self.provider.violations, "; ".join(self.provider.violations))
        paid = defaultdict(int)
        for request_id in self.provider.asked:
            paid[request_id] = len(self.provider.executed_by(request_id, rows))
        self.expect(max(paid.values(), default=0) <= 1, "a request was paid twice")
        self.expect(not self.provider.doubles_left(), "a double of an adopted batch runs on")

    def one_state_each(self, rows: dict[str, Any], held: set[str]) -> None:
        engine = self.alive
        flights = engine._state.flights
        queued, flying = set(engine._state.queue), set(flights._in_flight)
        early = {each for each, flight in flights._early.items() if getattr(flight.batch, "left", "") != "overdue"}
        settled = rows["outcomes"].keys()
        inherited = {each for flight in flights if flight.inherited for each in flight.batch.requests}
        self.expect(not queued & flying, "queued and in flight")
        self.expect(not queued & settled, "queued and settled")
        self.expect(settled & flying <= inherited, "in flight and settled")
        self.expect(flying | early == held, "the engine and the ledger differ on what is in flight")
        self.expect(engine.queued == len(queued), "the queue is counted wrong")
        self.expect(queued <= self.provider.collected, "queued, though no thread of this process waits for it")
        self.expect(queued <= rows["requests"].keys(), "queued and not written down")
        self.expect(queued.isdisjoint(self.ended), "queued, though its thread has ended")
        known = queued | flying | settled | self.ended
        self.expect(self.provider.collected <= known, f"lost: {self.provider.collected - known}")
        self.expect(self.reported <= settled | self.ended, "reported as settled without an outcome")
        attempts = {key: len(row["tries"]) for key, row in rows["tries"].items()}
        self.expect(max(attempts.values(), default=0) <= self.most_tries, "a request was tried too often")
        stages = {key: row["stage"] not in ("begun", "prepared") for key, row in rows["batches"].items()}
        known_stages = {each.batch.key: isinstance(each.batch, SubmittedBatch) for each in flights}
        self.expect(stages == known_stages, "the engine and the ledger differ on the batches")

    # -- the process -------------------------------------------------------------------------------------------

    @property
    def alive(self) -> Engine:
        assert self.engine is not None
        return self.engine

    def boot(self, *, fresh: bool = True) -> None:
        """Start a new process; or open the same engine again, after an error of the store say."""
        self.fuse.revive()
        if fresh:
            ledger = Ledger(self.store, NAME, chunk=2)
            self.last = Engine(
                NAME, self.provider, self.policy, ledger, EngineSettings(poll_interval=INTERVAL, attempts=self.attempts)
            )
        self.engine = self.last
        self.run(self.engine.open(self.now))
        self.due = None

    def bury(self) -> None:
        self.engine = None
        self.provider.collected.clear()
        self.reported.clear()

    def collect(self, ids: Sequence[str]) -> None:
        settled_before = self.reported & set(ids)
        self.provider.collected.update(ids)
        told = self.run(self.alive.collect([self.parked[each] for each in ids], self.now))
        if told is not None:
            self.expect(settled_before <= told, "a settled request was collected again and not returned")
            self.expect(told <= set(ids), "requests were returned that nobody asked for")
            self.reported |= told

    def do_tick(self, *, drain: bool, weather: int = 0) -> Tick | None:
        self.provider.draws = Random(weather) if weather else None
        tick = self.run(self.alive.tick(self.now, drain=drain))
        if tick is not None:
            self.due = tick.wake_at
            written = self.store.read()["outcomes"].keys()
            self.expect(set(tick.settled) <= written, "reported as settled before it was written")
            self.reported |= set(tick.settled)
        return tick

    async def done(self, work: Awaitable[object]) -> bool:
        await work
        return True

    def run(self, work: Any) -> Any:
        """Run the engine until it is done; `None` if the process has died on the way."""
        try:
            return self.runner.run(work)
        except Crash:
            self.bury()
            return None
        except BaseException:
            self.broken = True
            raise

    def expect(self, truth: bool, otherwise: str) -> None:
        if not truth:
            self.broken = True
            raise AssertionError(otherwise)


TestEngine = EngineMachine.TestCase
TestEngine.settings = settings(
    max_examples=sampling.many(500, 50),
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
