"""One look at a file of jobs: the session does everything that is due, and waits for nothing else."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import islice
from typing import Literal

from batch_bridge._core import outcomes as _outcome
from batch_bridge._core.models import JSON, Cancelled, Intent, Request, SubmittedBatch
from batch_bridge._core.provider import Provider
from batch_bridge._core.wording import log_text as _logged
from batch_bridge._core.wording.log import about, logger_of
from batch_bridge._engine import Engine
from batch_bridge._host.notify import Board, of_job
from batch_bridge._host.report import Report, of_batches
from batch_bridge._ledger.ledger import Ledger
from batch_bridge._money import Purse, receipt
from batch_bridge.errors import BadPollResultError, ProviderUnavailable, RunMismatchError, UnknownJobError, UsageError
from batch_bridge.events import Event, Polled
from batch_bridge.jobs._job_items import request_id
from batch_bridge.jobs._job_rows import PART, Job, JobPart, JobRows
from batch_bridge.jobs._one_job_provider import job_of
from batch_bridge.jobs._settings import compare_settings, target_of
from batch_bridge.jobs._status import BatchStatus, JobResult, JobStatus

logger = logger_of(__name__)


class JobsSession:
    """The verbs on an open file. One at a time: its owner holds the lock.

    Args:
        ledger: The jobs.
        engine: Over that ledger, with a provider that keeps jobs apart.
        provider: The provider that cancels batches.
        board: Records which jobs' notices were sent.
    """

    def __init__(self, ledger: Ledger, engine: Engine, provider: Provider, board: Board) -> None:
        self._board = board
        self._ledger = ledger
        self._rows = JobRows(ledger)
        self._engine = engine
        self._provider = provider
        self._done: dict[str, int | None] = {}
        engine.on_event = self._listen
        engine.purse = Purse(replace(engine.purse.budget, requests_per_thread=None))  # a job is asked at once

    async def open(self, now: datetime) -> None:
        """Read what the visits before this one have left, and drop interrupted submissions and removals. Idempotent."""
        await self._engine.open(now)
        for job in await self._rows.jobs():
            if not job.written:
                async for part in self._rows.parts(job):
                    await self._engine.drop(part.ids)
                await self._remove(job, now)
        await self._note()  # a batch that is begun and not noted is one of a session that broke off

    async def submit(
        self, handle: str, items: Iterable[tuple[str | None, JSON]], now: datetime, *, key: str = ""
    ) -> None:
        """Write a job down; the next `look` sends it. The same handle again changes nothing.

        Raises:
            RunMismatchError: The job is there, with other items, or they are asked of another model, endpoint or with
                other parameters.
        """
        items = tuple(items)
        known = await self._rows.job(handle)
        target = target_of(self._provider, handle, items)
        if known is not None:
            await self._compare(known, items)
            compare_settings(known, target)
            await self._ask_again(known, items, now)
            return
        count = 0
        rest = enumerate(items)
        job = Job(handle, 0, now, groups=target.groups, settings=target.settings, first=target.first, key=key)
        while chunk := list(islice(rest, PART)):
            requests = [
                Request(request_id(handle, index, item), handle, item, is_priced=True) for index, (_, item) in chunk
            ]
            names = tuple(name for _, (name, _) in chunk)
            number, count = count // PART, count + len(chunk)
            await self._rows.put_part(
                handle,
                JobPart(
                    number,
                    tuple(each.id for each in requests),
                    names if any(each is not None for each in names) else None,
                ),
            )
            await self._rows.put_job(replace(job, requests=count))
            await self._engine.collect(requests, now)
        await self._rows.put_job(replace(job, requests=count, written=True))

    async def look(self, now: datetime) -> None:
        """Do everything that is due, for all jobs: reconcile, poll, settle, send, cancel.

        A `poll` whose result makes no sense is the affair of its own job: see `check`.
        """
        with contextlib.suppress(BadPollResultError):  # it is logged, and `check` raises it
            await self._engine.advance(now)
        while looks := self._engine.looks:  # no later session sees their results
            await asyncio.wait(looks)
            with contextlib.suppress(BadPollResultError):
                await self._engine.advance(now)
        cancelled = [job for job in await self._rows.jobs() if job.cancelled and not job.ended]
        for job in cancelled:
            await self._drop(job)
        await self._engine.flush(now, drain=True)
        await self._note()
        for job in cancelled:
            await self._stop(job.handle)

    async def check(self, handle: str) -> None:
        """Pass, unless the last look has shown that a job cannot be read.

        Raises:
            UnknownJobError: No job has this handle.
            BadPollResultError: What the user's `poll` has returned of one of its batches makes no sense. That batch
                stays in flight, and a fixed `poll` collects it.
        """
        job = await self.job(handle)
        for key, error in self._engine.bad_results.items():
            if key in job.batches:
                raise error

    async def cancel(self, handle: str) -> None:
        """Note that a job is to be cancelled; the next `look`, and each after it, sees to it."""
        job = await self.job(handle)
        if not job.cancelled and not job.ended:
            await self._rows.put_job(replace(job, cancelled=True))

    async def report(self) -> Report:
        """Return what was done and what it cost, of all jobs."""
        engine = self._engine
        lines = [line for account in await engine.accounts() for line in account.each()]
        cost = await asyncio.to_thread(receipt, [(engine.prices, lines)])
        return of_batches(await engine.closed_batches(), cost, problems=engine.problems)

    async def notify(self, file: str) -> None:
        """Send one notice of each job that has ended, but not of jobs that ended while the file had no notifier."""
        board = self._board
        ended = [job for job in await self._rows.jobs() if job.ended or (await self.status(job.handle)).ended]
        await board.begin("jobs", [f"job:{job.handle}" for job in ended])
        for job in await board.unsent({f"job:{job.handle}": job for job in ended}):
            status = await self.status(job.handle)
            lines = [line for key in job.batches for line in await self._engine.lines_in(key)]
            cost = await asyncio.to_thread(receipt, [(self._engine.prices, lines)])
            await board.tell(of_job(job.handle, status.outcomes, cost, file))

    async def forget(self, handle: str, now: datetime) -> None:
        """Delete a job that has ended, and all that is kept of it. Idempotent.

        Raises:
            UsageError: It has not ended.
        """
        if await self._rows.job(handle) is None:
            await self._board.forget(f"job:{handle}")
            return
        status = await self.status(handle)
        if not status.ended:
            raise UsageError(f"job {handle} has not ended, and is paid for; cancel it, and forget it once it has ended")
        job = await self.job(handle)
        async for part in self._rows.parts(job):  # a process has died before it closed a batch that has ended
            await self._engine.finish(part.ids, now)
        await self._engine.release()
        await self._remove(job, now)

    async def job(self, handle: str) -> Job:
        """Return a job.

        Raises:
            UnknownJobError: No job has this handle.
        """
        job = await self._rows.job(handle)
        if job is None:
            raise UnknownJobError(
                f"there is no job {handle!r} in this file; use the file and the name with which it was submitted"
            )
        return job

    async def handles(self) -> list[str]:
        """Return the handles of all jobs, oldest first."""
        return [job.handle for job in await self._rows.jobs()]

    async def status(self, handle: str) -> JobStatus:
        """Return where a job is, as of the last look."""
        job = await self.job(handle)
        outcomes: Counter[str] = Counter()
        sent = 0
        async for part in self._rows.parts(job):
            counts = Counter(part.counts) or await self._count(job, part)
            outcomes += counts
            if counts.total() < len(part.ids):
                sent += sum(map(self._engine.is_sent, part.ids))
        ended = outcomes.total() == job.requests
        if ended and not job.ended:
            await self._rows.put_job(replace(job, ended=True))
        return JobStatus(
            handle,
            _state(job, sent, outcomes.total()),
            job.requests,
            job.requests - outcomes.total() - sent,
            sent,
            dict(outcomes),
            await self._batches(job),
            job.submitted_at,
            self._engine.last_error,
            job.key,
        )

    async def results(self, handle: str, number: int) -> list[JobResult] | None:
        """Return what has ended of one part of a job, in order; `None` if there is no such part."""
        part = await self._rows.part(await self.job(handle), number)
        if part is None:
            return None
        outcomes = await self._ledger.outcomes(part.ids)
        return [
            JobResult(
                number * PART + place, part.names[place] if part.names else None, request_id, outcomes[request_id]
            )
            for place, request_id in enumerate(part.ids)
            if request_id in outcomes
        ]

    # -- inside ----------------------------------------------------------------------------------------------

    async def _remove(self, job: Job, now: datetime) -> None:
        """Delete a job, and all that is kept of it. Idempotent."""
        counts = self._provider.limits.creations_per_hour is not None
        await self._rows.begin_removal(job)  # first: a job that lives keeps the summaries of its batches
        if counts:
            job = await self._rows.keep_young(job, now)
        await self._board.forget(f"job:{job.handle}")
        await self._rows.remove(job)
        if counts:
            await self._rows.remove_aged(now)

    async def _compare(self, job: Job, items: Iterable[tuple[str | None, JSON]]) -> None:
        asked = [request_id(job.handle, index, item) for index, (_, item) in enumerate(items)]
        known = [each async for part in self._rows.parts(job) for each in part.ids]
        if asked != known:
            pairs = zip(asked, known, strict=False)
            index = next((at for at, (one, other) in enumerate(pairs) if one != other), min(len(asked), len(known)))
            raise RunMismatchError(
                f"a job with this key was submitted with other items: {len(known)} then, {len(asked)} now; they "
                f"differ from item {index} on; use another key, or the same items",
                index=index,
            )

    async def _ask_again(self, job: Job, items: Sequence[tuple[str | None, JSON]], now: datetime) -> None:
        """Queue what a budget has refused: there may be more to spend by now. What was lost on the way to that, too."""
        if job.cancelled:
            return
        async for part in self._rows.parts(job):
            if part.counts and not part.counts.get("errored"):
                continue
            outcomes = await self._ledger.outcomes(part.ids)
            again = [
                Request(each, job.handle, items[part.number * PART + place][1], is_priced=True)
                for place, each in enumerate(part.ids)
                if (each in outcomes and _outcome.is_refused(outcomes[each]))
                or (each not in outcomes and not self._engine.knows(each))
            ]
            if again:
                await self._rows.put_part(job.handle, replace(part, counts={}))
                await self._rows.put_job(replace(job, ended=False))
                await self._engine.collect(again, now)

    async def _drop(self, job: Job) -> None:
        """Settle what of a cancelled job has not been sent."""
        waiting = set(self._engine.waiting)
        outcome = Cancelled("the job was cancelled before this request was sent")
        async for part in self._rows.parts(job):
            dropped = [request_id for request_id in part.ids if request_id in waiting]
            await self._ledger.settle(dict.fromkeys(dropped, outcome))
            await self._engine.drop(dropped)

    async def _stop(self, handle: str) -> None:
        """Cancel a job's batches at the provider; a cancellation that fails now is repeated in the next look."""
        job = await self.job(handle)
        for batch in await self._ledger.open_batches():
            if not isinstance(batch, SubmittedBatch) or job_of(batch) != handle or batch.key in job.stopped:
                continue
            try:
                await self._provider.cancel(batch.handle)
            except ProviderUnavailable as error:
                self._engine.last_error = f"batch {batch.key} could not be cancelled yet: {error}"
                logger.warning(
                    "batch %s could not be cancelled yet: %s",
                    batch.key,
                    _logged.said(error),
                    extra=about(batch=batch.key),
                )
            except Exception as error:  # noqa: BLE001  # a provider may be the user's code; the batch ends without it too
                self._engine.last_error = f"batch {batch.key} cannot be cancelled: {error}"
                logger.warning(
                    "batch %s cannot be cancelled: %s", batch.key, _logged.said(error), extra=about(batch=batch.key)
                )
            else:
                job = await self._rows.note(job, stopped=[batch.key])

    async def _note(self) -> None:
        """Write down which batches belong to which job, before they are closed."""
        by_job: dict[str, list[str]] = {}
        for entry in await self._ledger.open_batches():
            batch = entry[0] if isinstance(entry, tuple) else entry
            by_job.setdefault(job_of(batch), []).append(batch.key)
        for handle, keys in by_job.items():
            job = await self._rows.job(handle)
            if job is not None:
                await self._rows.note(job, batches=keys)

    async def _count(self, job: Job, part: JobPart) -> Counter[str]:
        outcomes = await self._ledger.outcomes(part.ids)
        counts = Counter(map(_outcome.kind, outcomes.values()))
        if counts.total() == len(part.ids):
            await self._rows.put_part(job.handle, replace(part, counts=dict(counts)))
        return counts

    async def _batches(self, job: Job) -> tuple[BatchStatus, ...]:
        if not job.batches:
            return ()
        batches: dict[str, BatchStatus] = {}
        for closed in await self._ledger.closed_among(job.batches):
            batches[closed.key] = BatchStatus(
                closed.key, "ended", closed.handle, closed.requests, closed.requests, closed.outcomes, closed.usage
            )
        for entry in await self._ledger.open_batches():
            match entry:
                case SubmittedBatch() as batch:
                    done = self._done.get(batch.key)
                    shown = self._engine.shown(batch)
                    batches[batch.key] = BatchStatus(batch.key, "in_flight", shown, len(batch.requests), done)
                case (Intent() as intent, _):
                    batches[intent.key] = BatchStatus(intent.key, "submitting", None, len(intent.requests))
        return tuple(batches[key] for key in job.batches if key in batches)

    def _listen(self, event: Event) -> None:
        if isinstance(event, Polled):
            self._done[event.batch] = event.done


def _state(job: Job, sent: int, settled: int) -> Literal["queued", "in_flight", "cancelling", "ended"]:
    if settled == job.requests:
        return "ended"
    if job.cancelled:
        return "cancelling"
    return "in_flight" if sent or settled else "queued"
