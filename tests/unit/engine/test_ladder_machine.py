"""The engine's machine once more, with lanes: whatever fails or dies, each request is answered once in one of them."""

import json
from datetime import timedelta

import sampling
import test_deadline_machine as late
from hypothesis import HealthCheck, settings
from hypothesis.stateful import invariant

from batch_bridge._core import outcomes as _outcome
from batch_bridge._core.models import Cancelled
from batch_bridge._core.policy.ladder import Rung
from batch_bridge._engine.waiting.ladder import Ladder, LadderLane

SECOND = timedelta(seconds=1)


class LadderMachine(late.DeadlineMachine):
    """All lanes are one provider, which makes what was paid twice in two of them easy to see."""

    def ladder(self):
        home = LadderLane(Rung("batch", 0.5, 2 * SECOND, SECOND, SECOND), is_pooled=True)
        middle = LadderLane(Rung("flex", 0.5, SECOND, SECOND / 2), self.provider, is_single=True)
        last = LadderLane(Rung("realtime", 1.0, SECOND / 2), self.provider)
        return Ladder((home, middle, last), late.AFTER * 2, self.on_deadline, is_strict=True, chooses=True)

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
