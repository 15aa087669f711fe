"""How many statements a ledger costs on PostgreSQL: none of its batches names more than one namespace of a kind."""

import hashlib

import psycopg
import pytest
from langgraph.store.postgres.aio import AsyncPostgresStore
from postgres import cluster

from batch_bridge import Request
from batch_bridge._core.models import Succeeded
from batch_bridge._server.records import ServerRecords

COUNT = 2_000


def _id(number):
    return hashlib.blake2b(str(number).encode(), digest_size=16).hexdigest()


@pytest.fixture(scope="module")
def dsn():
    with cluster() as made:
        yield made.create("statements")


@pytest.fixture
def statements(monkeypatch):
    """The statements that were run since it was cleared."""
    run, execute = [], psycopg.AsyncCursor.execute

    async def counted(self, query, *given, **options):
        run.append(str(query))
        return await execute(self, query, *given, **options)

    monkeypatch.setattr(psycopg.AsyncCursor, "execute", counted)
    return run


async def test_a_request_costs_a_small_part_of_a_statement_over_its_life(dsn, statements):
    requests = [Request(_id(each), f"00000000-0000-4000-8000-{each:012d}", {"q": each}) for each in range(COUNT)]
    ids = [each.id for each in requests]
    async with AsyncPostgresStore.from_conn_string(dsn) as store:
        await store.setup()
        records = ServerRecords(store, "bridge")
        await records.load()
        ledger = records.ledger
        await ledger.read_attempts()
        statements.clear()
        await ledger.enqueue(requests)
        assert len(await ledger.requests(ids)) == COUNT
        assert not await ledger.settled(ids)
        await ledger.settle({each: Succeeded("x") for each in ids})
        assert len(await ledger.outcomes(ids)) == COUNT
        await ledger.forget(ids)
    with psycopg.connect(dsn) as connection:
        ((left,),) = connection.execute("SELECT count(*) FROM store WHERE prefix LIKE 'batch_bridge.bridge.outcomes%'")
    assert left == 0
    assert len(statements) / COUNT < 0.2
