"""procrastinate's jobs, finished though the connection is lost at that moment."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, Final

from procrastinate.connector import BaseAsyncConnector
from procrastinate.exceptions import ConnectorException
from procrastinate.jobs import Status
from procrastinate.manager import JobManager

from batch_bridge._ledger.patience import Patience

_ENDED: Final = "not in"
"""What Postgres says of a job that is done already: `Job was not found or not in "doing" or "todo" status`."""


class PatientJobs(JobManager):
    """See `JobManager`. The end of a job is told again until it has arrived.

    A worker tells it once: if that is lost, the job counts as running for as long as the worker lives.

    Args:
        connector: Of the app.
        patience: How long the database is waited for.
    """

    def __init__(self, connector: BaseAsyncConnector, patience: Patience) -> None:
        super().__init__(connector)
        self._patience = patience

    async def finish_job_by_id_async(self, job_id: int, status: Status, delete_job: bool) -> None:  # noqa: FBT001
        """See `JobManager`."""
        finish = super().finish_job_by_id_async
        await self._tell(lambda: finish(job_id, status, delete_job))

    async def retry_job_by_id_async(
        self,
        job_id: int,
        retry_at: datetime,
        priority: int | None = None,
        queue: str | None = None,
        lock: str | None = None,
    ) -> None:
        """See `JobManager`."""
        retry = super().retry_job_by_id_async
        await self._tell(lambda: retry(job_id, retry_at, priority, queue, lock))

    async def _tell(self, work: Callable[[], Awaitable[Any]]) -> None:
        """Tell the end of a job. What was told, though the reply was lost, is refused the next time."""
        has_failed = False

        async def again() -> None:
            nonlocal has_failed
            try:
                await work()
            except ConnectorException as error:
                if has_failed and _ENDED in f"{error} {error.__cause__}":
                    return
                has_failed = True
                raise

        await self._patience.call(again)
