"""The Batch API server that answers the batched models of these tests, one for each file."""

import pytest

from batch_bridge.testing import BatchServer


@pytest.fixture(scope="module")
def shared():
    with BatchServer(latency=0, answerer="langchain_answers:answer") as running:
        yield running


@pytest.fixture
def server(shared):
    shared.reset_stats()
    return shared
