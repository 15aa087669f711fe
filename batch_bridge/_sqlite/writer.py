"""The one thread that writes.

::

    callers ──▶ queue ──▶ take all that is queued ──▶ BEGIN ── write ── COMMIT ──▶ wake the callers
                  ▲                                                                     │
                  └──────────────── meanwhile the next group queues up ◀────────────────┘

A commit costs a disk flush, whether it holds one write or a thousand. So a group is whatever has queued up
while the last one was being committed, and no write waits for a timer. What is written in one turn of an event loop
is queued together, at the end of the turn, or before a write that blocks: to wake the writer costs as much as a small
write. A caller is woken after
its group is on disk, never before.
"""

import asyncio
import os
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, TypeVar, cast

from batch_bridge._sqlite.insertion import Insert, Row
from batch_bridge._sqlite.write_job import Call, PendingWrite, WriteJob, settle
from batch_bridge.errors import RunFileError, RunnerStateError

T = TypeVar("T")

QUEUE_LIMIT = 4096
GROUP_LIMIT = 1024


class Writer:
    """One thread, one connection, and one transaction for all writes that have queued up.

    Writes of one caller that awaits each before the next happen in that order. Writes that are queued side by
    side happen in the order in which they were queued, except that inserts of different kinds may overtake
    each other (never an insert a call, or a call an insert): give `insert` only kinds that never touch the
    same row.

    A caller that is cancelled while it waits does not know whether its write happened.

    Args:
        connection: The writer's own from now on; it must have been opened with `check_same_thread=False` and
            `isolation_level=None`. Closed by `close`.
        path: How errors name the file.
        queue_limit: How many writes may wait before callers have to wait for a place in the queue.
        group_limit: How many writes go into one transaction at most.
        before_commit: Called in the writer thread when a group has been written and is not yet committed.
            What it raises fails the group. For tests that cut the power there.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        *,
        path: str,
        queue_limit: int = QUEUE_LIMIT,
        group_limit: int = GROUP_LIMIT,
        before_commit: Callable[[], None] | None = None,
    ) -> None:
        self._connection = connection
        self._path = path
        self._queue_limit = queue_limit
        self._group_limit = group_limit
        self._before_commit = before_commit
        self._queue: SimpleQueue[list[WriteJob] | None] = SimpleQueue()
        self._lock = threading.Lock()  # guards what follows, and the queue's tail
        self._queued = 0
        self._turns: dict[asyncio.AbstractEventLoop, list[WriteJob]] = {}
        self._closed = False
        self._waiting: list[PendingWrite] = []
        self._over: list[WriteJob] = []  # what a group had no room for; the writer thread's own
        self._pid = os.getpid()
        self.groups = 0
        """How many transactions were committed."""
        self.writes = 0
        """How many writes those transactions held."""
        self._thread = threading.Thread(target=self._run, name="batch-bridge-writer", daemon=True)
        self._thread.start()

    async def insert(self, insert: Insert, rows: Sequence[Row]) -> None:
        """Insert rows, all or none; return when they are on disk.

        Raises:
            sqlite3.Error: The rows cannot be stored. Other writes are not affected.
            RunFileError: The group could not be committed; nothing of it was stored.
            RunnerStateError: The file is closed, or this is a forked process.
        """
        job = WriteJob(insert, rows, asyncio.get_running_loop())
        while (place := self._offer(job)) is not None:
            await cast("asyncio.Future[None]", place)
        await cast("asyncio.Future[None]", job.future)

    async def call(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Run a function of the connection in the group's transaction; return when its effects are on disk.

        The function runs in the writer thread, perhaps more than once: whatever an earlier run did has then
        been rolled back. It neither begins nor ends transactions.

        Raises:
            Exception: What the function raised; its effects are rolled back. Otherwise as `insert`.
        """
        job = WriteJob(function, (), asyncio.get_running_loop())
        while (place := self._offer(job)) is not None:
            await cast("asyncio.Future[None]", place)
        return await cast("asyncio.Future[T]", job.future)

    def insert_blocking(self, insert: Insert, rows: Sequence[Row]) -> None:
        """As `insert`, and block the calling thread meanwhile, which may be that of an event loop."""
        self._block(WriteJob(insert, rows, None))

    def call_blocking(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """As `call`, and block the calling thread meanwhile, which may be that of an event loop."""
        return cast(T, self._block(WriteJob(function, (), None)))

    def close(self) -> None:
        """Write what is queued, then end the thread and close the connection. Closing twice does nothing."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._end_turns()
                self._queue.put(None)
        self._thread.join()

    def _block(self, job: WriteJob) -> Any:
        while (place := self._offer(job)) is not None:
            cast("Future[None]", place).result()
        return cast("Future[Any]", job.future).result()

    def _offer(self, job: WriteJob) -> "asyncio.Future[None] | Future[None] | None":
        """Queue the job, or return a future of the time to try again."""
        if os.getpid() != self._pid:
            raise RunnerStateError(
                f"{self._path} was opened before this process was forked, and its writer thread "
                "stayed behind. Open the file in the process that uses it."
            )
        with self._lock:
            if self._closed:
                raise RunnerStateError(f"{self._path} is closed. Keep the file open while graphs run on it.")
            if job.loop is None or self._queued >= self._queue_limit:
                self._end_turns()  # a blocked loop ends no turn, and the writer makes no room before it has them
            if self._queued >= self._queue_limit:
                place = PendingWrite(job.loop)
                self._waiting.append(place)
                return place.future
            if job.loop is None:
                self._queue.put([job])
            elif (turn := self._turns.get(job.loop)) is not None:
                turn.append(job)
            else:
                job.loop.call_soon(self._end_turn, job.loop)  # first: an entry that nothing ends would hold all later
                self._turns[job.loop] = [job]
            self._queued += 1
            return None

    def _end_turn(self, loop: asyncio.AbstractEventLoop) -> None:
        """Queue what was written in a turn of an event loop."""
        with self._lock:
            jobs = self._turns.pop(loop, None)
            if jobs is not None:
                self._queue.put(jobs)

    def _end_turns(self) -> None:
        """Queue what was written in the turns that have not ended; the lock is held."""
        for jobs in self._turns.values():
            self._queue.put(jobs)
        self._turns.clear()

    def _run(self) -> None:
        try:
            while jobs := self._take():
                self._write(jobs)
                settle(jobs)
                del jobs  # a group may be megabytes, and the next may be long in coming
        finally:
            self._end()

    def _take(self) -> list[WriteJob]:
        """Wait for a write and take all that are queued; an empty list is the end."""
        jobs, self._over = self._over, []
        while not jobs or (len(jobs) < self._group_limit and not self._queue.empty()):
            queued = self._queue.get()
            if queued is None:
                if jobs:
                    self._queue.put(None)  # the end comes after this group
                break
            jobs += queued
        self._over = jobs[self._group_limit :]
        del jobs[self._group_limit :]
        with self._lock:
            self._queued -= len(jobs)
        if self._waiting:
            self._make_room()
        return jobs

    def _make_room(self) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, []
        settle(waiting)

    def _write(self, jobs: list[WriteJob]) -> None:
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            if not _write_together(connection, jobs):
                self._roll_back()
                connection.execute("BEGIN IMMEDIATE")
                _write_apart(connection, jobs)
            if self._before_commit is not None:
                self._before_commit()
            connection.execute("COMMIT")
        except BaseException as error:  # noqa: BLE001 the callers get it
            with suppress(sqlite3.Error):
                self._roll_back()
            self._fail(jobs, error)
        else:
            self.groups += 1
            self.writes += len(jobs)

    def _roll_back(self) -> None:
        if self._connection.in_transaction:  # SQLite may have given the transaction up by itself
            self._connection.execute("ROLLBACK")

    def _fail(self, jobs: list[WriteJob], cause: BaseException) -> None:
        for job in jobs:
            job.error = RunFileError(
                f"{self._path}: a group of {len(jobs)} writes could not be committed, and counts as not "
                f"stored: {cause}. See that the disk has room and that no other program locks the file, "
                "then run again."
            )
            job.error.__cause__ = cause

    def _end(self) -> None:
        with self._lock:
            self._closed = True
            left, self._waiting = [*self._over, *self._waiting], []
            for jobs in self._turns.values():
                left += jobs
            self._turns.clear()
        with suppress(Empty):
            while True:
                left += self._queue.get_nowait() or ()
        for pending in left:
            pending.error = RunnerStateError(f"{self._path} was closed; this write was not stored.")
        settle(left)
        self._connection.close()


def _write_together(connection: sqlite3.Connection, jobs: list[WriteJob]) -> bool:
    """Write all jobs, inserts of one kind in one statement; return whether all succeeded."""
    inserts: dict[Insert, list[Row]] = {}
    try:
        for job in jobs:
            if isinstance(job.work, Insert):
                inserts.setdefault(job.work, []).extend(job.rows)
            else:
                _flush(connection, inserts)
                job.value = job.work(connection)
        _flush(connection, inserts)
    except Exception:  # noqa: BLE001 writing them one by one finds the faulty job
        return False
    return True


def _flush(connection: sqlite3.Connection, inserts: dict[Insert, list[Row]]) -> None:
    for insert, rows in inserts.items():
        insert.run(connection, rows)
    inserts.clear()


def _write_apart(connection: sqlite3.Connection, jobs: list[WriteJob]) -> None:
    """Write each job inside a savepoint of its own, so that a failing one takes only itself back.

    Raises:
        sqlite3.Error: SQLite gave the whole transaction up, as on a full disk.
    """
    for job in jobs:
        connection.execute("SAVEPOINT job")
        try:
            job.value = _do(connection, job.work, job.rows)
        except Exception as error:
            if not connection.in_transaction:
                raise
            connection.execute("ROLLBACK TO job")
            job.error = error
        connection.execute("RELEASE job")


def _do(connection: sqlite3.Connection, work: Insert | Call, rows: Sequence[Row]) -> Any:
    if isinstance(work, Insert):
        return work.run(connection, rows)
    return work(connection)
