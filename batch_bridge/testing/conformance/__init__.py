"""One kit for all providers: what the engine relies on, as a table of behaviours. A provider of your own fits in.

::

    import pytest
    from batch_bridge.testing import BatchServer
    from batch_bridge.testing.conformance import BEHAVIOURS, Subject

    @pytest.fixture
    def subject():
        with BatchServer() as server:
            yield Subject(
                open=lambda account: MyBatch(base_url=server.base_url, api_key=account),
                item=lambda n: [{"role": "user", "content": f"question {n}."}],
                answers=lambda n, answer: f"question {n}." in answer["content"][0]["text"],
                server=server,
            )

    @pytest.mark.parametrize("behaviour", BEHAVIOURS, ids=str)
    async def test_conformance(behaviour, subject):
        if reason := behaviour.excuse(subject):
            pytest.skip(reason)
        await behaviour.check(subject)

Each behaviour runs the provider under the real engine, whose clock moves as fast as its batches end, over a ledger
in memory. Unlike the Batch API server beside it, the kit knows the library: importing it imports the engine.
"""

from batch_bridge.testing.conformance._behaviour import Behaviour, Nonconforming
from batch_bridge.testing.conformance._drive import Drive, ask, requests
from batch_bridge.testing.conformance._subject import FaultServer, Subject
from batch_bridge.testing.conformance._table import BEHAVIOURS

__all__ = ["BEHAVIOURS", "Behaviour", "Drive", "FaultServer", "Nonconforming", "Subject", "ask", "requests"]
