r"""The threads of a pool: one row each, in a table of ours beside LangGraph's checkpoints and procrastinate's jobs.

::

    ready    a job of it waits or runs      begun, or answered: the row and the job are written in one transaction
    parked   it waits for a bridge          the row and the note for the bridge are written in one transaction
    asks     it waits for a person
    done     it has ended
    failed   it has failed; it is begun again by who names it again. Its error stays until it has ended well

A thread that is `ready` has one job, and no other state has any. So nothing is announced twice or not at all, whenever
a process dies. A job that is taken for dead may still run: each leg takes a token, and one whose token is another's by
the end changes nothing. A job that is gone all the same, by another's hand, is made again.
"""

import uuid
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import update_wrapper
from typing import Any, Concatenate, Final, NamedTuple, ParamSpec, TypeVar

from langgraph.store.base import PutOp
from procrastinate import App
from procrastinate.jobs import Job
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from batch_bridge._ledger.patience import Patience
from batch_bridge.errors import RunMismatchError, RunnerStateError
from batch_bridge.pool._grouped import Grouped
from batch_bridge.pool._names import queue_of
from batch_bridge.pool._store_rows import put
from batch_bridge.runner._threads.recovery import mismatch

P = ParamSpec("P")
T = TypeVar("T")

TASK: Final = "batch_bridge.thread"
_HANDLES: Final = uuid.UUID("0c5c1c2e-3f0f-5a52-8a51-6d1f4b1f9a2e")
_CHUNK: Final = 5_000
_ENDED: Final = ("done", "failed", "asks")

TABLE: Final = """
CREATE TABLE IF NOT EXISTS batch_bridge_threads (
    thread text PRIMARY KEY,
    handle text NOT NULL UNIQUE,
    pool text NOT NULL,
    run text NOT NULL,
    place bigint NOT NULL,
    digest text NOT NULL,
    state text NOT NULL,
    token text NOT NULL DEFAULT '',
    kind text NOT NULL,
    given bytea NOT NULL,
    result_kind text,
    result bytea,
    error text,
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX IF NOT EXISTS batch_bridge_threads_run ON batch_bridge_threads (run, place);
CREATE INDEX IF NOT EXISTS batch_bridge_threads_ready ON batch_bridge_threads (pool) WHERE state = 'ready';
CREATE INDEX IF NOT EXISTS batch_bridge_threads_parked ON batch_bridge_threads (pool, changed_at)
    WHERE state = 'parked';
"""

_JOBLESS: Final = """
SELECT t.thread FROM batch_bridge_threads t WHERE t.pool = %s AND t.state = 'ready' AND t.thread NOT IN (
    SELECT j.lock FROM procrastinate_jobs j
    WHERE j.queue_name = %s AND j.lock IS NOT NULL AND j.status IN ('todo', 'doing')
)"""
"""By the jobs that there are, read once: one look for each thread takes seconds where thousands are ready."""


class Given(NamedTuple):
    """A thread that is to be begun, or to continue with something new."""

    thread: str
    run: str
    place: int
    digest: str
    kind: str
    data: bytes


class ThreadRow(NamedTuple):
    """A thread's row. `has_failed`: since it began, and it has not ended well since then."""

    thread: str
    run: str
    place: int
    digest: str
    state: str
    kind: str
    given: bytes
    has_failed: bool


class ThreadResult(NamedTuple):
    """What became of a thread."""

    thread: str
    place: int
    state: str
    kind: str | None
    data: bytes | None
    error: str | None


class _Leave(NamedTuple):
    token: str
    ended: ThreadResult
    notes: Sequence[PutOp]


def handle_of(thread: str) -> str:
    """Return what a thread is called where threads are UUIDs."""
    return str(uuid.uuid5(_HANDLES, thread))


def _patient(
    method: "Callable[Concatenate[ThreadTable, P], Coroutine[Any, Any, T]]",
) -> "Callable[Concatenate[ThreadTable, P], Coroutine[Any, Any, T]]":
    """Try a method again while the database cannot be reached. To do it twice is to do it once."""

    async def call(self: "ThreadTable", /, *given: P.args, **named: P.kwargs) -> T:
        return await self.patience.call(lambda: method(self, *given, **named))

    return update_wrapper(call, method)


class ThreadTable:
    """The rows of one pool.

    Args:
        connections: Where they are.
        app: The app whose jobs the threads are.
        pool: The pool's name.
        patience: With the database.
    """

    def __init__(self, connections: "AsyncConnectionPool[Any]", app: App, pool: str, patience: Patience) -> None:
        self.patience = patience
        self._connections = connections
        self._app = app
        self._pool = pool
        self._takes = Grouped(self._take)
        self._leaves = Grouped(self._leave)
        self._resumes = Grouped(self._resume)

    async def settle(self) -> None:
        """Wait until nothing of what was asked together with others is under way."""
        for each in (self._takes, self._leaves, self._resumes):
            await each.settle()

    @_patient
    async def begin(self, given: Sequence[Given]) -> None:
        """Begin threads that are not there, and those that have failed; all of them, or none.

        Raises:
            RunMismatchError: One was begun with another input, or by another run. Nothing was begun.
            RunnerStateError: One belongs to another pool. Nothing was begun.
        """
        async with self._connections.connection() as connection, connection.transaction():
            for start in range(0, len(given), _CHUNK):
                page = given[start : start + _CHUNK]
                cursor = await connection.execute(
                    "INSERT INTO batch_bridge_threads (thread, handle, pool, run, place, digest, state, kind, given) "
                    "SELECT thread, handle, %s, run, place, digest, 'ready', kind, given FROM unnest("
                    "%s::text[], %s::text[], %s::text[], %s::bigint[], %s::text[], %s::text[], %s::bytea[]) "
                    "AS t(thread, handle, run, place, digest, kind, given) ON CONFLICT (thread) DO NOTHING "
                    "RETURNING thread",
                    (
                        self._pool,
                        [each.thread for each in page],
                        [handle_of(each.thread) for each in page],
                        [each.run for each in page],
                        [each.place for each in page],
                        [each.digest for each in page],
                        [each.kind for each in page],
                        [each.data for each in page],
                    ),
                )
                new = {row["thread"] for row in await cursor.fetchall()}
                old = [each.thread for each in page if each.thread not in new]
                if old:
                    cursor = await connection.execute(
                        "SELECT thread, pool, run, digest FROM batch_bridge_threads WHERE thread = ANY(%s)", (old,)
                    )
                    known = {row["thread"]: row for row in await cursor.fetchall()}
                    for each in page:
                        self._compare(each, known.get(each.thread))
                    cursor = await connection.execute(
                        "UPDATE batch_bridge_threads SET state = 'ready', changed_at = clock_timestamp() "
                        "WHERE thread = ANY(%s) AND pool = %s AND state = 'failed' RETURNING thread",
                        (old, self._pool),
                    )
                    new |= {row["thread"] for row in await cursor.fetchall()}
                    cursor = await connection.execute(
                        f"{_JOBLESS} AND t.thread = ANY(%s)".encode(), (self._pool, queue_of(self._pool), old)
                    )
                    new |= {row["thread"] for row in await cursor.fetchall()}
                await self._defer(connection, [(each.thread, self._pool) for each in page if each.thread in new])

    def _compare(self, given: Given, row: Mapping[str, Any] | None) -> None:
        """Raise if another thread with this id exists already."""
        if row is None:
            return
        self._refuse_others(given.thread, row["pool"])
        if given.run and row["run"] != given.run:
            raise RunMismatchError(
                f"thread {given.thread!r} of input {given.place} belongs to run {row['run']!r}, and not to "
                f"{given.run!r}; give it a thread_id of its own, or use the run_id that it was begun with",
                index=given.place,
            )
        if row["digest"] != given.digest:
            raise mismatch(given.place, given.thread)

    def _refuse_others(self, thread: str, pool: str) -> None:
        if pool != self._pool:
            raise RunnerStateError(
                f"thread {thread!r} belongs to the pool {pool!r} of this database, and this is the pool "
                f"{self._pool!r}; give the thread, or its run, another name"
            )

    async def go_on(self, given: Given) -> bool:
        """Continue a thread that waits for a person, or has ended, with something; return whether that is possible.

        Raises:
            RunnerStateError: It belongs to another pool.
        """
        async with self._connections.connection() as connection, connection.transaction():
            cursor = await connection.execute(
                "UPDATE batch_bridge_threads SET state = 'ready', kind = %s, given = %s, result = NULL, "
                "result_kind = NULL, changed_at = clock_timestamp() "
                "WHERE thread = %s AND pool = %s AND state IN ('asks', 'done', 'failed') RETURNING thread",
                (given.kind, given.data, given.thread, self._pool),
            )
            if await cursor.fetchone() is None:
                cursor = await connection.execute(
                    "SELECT pool FROM batch_bridge_threads WHERE thread = %s", (given.thread,)
                )
                if (row := await cursor.fetchone()) is not None:
                    self._refuse_others(given.thread, row["pool"])
                return False
            await self._defer(connection, [(given.thread, self._pool)])
        return True

    @_patient
    async def resume(self, handle: str) -> bool:
        """Resume a parked thread: its answers are there. Return whether it was parked."""
        return await self._resumes.do(handle)

    async def _resume(self, handles: list[str]) -> list[bool]:
        async with self._connections.connection() as connection, connection.transaction():
            cursor = await connection.execute(
                "UPDATE batch_bridge_threads SET state = 'ready', changed_at = clock_timestamp() "
                "WHERE handle = ANY(%s) AND state = 'parked' RETURNING handle, thread, pool",
                (handles,),
            )
            rows = await cursor.fetchall()
            await self._defer(connection, [(row["thread"], row["pool"]) for row in rows])
        parked = {row["handle"] for row in rows}
        return [handle in parked for handle in handles]

    async def give_jobs(self) -> int:
        """Make a job of each thread that is ready and has none; return of how many.

        Two processes may do so at once: a thread with two jobs runs one of them at a time, and the second finds nothing
        to do.
        """
        async with self._connections.connection() as connection, connection.transaction():
            cursor = await connection.execute(
                f"{_JOBLESS} LIMIT {_CHUNK} FOR UPDATE OF t SKIP LOCKED".encode(), (self._pool, queue_of(self._pool))
            )
            threads = [row["thread"] for row in await cursor.fetchall()]
            await self._defer(connection, [(thread, self._pool) for thread in threads])
        return len(threads)

    @_patient
    async def take(self, thread: str) -> tuple[ThreadRow, str] | None:
        """Take a thread that is ready, for a leg; return its row and the leg's token. `None`: it is not ready."""
        token = uuid.uuid4().hex
        row = await self._takes.do((thread, token))
        return None if row is None else (row, token)

    async def _take(self, legs: list[tuple[str, str]]) -> list[ThreadRow | None]:
        async with self._connections.connection() as connection:
            cursor = await connection.execute(
                "UPDATE batch_bridge_threads t SET token = leg.token FROM unnest(%s::text[], %s::text[]) "
                "AS leg(thread, token) WHERE t.thread = leg.thread AND t.pool = %s AND t.state = 'ready' "
                "RETURNING t.token, t.thread, t.run, t.place, t.digest, t.state, t.kind, t.given, "
                "t.error IS NOT NULL AS has_failed",
                ([thread for thread, _ in legs], [token for _, token in legs], self._pool),
            )
            taken = {row.pop("token"): ThreadRow(**row) for row in await cursor.fetchall()}
        return [taken.get(token) for _, token in legs]

    @_patient
    async def leave(self, token: str, ended: ThreadResult, notes: Sequence[PutOp]) -> bool:
        """Write how a leg has left its thread, and notes for bridges; return whether the leg is the thread's last one.

        If not, nothing is written.

        Args:
            token: The leg's.
            ended: The thread's new state, and its result.
            notes: Rows of the store.
        """
        return await self._leaves.do(_Leave(token, ended, notes))

    async def _leave(self, legs: list[_Leave]) -> list[bool]:
        async with self._connections.connection() as connection, connection.transaction():
            ended = [each.ended for each in legs]
            cursor = await connection.execute(
                "UPDATE batch_bridge_threads t SET state = leg.state, result_kind = leg.kind, result = leg.data, "
                "error = CASE WHEN leg.state != 'done' THEN coalesce(leg.error, t.error) END, token = '', "
                "changed_at = clock_timestamp() "
                "FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::bytea[], %s::text[]) "
                "AS leg(thread, token, state, kind, data, error) "
                "WHERE t.thread = leg.thread AND t.token = leg.token AND t.state = 'ready' RETURNING leg.token",
                (
                    [each.thread for each in ended],
                    [each.token for each in legs],
                    [each.state for each in ended],
                    [each.kind for each in ended],
                    [each.data for each in ended],
                    [each.error for each in ended],
                ),
            )
            left = {row["token"] for row in await cursor.fetchall()}
            notes = [note for each in legs if each.token in left for note in each.notes]
            if notes:
                await put(connection, notes)
        return [each.token in left for each in legs]

    @_patient
    async def ended(self, run: str, beyond: int = -1) -> list[ThreadResult]:
        """Return the threads of a run that have ended, by their places."""
        return await self._ended("run = %s AND place > %s", (run, beyond))

    @_patient
    async def ended_of(self, threads: Sequence[str]) -> dict[str, ThreadResult]:
        """Return what became of those of some threads that have ended."""
        return {each.thread: each for each in await self._ended("thread = ANY(%s)", (list(threads),))}

    @_patient
    async def are_under_way(self, threads: Sequence[str]) -> bool:
        """Return whether one of some threads has not ended yet."""
        async with self._connections.connection() as connection:
            cursor = await connection.execute(
                "SELECT 1 FROM batch_bridge_threads WHERE thread = ANY(%s) AND state != ALL(%s) LIMIT 1",
                (list(threads), list(_ENDED)),
            )
            return await cursor.fetchone() is not None

    @_patient
    async def counts(self, run: str | None = None) -> dict[str, int]:
        """Count the threads of the pool, or of one run, by state."""
        async with self._connections.connection() as connection:
            cursor = await connection.execute(
                "SELECT state, count(*) AS count FROM batch_bridge_threads "
                "WHERE pool = %s AND (%s::text IS NULL OR run = %s) GROUP BY state",
                (self._pool, run, run),
            )
            return {row["state"]: row["count"] for row in await cursor.fetchall()}

    @_patient
    async def is_idle(self) -> bool:
        """Return whether no thread of the pool is ready."""
        async with self._connections.connection() as connection:
            cursor = await connection.execute(
                "SELECT 1 FROM batch_bridge_threads WHERE pool = %s AND state = 'ready' LIMIT 1", (self._pool,)
            )
            return await cursor.fetchone() is None

    @_patient
    async def states(self, handles: Sequence[str]) -> dict[str, tuple[str, str]]:
        """Return threads and their states, by handle."""
        async with self._connections.connection() as connection:
            cursor = await connection.execute(
                "SELECT handle, thread, state FROM batch_bridge_threads WHERE handle = ANY(%s)", (list(handles),)
            )
            return {row["handle"]: (row["thread"], row["state"]) for row in await cursor.fetchall()}

    async def parked(self, offset: int, limit: int) -> list[str]:
        """Return the handles of threads that are parked, newest first."""
        async with self._connections.connection() as connection:
            cursor = await connection.execute(
                "SELECT handle FROM batch_bridge_threads WHERE pool = %s AND state = 'parked' "
                "ORDER BY changed_at DESC, thread LIMIT %s OFFSET %s",
                (self._pool, limit, offset),
            )
            return [row["handle"] for row in await cursor.fetchall()]

    async def _ended(self, where: str, given: tuple[Any, ...]) -> list[ThreadResult]:
        async with self._connections.connection() as connection:
            cursor = await connection.execute(
                "SELECT thread, place, state, result_kind, result, error FROM batch_bridge_threads "  # noqa: S608
                f"WHERE {where} AND pool = %s AND state = ANY(%s) ORDER BY place",
                (*given, self._pool, list(_ENDED)),
            )
            return [
                ThreadResult(row["thread"], row["place"], row["state"], row["result_kind"], row["result"], row["error"])
                for row in await cursor.fetchall()
            ]

    async def _defer(self, connection: AsyncConnection[Any], threads: Sequence[tuple[str, str]]) -> None:
        """Make jobs of threads, in the caller's transaction. One job of a thread runs at a time, whatever comes.

        Args:
            connection: Of the transaction.
            threads: Each with its pool.
        """
        if threads:
            jobs = [
                Job(
                    queue=queue_of(pool),
                    lock=thread,
                    queueing_lock=None,
                    task_name=TASK,
                    task_kwargs={"thread": thread},
                )
                for thread, pool in threads
            ]
            await self._app.job_manager.batch_defer_jobs_async(jobs=jobs, connection=connection)
