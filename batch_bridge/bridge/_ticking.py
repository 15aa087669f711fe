"""A bridge that is ticked for outside of runs, beside Aegra: in each of its processes, or in processes of its own."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

import httpx
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient

from batch_bridge._core.wording import log_text as _logged
from batch_bridge._core.wording.log import about, logger_of
from batch_bridge._node.platform.client import Access
from batch_bridge._node.platform.keys import KeyRing
from batch_bridge._node.platform.tickers import SAID_EVERY, say_ticks
from batch_bridge.errors import MissingPackageError, UsageError

if TYPE_CHECKING:
    from batch_bridge._ledger.rows import Rows
    from batch_bridge.bridge._bridge import Bridge

logger = logger_of(__name__)

_MOST: Final = 24
"""Connections: sixteen threads are resumed side by side, and each holds one."""
_PAUSE: Final = 1.0
_URL: Final = "http://127.0.0.1:{}"
_PORT: Final = "2026"
"""Aegra's default. Source: `aegra_api/settings.py`."""


@contextlib.asynccontextmanager
async def ticking(
    bridge: "Bridge", *, dsn: str | None = None, url: str | None = None, app: Any = None
) -> AsyncIterator[None]:
    """Tick for a bridge beside Aegra whenever it is this process's turn, while the context is open.

    Args:
        bridge: Sends what the threads wait for.
        dsn: Aegra's database; that of its settings, or `DATABASE_URL`, where it is left out.
        url: Aegra's HTTP API. Used where the bridge has no client of its own.
        app: Aegra itself, where this is one of its processes: called without a network.

    Raises:
        MissingPackageError: Postgres's packages are not installed.
        UsageError: It is not known where the database is.
    """
    _check_packages()
    from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver  # noqa: PLC0415  # an extra brings them
    from langgraph.store.postgres.aio import AsyncPostgresStore  # noqa: PLC0415

    from batch_bridge._server.port.aegra import AegraServer  # noqa: PLC0415
    from batch_bridge._server.port.postgres import connections  # noqa: PLC0415
    from batch_bridge._server.ticker import Ticker  # noqa: PLC0415

    found = _database(dsn)
    async with connections(found, _MOST) as pool, contextlib.AsyncExitStack() as stack:
        acts = bridge.access.service is not None
        access = bridge.access if acts else await _plain(stack, url, app)
        ring, store = KeyRing(), AsyncPostgresStore(pool)
        server = AegraServer(bridge.name, access, pool, AsyncPostgresSaver(pool).serde, ring)
        host = bridge.host_in(bridge.name, server, key_ring=ring, notifies=True)
        policy = bridge.flush

        async def is_idle(_: str) -> bool:
            return policy.when_idle is True and await server.is_idle()

        ticker = Ticker(found, bridge.name, {bridge.name: host}, store, is_idle)
        await _until_there(pool, bridge.name)
        await say_ticks(store, bridge.name, acts=acts)
        tasks = [
            asyncio.create_task(_go_on(ticker.run, bridge.name), name="batch_bridge ticker"),
            asyncio.create_task(_go_on(lambda: _say(store, bridge.name, acts=acts), bridge.name)),
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def _check_packages() -> None:
    for module in ("psycopg_pool", "langgraph.checkpoint.postgres"):
        try:
            is_here = find_spec(module) is not None
        except ImportError:
            is_here = False
        if not is_here:
            raise MissingPackageError(
                f"a bridge beside Aegra needs the package {module!r}, which is not installed; "
                "run: pip install 'langgraph-batch-bridge[pool]'",
                name=module,
            )


def _database(given: str | None) -> str:
    if given:
        return given
    if "aegra_api" in sys.modules:  # this is one of its processes
        found: str = import_module("aegra_api.settings").settings.db.database_url_sync
        return found
    if not (url := os.environ.get("DATABASE_URL")):
        raise UsageError(
            "it is not known where Aegra's database is; set DATABASE_URL as for Aegra, or give dsn='postgresql://…' "
            "(on the command line: --dsn)"
        )
    return "postgresql://" + url.partition("://")[2]  # it may name SQLAlchemy's driver


async def _plain(stack: contextlib.AsyncExitStack, url: str | None, app: Any) -> Access:
    """Return how Aegra is reached by a bridge without an identity."""
    if app is not None:
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        http = httpx.AsyncClient(transport=transport, base_url="http://aegra", timeout=60)
        return Access(LangGraphClient(await stack.enter_async_context(http)))
    place = url or os.environ.get("SERVER_URL") or _URL.format(os.environ.get("PORT", _PORT))
    return Access(await stack.enter_async_context(get_client(url=place, api_key=None)))


async def _until_there(pool: Any, bridge: str) -> None:
    """Wait for Aegra to have made its tables."""
    said = False
    while True:
        async with pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT to_regclass('thread') IS NOT NULL AND to_regclass('runs') IS NOT NULL "
                "AND to_regclass('store') IS NOT NULL AND to_regclass('checkpoint_writes') IS NOT NULL AS there"
            )
            row = await cursor.fetchone()
        if row["there"]:
            return
        if not said:
            logger.warning("%s: Aegra has not made its tables in this database; start it", bridge)
            said = True
        await asyncio.sleep(_PAUSE)


async def _say(store: "Rows", bridge: str, *, acts: bool) -> None:
    while True:
        await asyncio.sleep(SAID_EVERY)
        await say_ticks(store, bridge, acts=acts)


async def _go_on(work: Any, bridge: str) -> None:
    """Repeat a step forever, whatever fails in it."""
    while True:
        try:
            await work()
        except Exception as error:  # noqa: BLE001  # no graph runs here
            _tell(bridge, error)
        await asyncio.sleep(_PAUSE)


def _tell(bridge: str, error: Exception) -> None:
    logger.error(
        "%s: its ticker has failed, and begins again", bridge, exc_info=_logged.trace(error), extra=about(bridge=bridge)
    )
