"""A fixture that gives each test a fresh Batch API server.

::

    pytest_plugins = ["batch_bridge.testing.pytest_plugin"]

    @pytest.mark.batch_server(latency=0.2, line_failure=0.1)
    async def test_it(batch_server):
        client = AsyncOpenAI(base_url=batch_server.base_url, api_key="test")
"""

from collections.abc import Iterator

import pytest

from batch_bridge.testing._batch_server import BatchServer


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line(
        "markers",
        "batch_server(**options): how the fixture `batch_server` is started, as in BatchServer(**options)",
    )


@pytest.fixture
def batch_server(request: pytest.FixtureRequest) -> Iterator[BatchServer]:
    """A server of the test's own; the marker `batch_server`, or an indirect parameter, gives it options."""
    marker = request.node.get_closest_marker("batch_server")
    options = getattr(request, "param", marker.kwargs if marker else {})
    with BatchServer(**options) as server:
        yield server
