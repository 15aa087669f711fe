"""The queue as a server writes it down: a row for each request that waits."""

from datetime import timedelta

import pytest
from fakes import at, named

from batch_bridge._core.policy.batching import Waiting
from batch_bridge._server.records import _is_queued, _row, _waiting


@pytest.mark.parametrize("own", [None, timedelta(seconds=7)])
@pytest.mark.parametrize("whose", ["", "alice"])
def test_a_row_keeps_whose_it_is(own, whose):
    waiting = Waiting("1", "g", 5, at(3), "k", own, whose)
    row = _row(waiting)
    assert _is_queued([named("thread"), *row])
    assert _waiting("1", ["", *row]) == waiting


@pytest.mark.parametrize("rest", [[None, ""], [None, 7], ["x", "alice"], [None, "a\0"], [None, None], [1, "a", 2]])
def test_a_row_that_was_damaged_is_told(rest):
    assert not _is_queued([named("thread"), "g", 5, 3.0, "k", *rest])
