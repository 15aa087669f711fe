"""A provider whose batches hold requests of one job each, so that a job can be cancelled without its neighbours."""

from typing import Any, cast

from batch_bridge._core.models import Intent, Measure, Request, SubmittedBatch
from batch_bridge._core.provider import Provider


class Apart:
    """Puts the job in front of a request's group; all else is the provider's own."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # before `__init__` has run there is no provider to ask
            raise AttributeError(name)
        return getattr(self._provider, name)

    def measure(self, request: Request) -> Measure:
        """See `Provider`."""
        measure = self._provider.measure(request)
        return measure._replace(group=f"{request.thread} {measure.group}")

    def quota_of(self, group: str) -> str:
        """Return the provider's own group: it counts what is enqueued without regard to jobs."""
        return group.partition(" ")[2]


def apart(provider: Provider) -> Provider:
    """Return a provider that keeps jobs apart."""
    return cast("Provider", Apart(provider))


def job_of(batch: Intent | SubmittedBatch) -> str:
    """Return the handle of the job that a batch belongs to."""
    return batch.group.partition(" ")[0]
