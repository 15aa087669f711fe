"""A request of a bridge's queue on a server is read back with the prefix that it waits for."""

from datetime import UTC, datetime, timedelta

import pytest

from batch_bridge._core.models import CachedPrefix
from batch_bridge._core.policy.batching import Waiting
from batch_bridge._server.records import _is_queued, _row, _waiting

AT = datetime(2026, 11, 27, tzinfo=UTC)
PREFIX = CachedPrefix("ab", timedelta(hours=1))


@pytest.mark.parametrize("prefix", [None, PREFIX])
@pytest.mark.parametrize("tenant", ["", "ann"])
@pytest.mark.parametrize("deadline", [None, timedelta(minutes=1)])
def test_a_row_is_read_as_it_was_written(prefix, tenant, deadline):
    waiting = Waiting("1", "m", 4, AT, "key", deadline, tenant, prefix=prefix)
    assert _is_queued(["", *_row(waiting)])
    assert _waiting("1", ["", *_row(waiting)]) == waiting


@pytest.mark.parametrize("prefix", [[7, 60.0], ["ab"], ["ab", "long"]])
def test_a_row_with_another_prefix_is_none_of_ours(prefix):
    assert not _is_queued(["", "m", 4, AT.timestamp(), "key", None, "", *prefix])
