"""Jobs that need no waiting process: submit today, collect tomorrow, from any process that has the file."""

import asyncio
import hashlib
import os
import uuid
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

from filelock import Timeout

from batch_bridge._core import clock as _clock
from batch_bridge._core.closing import Closing
from batch_bridge._core.durations import Duration, Within, required
from batch_bridge._core.provider import Provider
from batch_bridge._engine import first_pause
from batch_bridge._engine.waiting.quota import QuotaController
from batch_bridge._host.notify import Board, Notify, notifier
from batch_bridge._host.report import Report
from batch_bridge._ledger.make import durable
from batch_bridge._ledger.patience import Patience, PatientRows
from batch_bridge._node.given_items import check_handle
from batch_bridge._node.running_loop import is_on_loop
from batch_bridge._sqlite.file import open_file
from batch_bridge._sqlite.private_files import UnsafeFileError, lock_file
from batch_bridge.bridge import Bridge
from batch_bridge.errors import RunFileError, RunnerStateError
from batch_bridge.jobs._job_items import encoded, named
from batch_bridge.jobs._one_job_provider import apart
from batch_bridge.jobs._session import JobsSession
from batch_bridge.jobs._status import BatchStatus, JobResult, JobStatus

__all__ = ["BatchStatus", "JobResult", "JobStatus", "Jobs"]

T = TypeVar("T")

_LOOK_AGAIN: Final = 0.02
"""Seconds between two attempts to lock the file."""


class Jobs:
    """Manages jobs in a file. Each job has a handle: a string that the caller keeps.

    ::

        jobs = Jobs("jobs.db", OpenAIBatch(model="gpt-4o-mini"))
        handle = jobs.submit(items)

        jobs = Jobs("jobs.db", OpenAIBatch(model="gpt-4o-mini"))     # tomorrow, in another process
        if jobs.status(handle).ended:
            for result in jobs.results(handle):
                print(result.answer if result.ok else result.error)

    Nothing runs between two calls. Each call opens the file, does what is due for all its jobs (sends what could not be
    sent before, looks up interrupted submissions, polls, settles), and closes it. A process may die in any
    call: nothing is lost, nothing is paid twice. Several processes may use one file; they take turns.

    Args:
        path: The SQLite file, made if it is not there; on a local disk.
        provider: Who answers; or a `Bridge`, for its provider, limits, cache and poll interval. What it was when a job
            was submitted it must be when the job is looked at.
        name: Part of every stored key; jobs are found again under the name that they were submitted under.
        poll_interval: The longest pause between two looks of `join` (a duration). A `Bridge` has its
            own.
        patience: How long a call waits for its turn at the file (a duration).
        notify: A URL of apprise, or several, to which a notice goes once a call has found that a job has ended; or that
            of the `Bridge`. It needs the extra `notify`.

    Raises:
        TypeError: `provider` is not a provider.
        ValueError: The bridge's mode is not `"batch"`, it has a deadline, or another argument is invalid.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        provider: Provider | Bridge,
        *,
        name: str = "default",
        poll_interval: Duration = 30,
        patience: Duration = 60,
        notify: Notify | None = None,
    ) -> None:
        if not isinstance(provider, Bridge):
            provider = Bridge(provider, name="jobs", mode="batch", poll_interval=poll_interval)
        if provider.mode != "batch" or provider.ladder is not None:
            raise ValueError(
                f"Jobs got {provider!r}, but jobs support batches only; give it a bridge of "
                'mode="batch", or a provider without a bridge'
            )
        if provider.deadline is not None:
            raise ValueError(
                f"Jobs got {provider!r}, which has a deadline, but nothing runs between two calls to enforce it; "
                "pass a bridge without deadline=, or a provider"
            )
        if not isinstance(name, str) or not name or "." in name:
            raise ValueError(f"Jobs(name={name!r}): a name must be a non-empty string without dots")
        if os.fspath(path) == ":memory:":
            raise ValueError('Jobs(":memory:") would lose every job immediately; name a file')
        self._path = Path(path)
        self._bridge = provider
        self._notifiers = [each for each in (notifier(notify, "Jobs"), provider.notifier) if each is not None]
        self._name = f"jobs/{name}"
        self._quota_controller: QuotaController | None = None
        self._patience = required(patience, "Jobs(patience={given})").total_seconds()

    def __repr__(self) -> str:
        return f"Jobs({str(self._path)!r}, {self._bridge!r})"

    # -- asking ----------------------------------------------------------------------------------------------

    async def asubmit(self, items: Iterable[Any] | Mapping[str, Any], *, key: str | None = None) -> str:
        """Record a job, send it, and return its handle.

        When this returns, the job is in the file. It is sent now, or by the next call of any method if the
        provider is unavailable. It is split into as many batches as the provider's limits require.

        Args:
            items: Items that the provider accepts: JSON values, or LangChain messages. From a mapping, each result
                has its item's key as its `name`; from a list, the item's `custom_id` if it is a dict with one.
            key: Names the job, so that it is submitted only once: the same key and items return the same handle and
                send nothing. Without it each call is another job.

        Raises:
            RunMismatchError: The key was used with other items, or with another model, endpoint or parameters.
            TypeError: `items` is not a list of items: a string, a single item's dict, a coroutine.
            ValueError: Two items have the same `custom_id`.
            JSONError: An item contains something that is not valid JSON.
            RunFileError: The file is damaged, or was in use for longer than `patience`.
        """
        requests = await asyncio.to_thread(encoded, named(items))
        handle = f"job_{uuid.uuid4().hex}" if key is None else self._handle(key)
        async with self._session() as session:
            await session.submit(handle, requests, _clock.now(), key=key or "")
            await session.look(_clock.now())
        return handle

    async def astatus(self, handle: str) -> JobStatus:
        """Poll the provider, and return the state of a job.

        Raises:
            TypeError: The handle is not a string.
            UnknownJobError: The file contains no such job.
            BadPollResultError: Your own `poll` returned an invalid result for this job. Its batch stays in flight,
                and once `poll` is fixed the same call collects it.
            RunFileError: As for `asubmit`.
        """
        check_handle(handle, "status()")
        async with self._session() as session:
            await session.job(handle)
            await session.look(_clock.now())
            await session.check(handle)
            return await session.status(handle)

    async def aresults(self, handle: str) -> AsyncIterator[JobResult]:
        """Poll the provider, and yield the results of requests that have ended, in the order of the items.

        Requests that have not ended appear in a later call. Results are kept.

        Raises:
            TypeError, UnknownJobError, BadPollResultError, RunFileError: As for `astatus`.
        """
        check_handle(handle, "results()")
        number = 0
        page: list[JobResult] | None = []
        while page is not None:
            async with self._session() as session:
                if not number:
                    await session.job(handle)
                    await session.look(_clock.now())
                    await session.check(handle)
                page = await session.results(handle, number)
            number += 1
            for result in page or ():
                yield result

    async def acancel(self, handle: str) -> JobStatus:
        """Cancel a job: queued requests are not sent, and its batches are stopped at the provider.

        Requests that completed before the cancellation are kept, and paid for; the rest ends as cancelled. This may
        take the provider minutes: check with `status`. If the provider cannot be reached now, each later
        call of any method repeats the cancellation. A job that has ended does not change.

        Raises:
            TypeError, UnknownJobError, RunFileError: As for `astatus`.
        """
        check_handle(handle, "cancel()")
        async with self._session() as session:
            await session.cancel(handle)
            await session.look(_clock.now())
            return await session.status(handle)

    async def ajoin(self, handle: str, *, timeout: Within = None) -> JobStatus:  # noqa: ASYNC109  # a timeout differs from a failure
        """Wait until a job has ended, looking at growing intervals; the file is free in between.

        Args:
            handle: The job.
            timeout: How long (a duration); `None`: forever.

        Raises:
            TimeoutError: It has not ended yet. It continues; call this again later.
            TypeError, UnknownJobError, BadPollResultError, RunFileError: As for `astatus`.
        """
        check_handle(handle, "join()")
        loop = asyncio.get_running_loop()
        seconds = None if timeout is None else required(timeout, "join(timeout={given})").total_seconds()
        end = None if seconds is None else loop.time() + seconds
        pause = first_pause(self._bridge.poll_interval)
        while not (status := await self.astatus(handle)).ended:
            left = None if end is None else end - loop.time()
            if left is not None and left <= 0:
                raise TimeoutError(f"job {handle} is {status.state} after {seconds:g} seconds; call join() again later")
            await asyncio.sleep(min(pause.total_seconds(), pause.total_seconds() if left is None else left))
            pause = min(pause * 2, self._bridge.poll_interval)
        return status

    async def aforget(self, handle: str) -> None:
        """Delete a job that has ended, with its results. Idempotent.

        Raises:
            TypeError: As for `astatus`.
            UsageError: It has not ended; cancel it first.
            RunFileError: As for `asubmit`.
        """
        check_handle(handle, "forget()")
        async with self._session() as session:
            await session.forget(handle, _clock.now())

    async def ahandles(self) -> list[str]:
        """Return the handles of all jobs, oldest first."""
        async with self._session() as session:
            return await session.handles()

    async def astatuses(self) -> list[JobStatus]:
        """Poll the provider once, and return the state of all jobs, oldest first.

        Raises:
            RunFileError: As for `asubmit`.
        """
        async with self._session() as session:
            await session.look(_clock.now())
            return [await session.status(handle) for handle in await session.handles()]

    async def areport(self) -> Report:
        """Return what was done and what it cost, of all jobs of this file: batches, tokens, money.

        The provider is not asked: batches count once a look has found that they have ended.

        Raises:
            RunFileError: As for `asubmit`.
        """
        async with self._session() as session:
            return await session.report()

    # -- the same, outside an event loop -----------------------------------------------------------------------

    def submit(self, items: Iterable[Any] | Mapping[str, Any], *, key: str | None = None) -> str:
        """Run `asubmit` outside an event loop."""
        return _run("submit", self.asubmit(items, key=key))

    def status(self, handle: str) -> JobStatus:
        """Run `astatus` outside an event loop."""
        return _run("status", self.astatus(handle))

    def results(self, handle: str) -> Iterator[JobResult]:
        """Run `aresults` outside an event loop."""
        _refuse_loop("results")
        results = self.aresults(handle)
        with asyncio.Runner() as runner:
            while (result := runner.run(_next(results))) is not None:
                yield result

    def cancel(self, handle: str) -> JobStatus:
        """Run `acancel` outside an event loop."""
        return _run("cancel", self.acancel(handle))

    def join(self, handle: str, *, timeout: Within = None) -> JobStatus:
        """Do what `ajoin` does, outside an event loop."""
        return _run("join", self.ajoin(handle, timeout=timeout))

    def forget(self, handle: str) -> None:
        """Run `aforget` outside an event loop."""
        _run("forget", self.aforget(handle))

    def handles(self) -> list[str]:
        """Run `ahandles` outside an event loop."""
        return _run("handles", self.ahandles())

    def statuses(self) -> list[JobStatus]:
        """Run `astatuses` outside an event loop."""
        return _run("statuses", self.astatuses())

    def report(self) -> Report:
        """See `areport`."""
        return _run("report", self.areport())

    # -- inside ----------------------------------------------------------------------------------------------

    def _handle(self, key: str) -> str:
        return "job_" + hashlib.blake2b(key.encode(), digest_size=16, key=self._name.encode()[:64]).hexdigest()

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[JobsSession]:
        provider = self._bridge.provider
        async with self._turn(), open_file(self._path) as (_, rows):
            patience = Patience("ledger", limit=timedelta(seconds=self._patience))
            patient = PatientRows(rows, patience)
            ledger = durable(patient, self._name)
            engine = self._bridge.engine(
                ledger, self._name, provider=apart(provider), quota_controller=self._quota_controller
            )
            self._quota_controller = engine.quota_controller
            session = JobsSession(ledger, engine, provider, Board(self._notifiers, patient))
            async with Closing((provider.aclose,)):
                await session.open(_clock.now())
                yield session
                if self._notifiers:
                    await session.notify(str(self._path))

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Wait until no other call, in this or another process, uses the file."""
        if not self._path.absolute().parent.is_dir():
            raise RunFileError(f"{self._path}: there is no folder {self._path.absolute().parent}; create it first")
        try:
            lock = lock_file(Path(f"{self._path}.turn"))
        except UnsafeFileError as error:
            raise RunFileError(f"{self._path} cannot be locked: {error}") from error
        loop = asyncio.get_running_loop()
        end = loop.time() + self._patience
        while True:
            try:
                lock.acquire()
                break
            except Timeout:
                if loop.time() >= end:
                    raise RunFileError(
                        f"{self._path}: another call has used this file for {self._patience:g} seconds; "
                        "check whether a process hangs, or pass Jobs(…, patience=…)"
                    ) from None
                await asyncio.sleep(_LOOK_AGAIN)
        try:
            yield
        finally:
            lock.release()


def _run(method: str, call: Coroutine[Any, Any, T]) -> T:
    try:
        _refuse_loop(method)
    except RunnerStateError:
        call.close()
        raise
    return asyncio.run(call)


def _refuse_loop(method: str) -> None:
    if is_on_loop():
        raise RunnerStateError(
            f"Jobs.{method}() was called inside a running event loop, which it would block; use a{method}()"
        )


async def _next(results: AsyncIterator[JobResult]) -> JobResult | None:
    return await anext(results, None)
