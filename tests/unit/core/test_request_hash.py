"""Requests that are equal have one hash, whatever their items are."""

import orjson
import pytest

from batch_bridge._core.models import Request, Serialized


@pytest.mark.parametrize("item", ["text", 3, None, [1, {"a": [2]}], {"messages": []}])
def test_equal_requests_have_one_hash(item):
    plain, kept = Request("a" * 32, "thread", item), Serialized("a" * 32, "thread", orjson.dumps(item))
    assert plain == kept
    assert hash(plain) == hash(kept)
    assert len({plain, kept}) == 1
