"""The engine's machine once more, with deadlines: batches are late, are stopped, and the fallback answers the rest.

What a batch has answered by the time it is stopped is paid. So nothing may be paid twice where the bridge waits for the
cancellation; where it pays again, what was paid before is on record.
"""

import json
from datetime import timedelta

import sampling
import test_engine_machine as plain
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant

from batch_bridge._core import outcomes as _outcome
from batch_bridge._core.models import Cancelled, Limits, Succeeded
from batch_bridge._core.policy.resubmission import DEADLINE
from batch_bridge._engine import Engine, EngineSettings
from batch_bridge._engine.waiting.ladder import Ladder
from batch_bridge._ledger.ledger import Ledger

AFTER = timedelta(seconds=2)
SLOW = 0.7
"""The share of polls that find a batch still running."""
STOPPED = Cancelled("stopped by who sent it")


class LateProvider(plain.WildProvider):
    """A provider whose batches have answered some requests by the time they are stopped. It is its own fallback."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.done = {}

    def _cancel(self, handle):
        batch = self._known(handle)
        if batch.state == "live":
            ids = [each.id for each in batch.requests]
            self.done[handle] = set(self._pick([[], ids[:1], ids[1:], ids]))
        super()._cancel(handle)

    def _poll(self, handle, requests):
        before = self._known(handle).results
        reply = super()._poll(handle, requests)
        batch = self._known(handle)
        if batch.state == "cancelled" and batch.results is not before:
            batch.results = {
                each.id: Succeeded({"for": each.id}) if each.id in self.done[handle] else STOPPED
                for each in batch.requests
            }
            reply = self._report(batch)
        return reply

    def _mood(self, verb):
        if verb == "poll" and self.draws is not None and self.draws.random() < SLOW:
            return "progress"
        return super()._mood(verb)

    def _executes(self, batch, request_id):
        if batch.state == "cancelled":
            return request_id in self.done[batch.handle]
        return super()._executes(batch, request_id)


class DeadlineMachine(plain.EngineMachine):
    @initialize(
        policy=st.sampled_from(plain.POLICIES),
        limits=st.sampled_from(plain.LIMITS),
        searchable=st.sampled_from([True, True, False]),
        attempts=st.sampled_from([1, 3]),
        on_deadline=st.sampled_from(["wait_for_cancel", "pay_again"]),
    )
    def begin(self, policy, limits, searchable, attempts, on_deadline) -> None:
        self.on_deadline = on_deadline
        super().begin(policy, limits, searchable, attempts)
        self.most_tries = attempts

    def boot(self, *, fresh: bool = True) -> None:
        if not isinstance(self.provider, LateProvider):  # the first time
            most = Limits(requests=self.provider._most.requests, bytes=self.provider.limits.bytes)
            self.provider = LateProvider(self.provider.limits, most, self.store, searchable=self.provider._searchable)
        self.fuse.revive()
        if fresh:
            self.last = Engine(
                plain.NAME,
                self.provider,
                self.policy,
                Ledger(self.store, plain.NAME, chunk=2),
                EngineSettings(poll_interval=plain.INTERVAL, attempts=self.attempts, ladder=self.ladder()),
            )
        self.engine = self.last
        self.run(self.engine.open(self.now))
        self.due = None

    def ladder(self):
        """Return the lanes of the bridge."""
        return Ladder.of_fallback(AFTER, self.on_deadline, self.provider)

    @invariant()
    def who_is_late_is_answered_as_the_policy_says(self) -> None:
        rows = self.store.read()
        ends = [_outcome.from_json(json.loads(row["text"])) for row in rows["outcomes"].values()]
        kept = [each for each in ends if isinstance(each, Cancelled) and each.message == STOPPED.message]
        self.expect(not kept, "a request of a batch that was stopped for its deadline was left without an answer")
        if self.on_deadline == "wait_for_cancel":
            tried = [kind for row in rows["tries"].values() for _, kind, *_ in row["tries"]]
            left = [row["stage"] for row in rows["batches"].values()]
            self.expect("overdue" not in [*tried, *left], "the cancellation was not waited for")


plain.FAILURES.add(DEADLINE)
TestDeadlines = DeadlineMachine.TestCase
TestDeadlines.settings = settings(
    max_examples=sampling.many(200, 20),
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
