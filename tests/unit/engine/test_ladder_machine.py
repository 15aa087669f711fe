"""The engine's machine once more, with lanes: whatever fails or dies, each request is answered once in one of them."""

import json
from datetime import timedelta

import sampling
import test_deadline_machine as late
import test_engine_machine as plain
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant

from batch_bridge._core import outcomes as _outcome
from batch_bridge._core.models import Cancelled
from batch_bridge._core.policy.ladder import Rung
from batch_bridge._core.policy.resubmission import DEADLINE
from batch_bridge._engine.waiting.ladder import Ladder, LadderLane

SECOND = timedelta(seconds=1)
LANES = ("batch", "flex", "realtime")


class LadderMachine(late.DeadlineMachine):
    """All lanes are one provider, which makes what was paid twice in two of them easy to see."""

    @initialize(
        policy=st.sampled_from(plain.POLICIES),
        limits=st.sampled_from(plain.LIMITS),
        searchable=st.sampled_from([True, True, False]),
        attempts=st.sampled_from([1, 3]),
        on_deadline=st.sampled_from(["wait_for_cancel", "pay_again"]),
    )
    def begin(self, policy, limits, searchable, attempts, on_deadline) -> None:
        super().begin(policy, limits, searchable, attempts, on_deadline)
        self.most_tries = attempts - 1 + len(LANES) - 1  # each lane but the last can be left, once

    def ladder(self):
        home = LadderLane(Rung("batch", 0.5, 2 * SECOND, SECOND, SECOND), is_pooled=True)
        middle = LadderLane(Rung("flex", 0.5, SECOND, SECOND / 2), self.provider, is_single=True)
        last = LadderLane(Rung("realtime", 1.0, SECOND / 2), self.provider)
        return Ladder((home, middle, last), late.AFTER * 2, self.on_deadline, is_strict=True, chooses=True)

    @invariant()
    def no_lane_is_left_twice_and_no_try_is_one_too_many(self) -> None:
        for row in self.store.read()["tries"].values():
            left = [lane for _, _, code, _, lane, *_ in ([*each, ""] for each in row["tries"]) if code == DEADLINE]
            self.expect(len(left) == len(set(left)), f"a lane was left twice: {left}")
            self.expect(set(left) <= set(LANES[:-1]), f"the last lane was left: {left}")
            self.expect(len(row["tries"]) - len(left) < max(self.attempts, 1), "sent too often in its lanes")

    @invariant()
    def who_is_late_is_answered_as_the_policy_says(self) -> None:
        ends = [_outcome.from_json(json.loads(row["text"])) for row in self.store.read()["outcomes"].values()]
        kept = [each for each in ends if isinstance(each, Cancelled) and each.message == late.STOPPED.message]
        self.expect(not kept, "a request of a batch that was stopped for its deadline was left without an answer")


TestLadder = LadderMachine.TestCase
TestLadder.settings = settings(
    max_examples=sampling.many(200, 30),
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
