"""The response cache: what is kept, for how long and for whom; and that it never stands in anybody's way."""

import asyncio
import logging
import os
import pickle
import sqlite3
import subprocess
import threading
from datetime import timedelta

import pytest
import warm
from fakes import at
from langgraph.store.memory import InMemoryStore
from langgraph.store.sqlite.aio import AsyncSqliteStore

from batch_bridge import BatchBridgeError, CacheStats, ResponseCache
from batch_bridge._cache.sqlite import SQLiteBackend
from batch_bridge.errors import CacheError

DAY = 86_400
KEYS = [f"{i:040x}" for i in range(2000)]


@pytest.fixture(params=["file", "memory", "sqlite"])
async def place(request, tmp_path):
    if request.param == "file":
        yield tmp_path / "cache.db"
    elif request.param == "memory":
        yield InMemoryStore()
    else:
        async with AsyncSqliteStore.from_conn_string(os.fspath(tmp_path / "store.db")) as store:
            await store.setup()
            yield store


async def test_an_answer_is_given_back_as_it_was(place):
    answers = {
        KEYS[1]: {"b": [1, 2.5, None, True, "ünï\u0000"], "a": {}},
        KEYS[2]: None,
        KEYS[3]: "text",
        KEYS[4]: [],
        KEYS[5]: 0,
    }
    with ResponseCache(place) as cache:
        await cache.remember(answers, at(0))
        found = await cache.recall([*answers, KEYS[6]], at(DAY * 10_000))
        assert found == answers
        assert list(found[KEYS[1]]) == ["b", "a"]
        assert cache.stats == CacheStats(hits=5, misses=1, stored=5)


async def test_a_second_answer_takes_the_place_of_the_first(place):
    with ResponseCache(place) as cache:
        await cache.remember({KEYS[0]: 1}, at(0))
        await cache.remember({KEYS[0]: 2}, at(1))
        assert await cache.recall([KEYS[0]], at(2)) == {KEYS[0]: 2}


async def test_many_at_once(place):
    with ResponseCache(place) as cache:
        await cache.remember({key: i for i, key in enumerate(KEYS)}, at(0))
        assert await cache.recall(KEYS, at(0)) == {key: i for i, key in enumerate(KEYS)}


async def test_each_request_is_counted_though_its_key_comes_twice(place):
    with ResponseCache(place, ttl=60) as cache:
        await cache.remember({KEYS[0]: 1}, at(0))
        await cache.recall([KEYS[0], KEYS[0], KEYS[1], KEYS[1], KEYS[1]], at(0))
        assert cache.stats == CacheStats(hits=2, misses=3, stored=1)
        await cache.recall([KEYS[0], KEYS[0]], at(60))
        assert cache.stats == CacheStats(hits=2, misses=5, stored=1, expired=2)


async def test_what_is_asked_again_is_counted_once(place):
    with ResponseCache(place) as cache:
        await cache.recall(KEYS[:3], at(0))
        await cache.remember({KEYS[0]: 1}, at(0))
        await cache.recall(KEYS[:3], at(10), again=True)
        assert cache.stats == CacheStats(hits=1, misses=2, stored=1)


async def test_an_answer_is_used_until_its_time_is_over(place):
    with ResponseCache(place, ttl=timedelta(days=1)) as cache:
        await cache.remember({KEYS[0]: 1}, at(0))
        assert await cache.recall([KEYS[0]], at(DAY - 1)) == {KEYS[0]: 1}
        assert await cache.recall([KEYS[0]], at(DAY)) == {}
        assert await cache.recall([KEYS[0]], at(0)) == {}, "it was released"


async def test_the_shorter_time_counts(place):
    long, short, ever = (ResponseCache(place, ttl=ttl) for ttl in (100, 10, None))
    await long.remember({KEYS[0]: 1}, at(0))
    await short.remember({KEYS[1]: 1}, at(0))
    await ever.remember({KEYS[2]: 1}, at(0))
    assert await short.recall([KEYS[0], KEYS[2]], at(9)) == {KEYS[0]: 1, KEYS[2]: 1}
    assert await short.recall([KEYS[2]], at(10)) == {}
    assert await long.recall([KEYS[1]], at(10)) == {}, "it was stored with a time to live"
    assert await ever.recall([KEYS[0]], at(99)) == {KEYS[0]: 1}
    assert await ever.recall([KEYS[0]], at(100)) == {}
    for each in (long, short, ever):
        each.close()


async def test_tenants_see_nothing_of_each_other(place):
    caches = [ResponseCache(place, tenant=each) for each in ("", "a", "b", "a.b/\udcff", "x" * 1000)]
    for number, cache in enumerate(caches):
        assert await cache.recall(KEYS[:1], at(0)) == {}
        await cache.remember({KEYS[0]: number}, at(0))
    assert [(await cache.recall(KEYS[:1], at(0)))[KEYS[0]] for cache in caches] == [0, 1, 2, 3, 4]
    await caches[1].aclear()
    assert [len(await cache.recall(KEYS[:1], at(0))) for cache in caches] == [1, 0, 1, 1, 1]
    for each in caches:
        each.close()


async def test_clear_lets_go_of_all(place):
    with ResponseCache(place) as cache:
        await cache.remember(dict.fromkeys(KEYS, 1), at(0))
        await asyncio.to_thread(cache.clear)
        assert await cache.recall(KEYS, at(0)) == {}
        await cache.remember(dict.fromkeys(KEYS, 1), at(0))
        await cache.aclear()
        assert await cache.recall(KEYS, at(0)) == {}


async def test_answers_whose_time_is_over_are_swept_away_bit_by_bit(place):
    with ResponseCache(place, ttl=60) as cache:
        cache._backend._swept, cache._sweep_every = 200, 10
        await cache.remember(dict.fromkeys(KEYS[:500], 1), at(0))

        async def left():
            return len(await cache._backend.get(cache._tenant, KEYS[:500]))

        seen = []
        for number in range(5):
            await cache.remember(dict.fromkeys(KEYS[1000 + 10 * number : 1010 + 10 * number], 2), at(100))
            seen.append(await left())
        assert seen == [300, 100, 0, 0, 0]
        assert len(await cache.recall(KEYS[1000:1050], at(100))) == 50


async def test_it_survives_its_process(tmp_path):
    with ResponseCache(tmp_path / "cache.db", ttl=60) as cache:
        await cache.remember({KEYS[0]: 1}, at(0))
    with ResponseCache(str(tmp_path / "cache.db"), ttl=60) as cache:
        assert await cache.recall(KEYS[:2], at(59)) == {KEYS[0]: 1}


def test_event_loops_and_threads_share_one(tmp_path):
    cache = ResponseCache(tmp_path / "cache.db")
    wrong = []

    def work(number):
        async def run():
            for step in range(20):
                await cache.remember({KEYS[number * 100 + step]: [number, step]}, at(0))
                found = await cache.recall(KEYS[number * 100 : number * 100 + step + 1], at(0))
                if found != {KEYS[number * 100 + i]: [number, i] for i in range(step + 1)}:
                    wrong.append(found)

        asyncio.run(run())

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert not wrong
    assert cache.stats.stored == 80
    cache.close()


WRITER = """
import asyncio, sys
from datetime import UTC, datetime
from batch_bridge import ResponseCache

path, number, *keys = sys.argv[1:]
now = datetime(2026, 1, 1, tzinfo=UTC)
print("ready", flush=True)
sys.stdin.readline()

async def write(cache):
    for key in keys:
        await cache.remember({key: int(number)}, now)

with ResponseCache(path) as cache:
    asyncio.run(write(cache))
    assert cache.stats.stored == len(keys)
"""


async def test_processes_share_one_file(tmp_path):
    path = tmp_path / "cache.db"
    keys = {number: KEYS[number * 100 :][:20] for number in range(3)}
    writers = [
        warm.start(["-c", WRITER, path, str(number), *some], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for number, some in keys.items()
    ]
    for writer in writers:
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:  # all make the file at the same time
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        await asyncio.to_thread(writer.communicate, timeout=120)
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    with ResponseCache(path) as cache:
        found = await cache.recall(KEYS, at(0))
    assert found == {key: number for number, some in keys.items() for key in some}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_opens_the_file_anew(tmp_path):
    cache = ResponseCache(tmp_path / "cache.db")
    asyncio.run(cache.remember({KEYS[0]: "parent"}, at(0)))
    child = os.fork()
    if child == 0:  # pragma: no cover
        asyncio.run(cache.remember({KEYS[1]: "child"}, at(0)))
        os._exit(0 if cache.stats.stored == 2 else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert asyncio.run(cache.recall(KEYS[:3], at(0))) == {KEYS[0]: "parent", KEYS[1]: "child"}
    cache.close()


# -- what is wrong when it is opened ---------------------------------------------------------------------------------


def _not_a_database(path):
    path.write_bytes(b"no database at all" * 100)


def _another_programs(path):
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE notes (text)")
    connection.close()


def _of_a_newer_version(path):
    ResponseCache(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version=99")
    connection.close()


def _without_its_table(path):
    ResponseCache(path).close()
    connection = sqlite3.connect(path)
    connection.execute("DROP TABLE answers")
    connection.close()


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (_not_a_database, "not an SQLite database"),
        (_another_programs, "another program"),
        (_of_a_newer_version, "version 99"),
        (_without_its_table, "cannot be opened"),
        (lambda path: path.mkdir(), "is a folder"),
    ],
)
def test_a_file_that_is_no_cache_is_said_at_once(tmp_path, spoil, says):
    path = tmp_path / "cache.db"
    spoil(path)
    with pytest.raises(CacheError, match=says) as caught:
        ResponseCache(path)
    assert "cache.db" in str(caught.value)
    assert isinstance(pickle.loads(pickle.dumps(caught.value)), BatchBridgeError)


def test_a_locked_file_is_said_at_once(tmp_path):
    ResponseCache(tmp_path / "cache.db").close()
    other = sqlite3.connect(tmp_path / "cache.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(CacheError, match="has locked it"):
        SQLiteBackend(tmp_path / "cache.db", busy_seconds=0.01)
    other.execute("ROLLBACK")
    other.close()
    ResponseCache(tmp_path / "cache.db").close()


def test_a_folder_that_is_not_there_is_said_at_once(tmp_path):
    with pytest.raises(CacheError, match="there is no folder"):
        ResponseCache(tmp_path / "nowhere" / "cache.db")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"place": 7}, TypeError),
        ({"place": None}, TypeError),
        ({"ttl": "a day"}, TypeError),
        ({"ttl": True}, TypeError),
        ({"ttl": 0}, ValueError),
        ({"ttl": float("nan")}, ValueError),
        ({"ttl": float("inf")}, ValueError),
        ({"ttl": 1e300}, ValueError),
        ({"ttl": timedelta(days=-1)}, ValueError),
        ({"tenant": None}, TypeError),
    ],
)
def test_arguments_of_the_wrong_kind(arguments, error):
    with pytest.raises(error, match="ResponseCache"):
        ResponseCache(**{"place": InMemoryStore(), **arguments})


# -- what goes wrong later -------------------------------------------------------------------------------------------


class FailingStore(InMemoryStore):
    async def abatch(self, ops):
        raise ConnectionError("the store is gone")


async def test_a_store_that_fails_is_an_empty_one_and_says_so_once(caplog):
    cache = ResponseCache(FailingStore())
    with caplog.at_level(logging.WARNING, logger="batch_bridge"):
        for _ in range(3):
            await cache.remember({KEYS[0]: 1}, at(0))
            assert await cache.recall(KEYS[:2], at(0)) == {}
    assert cache.stats == CacheStats(misses=6)
    assert [record.message.count("ConnectionError") for record in caplog.records] == [1, 1]  # reading, and writing


async def test_a_file_that_is_closed_or_locked_knows_nothing(tmp_path, caplog):
    cache = ResponseCache(tmp_path / "cache.db")
    cache._backend._connection.execute("PRAGMA busy_timeout = 10")
    await cache.remember({KEYS[0]: 1}, at(0))
    other = sqlite3.connect(tmp_path / "cache.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    await cache.remember({KEYS[1]: 1}, at(0))
    assert await cache.recall(KEYS[:2], at(0)) == {KEYS[0]: 1}, "who reads does not wait for who writes"
    other.execute("ROLLBACK")
    other.close()
    await cache.remember({KEYS[1]: 1}, at(0))
    cache.close()
    cache.close()
    assert await cache.recall(KEYS[:2], at(0)) == {}
    assert cache.stats == CacheStats(hits=1, misses=3, stored=2)
    assert len(caplog.records) == 2


async def test_an_answer_that_cannot_be_read_is_a_miss(tmp_path, caplog):
    cache = ResponseCache(tmp_path / "cache.db")
    await cache.remember({KEYS[0]: {"text": "x" * 50}, KEYS[1]: 2}, at(0))
    spoil = sqlite3.connect(tmp_path / "cache.db")
    spoil.execute("UPDATE answers SET answer = substr(answer, 1, 20) WHERE length(answer) > 20")
    spoil.commit()
    spoil.close()
    assert await cache.recall(KEYS[:2], at(0)) == {KEYS[1]: 2}
    await cache.remember({KEYS[0]: 3}, at(0))
    assert await cache.recall(KEYS[:2], at(0)) == {KEYS[0]: 3, KEYS[1]: 2}
    cache.close()


def test_its_file_is_closed_with_it(tmp_path):
    cache = ResponseCache(tmp_path / "cache.db")
    backend = cache._backend
    del cache
    assert backend._connection is None
