"""procrastinate's jobs, ended once and only by who holds them, though the connection is lost at that moment."""

from datetime import UTC, datetime
from typing import Any, Final

from procrastinate import sql
from procrastinate.connector import BaseAsyncConnector
from procrastinate.jobs import Job, Status
from procrastinate.manager import JobManager

from batch_bridge._ledger.patience import Patience

_HELD: Final = """
WITH held AS MATERIALIZED (
    SELECT id FROM procrastinate_jobs WHERE id = %(job_id)s AND attempts = %(attempts)s AND status = 'doing' FOR UPDATE
)
"""
"""Holds a job's row if it still runs as it was fetched: who takes a job away, to run it again, counts its attempts."""


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

    async def finish_job(self, job: Job, status: Status, delete_job: bool) -> None:  # noqa: FBT001
        """See `JobManager`. Does nothing if the job is not held any more. Idempotent."""
        await self._end(job, "finish_job", status=status.value, delete_job=delete_job)

    async def retry_job(
        self,
        job: Job,
        retry_at: datetime | None = None,
        priority: int | None = None,
        queue: str | None = None,
        lock: str | None = None,
    ) -> None:
        """See `JobManager`. Does nothing if the job is not held any more. Idempotent."""
        await self._end(
            job,
            "retry_job",
            retry_at=retry_at or datetime.now(UTC),
            new_priority=priority,
            new_queue_name=queue,
            new_lock=lock,
        )

    async def _end(self, job: Job, statement: str, **given: Any) -> None:
        """Run a statement of procrastinate for a job, if it is held, in one statement with the look whether it is."""
        query = f"{_HELD}{sql.queries[statement].rstrip().rstrip(';')} FROM held"

        async def tell() -> None:
            await self.connector.execute_query_async(query, job_id=job.id, attempts=job.attempts, **given)

        await self._patience.call(tell)
