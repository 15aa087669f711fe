"""Clocks and pauses that are not what they should be."""

from datetime import UTC, datetime, timedelta

import pytest

from batch_bridge._core.models import SubmittedBatch
from batch_bridge._engine.flights.flight import LONGEST_PAUSE, Flight

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("wished", "granted"),
    [(None, 1), (0.0, 1), (-5.0, 1), (float("nan"), 1), (60.0, 60), (float("inf"), LONGEST_PAUSE.total_seconds())],
)
def test_a_wish_to_be_left_alone_is_granted_within_reason(wished, granted):
    flight = Flight(SubmittedBatch("key", (), "", NOW, None), NOW, timedelta(seconds=1))
    flight.wait(NOW, timedelta(seconds=30), wished)
    assert flight.due == NOW + timedelta(seconds=granted)
