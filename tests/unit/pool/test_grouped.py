"""Calls that are done together: each caller has its own result, or its own error."""

import asyncio
import pickle

import psycopg
import pytest
from langgraph.store.base import GetOp, PutOp
from langgraph.store.memory import InMemoryStore
from procrastinate.exceptions import ConnectorException

from batch_bridge.pool._grouped import Grouped, GroupedRows


class Work:
    """Doubles numbers; groups that hold one of `bad` fail."""

    def __init__(self, bad=(), error=ValueError, cause=None):
        self.groups, self.bad, self.error, self.cause = [], bad, error, cause
        self.grouped = Grouped(self.run)

    async def run(self, asked):
        self.groups.append(asked)
        await asyncio.sleep(0)
        if set(asked) & set(self.bad):
            raise self.error(f"{asked} cannot be done") from self.cause
        return [each * 2 for each in asked]


async def test_what_is_asked_while_a_group_is_done_is_the_next_group():
    work = Work()
    assert await asyncio.gather(*map(work.grouped.do, range(100))) == [each * 2 for each in range(100)]
    assert list(map(len, work.groups)) == [64, 36]
    assert await work.grouped.do(7) == 14
    assert work.groups[-1] == [7]


class OfTheUser(Exception):
    """What a serializer of the user raises."""


@pytest.mark.parametrize(
    "error",
    [
        ValueError,
        OfTheUser,
        pickle.PicklingError,
        MemoryError,
        psycopg.errors.QueryCanceled,
        psycopg.errors.DeadlockDetected,
        psycopg.InternalError,
        psycopg.DataError,
    ],
)
async def test_what_cannot_be_done_is_an_error_of_its_own_caller(error):
    work = Work(bad=[1], error=error)
    results = await asyncio.gather(*map(work.grouped.do, range(3)), return_exceptions=True)
    assert (results[0], results[2]) == (0, 4)
    assert isinstance(results[1], error)
    assert work.groups == [[0, 1, 2], [0], [1, 2], [1], [2]]


async def test_one_bad_call_of_many_is_found_by_halves():
    work = Work(bad=[41])
    results = await asyncio.gather(*map(work.grouped.do, range(64)), return_exceptions=True)
    assert [at for at, each in enumerate(results) if isinstance(each, ValueError)] == [41]
    assert len(work.groups) == 13


@pytest.mark.parametrize(
    "error",
    [
        ConnectionError,
        TimeoutError,
        psycopg.OperationalError,
        psycopg.errors.ConnectionFailure,
        psycopg.errors.AdminShutdown,
        psycopg.errors.TooManyConnections,
    ],
)
async def test_a_database_out_of_reach_is_an_error_of_all_callers_who_try_again_themselves(error):
    work = Work(bad=[1], error=error)
    results = await asyncio.gather(*map(work.grouped.do, range(3)), return_exceptions=True)
    assert [type(each) for each in results] == [error] * 3
    assert work.groups == [[0, 1, 2]]


@pytest.mark.parametrize(
    ("cause", "groups"), [(psycopg.OperationalError("gone"), 1), (psycopg.errors.QueryCanceled("too long"), 5)]
)
async def test_an_error_that_procrastinate_wraps_counts_as_what_it_wraps(cause, groups):
    work = Work(bad=[1], error=ConnectorException, cause=cause)
    await asyncio.gather(*map(work.grouped.do, range(3)), return_exceptions=True)
    assert len(work.groups) == groups


async def test_a_caller_that_is_cancelled_stands_in_nobodys_way():
    work = Work()
    calls = [asyncio.create_task(work.grouped.do(each)) for each in range(3)]
    await asyncio.sleep(0)
    calls[1].cancel()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(results[1], asyncio.CancelledError)
    assert (results[0], results[2]) == (0, 4)
    await work.grouped.settle()
    assert await work.grouped.do(5) == 10


async def test_rows_of_many_callers_are_read_in_one_call():
    calls, store = [], InMemoryStore()

    class Counted:
        async def abatch(self, ops):
            calls.append(list(ops))
            return await store.abatch(calls[-1])

    rows = GroupedRows(Counted())
    await asyncio.gather(*(rows.abatch([PutOp(("a",), str(each), {"n": each})]) for each in range(5)))
    found = await asyncio.gather(*(rows.abatch([GetOp(("a",), str(each)), GetOp(("a",), "none")]) for each in range(5)))
    assert [(mine.value["n"], none) for mine, none in found] == [(each, None) for each in range(5)]
    assert len(calls) == 2
