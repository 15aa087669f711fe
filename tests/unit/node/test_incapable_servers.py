"""A server that lacks what a bridge needs is told at the first wait."""

import pytest
from hosted import Server

from batch_bridge._node.platform.capabilities import check_search
from batch_bridge.errors import BridgeUnreachableError


class Careless(Server):
    """Ignores the ids that it is asked for."""

    async def _search(self, **_):
        return list(self.rows.values())


async def test_a_search_that_ignores_ids_is_an_error():
    server = Careless()
    server.put("another")
    with pytest.raises(BridgeUnreachableError, match="ignores `ids`"):
        await check_search(server, "bridge")
    good = Server()
    good.put("another")
    await check_search(good, "bridge")
