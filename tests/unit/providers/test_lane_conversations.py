"""A lane that measures by its batch twin's function is measured as the twin is."""

import pytest

from batch_bridge._core.provider import conversations_of
from batch_bridge.providers.openai import OpenAIBatch


@pytest.mark.parametrize("lane", ["realtime", "window:2h", "flex"])
def test_a_lane_is_asked_for_its_conversations_as_its_measure_is(lane):
    provider = OpenAIBatch(model="gpt-5-mini")
    opened = provider.lane(lane)
    known = conversations_of(opened)
    assert known == (conversations_of(provider) if lane == "realtime" else None)
