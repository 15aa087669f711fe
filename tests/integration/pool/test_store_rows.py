"""A pool's rows in Postgres: the same as LangGraph's store would read and write."""

import asyncio
import json
import random
from uuid import uuid4

import psycopg
import pytest
from langgraph.store.base import GetOp, PutOp, SearchOp
from langgraph.store.memory import InMemoryStore
from langgraph.store.postgres.aio import AsyncPostgresStore
from postgres import cluster

from batch_bridge._server.port.postgres import connections
from batch_bridge.pool._store_rows import StoreRows

VALUES = (
    {},
    {"text": "a line\nand \\ a 'quote' \"of\" {braces}, NULL"},
    {"text": "ünï✓😀", "number": 2**70, "small": -(2**63), "float": 1.5, "none": None, "yes": True},
    {"entries": [["a", ["b", 1, 1700000000.0]], ["c", []]]},
    {"text": "%s %b %(name)s $1"},
)
KEYS = ("a", "b", "", "a,b", 'q"u\\o', "NULL", "{x}", "ü")
NAMESPACES = (("batch_bridge", "b", "requests"), ("batch_bridge", "b", "requests", "more"), ("batch_bridge", "c_%"))


@pytest.fixture(scope="module")
def postgres():
    with cluster() as made:
        yield made


@pytest.fixture
async def pool(postgres):
    async with connections(postgres.create(uuid4().hex), 4) as opened:
        await AsyncPostgresStore(opened).setup()
        yield opened


def draw(draws):
    namespace, key = draws.choice(NAMESPACES), draws.choice(KEYS)
    kind = draws.randrange(6)
    if kind == 0:
        return SearchOp(namespace, limit=100)
    if kind < 3:
        return GetOp(namespace, key)
    return PutOp(namespace, key, None if kind == 3 else draws.choice(VALUES), index=False)


def plain(result):
    if isinstance(result, list):
        return sorted((each.namespace, each.key, json.dumps(each.value, sort_keys=True)) for each in result)
    return None if result is None else (result.namespace, result.key, result.value)


@pytest.mark.parametrize("seed", range(6))
async def test_what_it_reads_and_writes_is_what_any_store_reads_and_writes(pool, seed):
    draws, rows, model = random.Random(seed), StoreRows(pool), InMemoryStore()
    for _ in range(25):
        ops = [draw(draws) for _ in range(draws.randrange(1, 12))]
        addresses = [(each.namespace, each.key) for each in ops if isinstance(each, PutOp)]
        if len(set(addresses)) < len(addresses):
            continue  # a store in memory does them in turn
        got, right = await rows.abatch(ops), await model.abatch(ops)
        assert list(map(plain, got)) == list(map(plain, right))
    theirs = await AsyncPostgresStore(pool).abatch([SearchOp(each, limit=100) for each in NAMESPACES])
    ours = await model.abatch([SearchOp(each, limit=100) for each in NAMESPACES])
    assert list(map(plain, theirs)) == list(map(plain, ours))


async def test_of_several_operations_on_one_row_the_last_counts(pool):
    rows, namespace = StoreRows(pool), NAMESPACES[0]
    await rows.abatch([PutOp(namespace, "k", {"v": 1}), PutOp(namespace, "k", None), PutOp(namespace, "k", {"v": 2})])
    await rows.abatch([PutOp(namespace, "gone", {"v": 1}), PutOp(namespace, "gone", None)])
    found = await rows.abatch([GetOp(namespace, "k"), GetOp(namespace, "gone"), GetOp(namespace, "k")])
    assert [each and each.value for each in found] == [{"v": 2}, None, {"v": 2}]


async def test_rows_that_cannot_be_written_take_none_of_their_call(pool):
    rows, namespace = StoreRows(pool), NAMESPACES[0]
    await rows.abatch([PutOp(namespace, "there", {"v": 1})])
    with pytest.raises(psycopg.DataError):
        await rows.abatch([PutOp(namespace, "there", None), PutOp(namespace, "new", {"text": "a\0b"})])
    found = await rows.abatch([GetOp(namespace, "there"), GetOp(namespace, "new")])
    assert [each is None for each in found] == [False, True]


async def test_a_row_is_written_without_the_end_that_another_has_given_it(pool):
    rows, namespace = StoreRows(pool), NAMESPACES[0]
    await AsyncPostgresStore(pool).abatch([PutOp(namespace, "k", {"v": 1}, ttl=5)])
    await rows.abatch([PutOp(namespace, "k", {"v": 2})])
    async with pool.connection() as connection:
        cursor = await connection.execute("SELECT expires_at, ttl_minutes FROM store")
        assert await cursor.fetchone() == {"expires_at": None, "ttl_minutes": None}


async def test_calls_that_write_the_same_rows_at_once_do_not_wait_for_each_other_in_a_circle(pool):
    rows, namespace = StoreRows(pool), NAMESPACES[0]
    draws = random.Random(3)

    async def write(number):
        ops = [PutOp(namespace, f"{each}", {"v": number}) for each in range(300)]
        for _ in range(5):
            draws.shuffle(ops)
            await rows.abatch(ops)

    await asyncio.gather(*map(write, range(4)))
    (found,) = await rows.abatch([SearchOp(namespace, limit=1000)])
    assert len(found) == 300


def nested(levels):
    value = {"end": 1}
    for _ in range(levels):
        value = {"in": value}
    return value


async def test_a_value_that_its_reader_could_not_read_is_refused(pool):
    rows, namespace = StoreRows(pool), NAMESPACES[0]
    await rows.abatch([PutOp(namespace, "deep", nested(250))])
    for value in (nested(5000), {"at": object()}):
        with pytest.raises((RecursionError, TypeError)):
            await rows.abatch([PutOp(namespace, "worse", value)])
    found = await rows.abatch([GetOp(namespace, "deep"), GetOp(namespace, "worse")])
    assert [each and each.value for each in found] == [nested(250), None]


async def test_rows_are_found_by_the_index_also_by_statements_that_were_prepared_when_there_were_none(postgres):
    namespace = NAMESPACES[0]
    async with connections(postgres.create(uuid4().hex), 1) as alone:  # whose statements are those that are looked at
        await AsyncPostgresStore(alone).setup()
        async with alone.connection() as connection:
            await connection.execute("ALTER TABLE store SET (autovacuum_enabled = off)")
        rows = StoreRows(alone)
        for _ in range(12):
            await rows.abatch([GetOp(namespace, "none")])
            await rows.abatch([PutOp(namespace, "a", {}), PutOp(namespace, "b", None)])
        async with alone.connection() as connection:
            await connection.execute(
                "INSERT INTO store (prefix, key, value) SELECT 'batch_bridge.b.requests', 'n' || i, '{}' "
                "FROM generate_series(1, 20000) i"
            )
            before = await scans(connection)
        for each in range(8):
            await rows.abatch([GetOp(namespace, f"n{each}")])
            await rows.abatch([PutOp(namespace, f"m{each}", {}), PutOp(namespace, f"n{each}", None)])
        async with alone.connection() as connection:
            assert await scans(connection) == before


async def scans(connection):
    """How often the table was read whole, as far as this session has done it."""
    await connection.execute("SELECT pg_stat_force_next_flush()")
    cursor = await connection.execute("SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'store'")
    return (await cursor.fetchone())["seq_scan"]
