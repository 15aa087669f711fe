"""A request keeps the line that its bridge's own provider measured, whatever other lanes make of it."""

from datetime import timedelta

from fakes import T0, FakeProvider, FakeStore

from batch_bridge._core.models import LineFrame, Measure, Serialized
from batch_bridge._core.policy.flush_policy import FlushPolicy
from batch_bridge._core.policy.ladder import Rung
from batch_bridge._engine import intake
from batch_bridge._engine.settings import EngineSettings
from batch_bridge._engine.state import State
from batch_bridge._engine.waiting.ladder import Ladder, LadderLane
from batch_bridge._ledger.make import budgeted


def test_lanes_that_are_only_asked_leave_no_line():
    home_line, other_line = LineFrame("home", b"", b"", b""), LineFrame("other", b"", b"", b"")
    home = FakeProvider(measure=lambda _: Measure("m", 1, home_line))
    other = FakeProvider(measure=lambda _: Measure("m", 1, other_line))
    lanes = (
        LadderLane(Rung("batch", 0.5, timedelta(hours=24)), is_pooled=True),
        LadderLane(Rung("realtime", 1.0, timedelta(minutes=1)), other),
    )
    settings = EngineSettings(ladder=Ladder(lanes, chooses=True))
    state = State("bridge", home, FlushPolicy(), budgeted(FakeStore(), "bridge"), settings)
    request = Serialized("a" * 32, "", b"[]")
    (judged,) = intake.judge_all(state, [request], T0)
    assert judged.group == "m"
    assert request.line is home_line
