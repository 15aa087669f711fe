"""The rows of jobs, beside those of a ledger that keeps its queue.

::

    parts   <handle>.<number>  -> ids, names?, counts?    a thousand requests of a job, in order; before the job's row
    jobs    <handle>           -> stage, times, batches   begun -> written -> begun again, to be removed
    young   batch key          -> time                    of forgotten jobs, whose creations still count: for an hour

A job that is begun is removed by the next session on the file. Its submission broke off, and it has sent nothing: its
caller has no handle, and where it has a key, creates it again. Or its removal broke off: a job that lacks some of its
parts could never end, nor be forgotten.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from batch_bridge._ledger.ledger import Ledger

PART: Final = 1000
"""Requests in one row: what is held in memory of a job's outcomes."""
_HOUR: Final = timedelta(hours=1)
"""How long providers count the creation of a batch."""


@dataclass(frozen=True, slots=True)
class Job:
    """A job's row.

    Attributes:
        handle: What it is known by.
        requests: How many it holds.
        submitted_at: Aware UTC.
        written: All its requests are in the ledger, and it is not being removed.
        cancelled: Its cancel was asked for.
        batches: Keys of its batches, oldest first, including failed ones.
        stopped: Keys of those whose cancellation the provider was asked for.
        ended: Every request has its outcome.
        groups: What its requests were asked of, as the provider groups them: endpoint and model.
        settings: A digest of all that decides their answers; empty where the provider does not tell.
        first: What decides the first one's, as JSON; empty where it is long or cannot be told.
        key: What its caller named it; empty if he did not, and in rows of an earlier version.
    """

    handle: str
    requests: int
    submitted_at: datetime
    written: bool = False
    cancelled: bool = False
    batches: tuple[str, ...] = ()
    stopped: tuple[str, ...] = ()
    ended: bool = False
    groups: tuple[str, ...] = ()
    settings: str = ""
    first: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class JobPart:
    """Some requests of a job, in order.

    Attributes:
        number: Which part it is, from 0.
        ids: The requests.
        names: What the caller calls them, where he does; `None` if he calls none of them anything.
        counts: Their outcomes by kind, once all have ended.
    """

    number: int
    ids: tuple[str, ...]
    names: tuple[str | None, ...] | None = None
    counts: dict[str, int] = field(default_factory=dict)


class JobRows:
    """The rows of jobs, beside a ledger that keeps its queue.

    Args:
        ledger: Holds the jobs' requests, outcomes and batches.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._table = ledger.table

    async def put_part(self, handle: str, part: JobPart) -> None:
        """Write a part."""
        row: dict[str, Any] = {"ids": list(part.ids)}
        if part.names is not None:
            row["names"] = list(part.names)
        if part.counts:
            row["counts"] = part.counts
        await self._table.run([self._table.put("parts", _part(handle, part.number), row)])

    async def put_job(self, job: Job) -> None:
        """Write a job's row."""
        row = {
            "requests": job.requests,
            "at": job.submitted_at.timestamp(),
            "stage": "written" if job.written else "begun",
            "cancelled": job.cancelled,
            "batches": list(job.batches),
            "stopped": list(job.stopped),
            "ended": job.ended,
            "groups": list(job.groups),
            "settings": job.settings,
            "first": job.first,
        }
        if job.key:
            row["key"] = job.key
        await self._table.run([self._table.put("jobs", job.handle, row)])

    async def job(self, handle: str) -> Job | None:
        """Read a job."""
        (row,) = await self._table.get("jobs", [handle])
        return None if row is None else _job(handle, row)

    async def jobs(self) -> list[Job]:
        """Read all jobs, oldest first."""
        return [_job(handle, row) for handle, row in await self._table.all("jobs")]

    async def part(self, job: Job, number: int) -> JobPart | None:
        """Read a part; `None` if no part has this number."""
        (row,) = await self._table.get("parts", [_part(job.handle, number)])
        if row is None:
            return None
        names = row.get("names")
        return JobPart(number, tuple(row["ids"]), None if names is None else tuple(names), row.get("counts", {}))

    async def parts(self, job: Job) -> AsyncIterator[JobPart]:
        """Read a job's parts, one at a time."""
        for number in range(parts_of(job)):
            part = await self.part(job, number)
            if part is not None:
                yield part

    async def begin_removal(self, job: Job) -> None:
        """Write that a job is being removed: the next session does the rest, if this process does not live to."""
        if job.written:
            await self.put_job(replace(job, written=False))

    async def remove(self, job: Job) -> None:
        """Delete a job, its outcomes, the summaries of its batches, and its unsent requests; its row goes last."""
        async for part in self.parts(job):
            await self._ledger.drop(part.ids)
            await self._ledger.forget(part.ids)
            await self._table.run([self._table.put("parts", _part(job.handle, part.number), None)])
        await self._table.run(self._table.put("closed", key, None) for key in job.batches)
        await self._table.run(self._table.put("money", key, None) for key in job.batches)
        await self._table.run([self._table.put("jobs", job.handle, None)])

    async def keep_young(self, job: Job, now: datetime) -> Job:
        """Note the batches of a job that were created within the hour, which count; return it without those."""
        closed = await self._ledger.closed_among(job.batches)
        young = {each.key: each.submitted_at for each in closed if now - each.submitted_at < _HOUR}
        await self._table.run(self._table.put("young", key, {"at": at.timestamp()}) for key, at in young.items())
        return replace(job, batches=tuple(key for key in job.batches if key not in young))

    async def remove_aged(self, now: datetime) -> None:
        """Delete the summaries of such batches, of any job, that count no more."""
        before = (now - _HOUR).timestamp()
        aged = [key for key, row in await self._table.all("young") if row["at"] <= before]
        await self._table.run(self._table.put("closed", key, None) for key in aged)
        await self._table.run(self._table.put("money", key, None) for key in aged)
        await self._table.run(self._table.put("young", key, None) for key in aged)

    async def note(self, job: Job, *, batches: Sequence[str] = (), stopped: Sequence[str] = ()) -> Job:
        """Write down a job's batches that are not there yet; done twice, it changes nothing."""
        noted = replace(
            job,
            batches=tuple(dict.fromkeys([*job.batches, *batches])),
            stopped=tuple(dict.fromkeys([*job.stopped, *stopped])),
        )
        if noted != job:
            await self.put_job(noted)
        return noted


def parts_of(job: Job) -> int:
    """Return how many parts a job has."""
    return -(-job.requests // PART)


def _part(handle: str, number: int) -> str:
    return f"{handle}.{number:06}"


def _job(handle: str, row: dict[str, Any]) -> Job:
    return Job(
        handle,
        row["requests"],
        datetime.fromtimestamp(row["at"], UTC),
        row["stage"] == "written",
        row["cancelled"],
        tuple(row["batches"]),
        tuple(row["stopped"]),
        row["ended"],
        tuple(row.get("groups", ())),
        row.get("settings", ""),
        row.get("first", ""),
        row.get("key", ""),
    )
