"""procrastinate's jobs, ended once and only by who holds them, though the connection is lost at that moment."""

from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from procrastinate import sql
from procrastinate.connector import BaseAsyncConnector
from procrastinate.jobs import Job, Status
from procrastinate.manager import JobManager

from batch_bridge._ledger.patience import Patience
from batch_bridge.pool._grouped import Grouped

_HELD: Final = """
WITH held AS MATERIALIZED (
    SELECT id FROM procrastinate_jobs WHERE id = %(job_id)s AND attempts = %(attempts)s AND status = 'doing' FOR UPDATE
)
"""
"""Holds a job's row if it still runs as it was fetched: who takes a job away, to run it again, counts its attempts."""
_ALL_HELD: Final = """
WITH held AS MATERIALIZED (
    SELECT j.id, ended.status, ended.gone
    FROM procrastinate_jobs j
    JOIN unnest(%(ids)s::bigint[], %(attempts)s::int[], %(statuses)s::procrastinate_job_status[], %(gone)s::boolean[])
        AS ended(id, attempts, status, gone) USING (id, attempts)
    WHERE j.status = 'doing' ORDER BY j.id FOR UPDATE OF j
)
"""
"""The same for several jobs that have ended."""
_COLUMNS: Final = {"%(job_id)s": "id", "%(status)s": "status", "%(delete_job)s": "gone"}
"""What a job's end is in there, by what it is called in the statement of procrastinate."""


class _End(NamedTuple):
    job: Job
    status: Status
    is_gone: bool


class PatientJobs(JobManager):
    """See `JobManager`. The end of a job is told again until it has arrived, and only by who holds the job.

    A worker tells it once: if that is lost, the job counts as running for as long as the worker lives. And a worker
    that was taken for dead ends, when it wakes up, a job that another one runs by now: procrastinate uses the row
    again. So nothing is told of a job that has been taken away.

    Args:
        connector: Of the app.
        patience: How long the database is waited for.
    """

    def __init__(self, connector: BaseAsyncConnector, patience: Patience) -> None:
        super().__init__(connector)
        self._patience = patience
        self._ends = Grouped(self._finish)

    async def settle(self) -> None:
        """Wait until no end of a job is on its way."""
        await self._ends.settle()

    async def finish_job(self, job: Job, status: Status, delete_job: bool) -> None:  # noqa: FBT001
        """See `JobManager`. Does nothing if the job is not held any more. Idempotent."""
        await self._patience.call(lambda: self._ends.do(_End(job, status, delete_job)))

    async def _finish(self, ends: list[_End]) -> list[None]:
        statement = sql.queries["finish_job"].rstrip().rstrip(";")
        for given, column in _COLUMNS.items():
            statement = statement.replace(given, column)
        await self.connector.execute_query_async(
            f"{_ALL_HELD}{statement} FROM held",
            ids=[each.job.id for each in ends],
            attempts=[each.job.attempts for each in ends],
            statuses=[each.status.value for each in ends],
            gone=[each.is_gone for each in ends],
        )
        return [None] * len(ends)

    async def retry_job(
        self,
        job: Job,
        retry_at: datetime | None = None,
        priority: int | None = None,
        queue: str | None = None,
        lock: str | None = None,
    ) -> None:
        """See `JobManager`. Does nothing if the job is not held any more. Idempotent."""
        statement = sql.queries["retry_job"].rstrip().rstrip(";")
        given: dict[str, Any] = {
            "job_id": job.id,
            "attempts": job.attempts,
            "retry_at": retry_at or datetime.now(UTC),
            "new_priority": priority,
            "new_queue_name": queue,
            "new_lock": lock,
        }

        async def tell() -> None:
            await self.connector.execute_query_async(f"{_HELD}{statement} FROM held", **given)

        await self._patience.call(tell)
