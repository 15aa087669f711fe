"""A Message Batch of the API, as far as we need it. Pure."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from batch_bridge._core.models import InProgress
from batch_bridge.providers._shared.clean_text import clean
from batch_bridge.providers._shared.ids import is_id

_STATUSES: Final = frozenset({"in_progress", "canceling", "ended"})
_LONGEST_STATUS: Final = 64
_COUNTS: Final = ("processing", "succeeded", "errored", "canceled", "expired")


@dataclass(frozen=True, slots=True)
class AnthropicBatchObject:
    """A batch as the API returns it.

    Attributes:
        status: `in_progress`, `canceling` or `ended`; anything else counts as running.
        created_at: Seconds since the epoch, by the API's clock.
        total: Requests that it was created with.
        processing: Requests that have no result yet; all of them until the batch has ended.
        was_cancelled: Whether its cancellation was requested.
        has_results: Whether they can be read.
        is_archived: Whether they could be, and cannot any more.
    """

    id: str
    status: str
    created_at: float
    total: int | None
    processing: int | None
    was_cancelled: bool
    has_results: bool
    is_archived: bool

    @property
    def has_ended(self) -> bool:
        """Whether it will not change any more."""
        return self.status == "ended"

    @property
    def is_known(self) -> bool:
        """Whether its status is one that we know."""
        return self.status in _STATUSES

    def progress(self) -> InProgress:
        """Return how far it has come."""
        if self.total is None or self.processing is None:
            return InProgress()
        return InProgress(self.total - self.processing, self.total)


def read_batch(seen: object) -> AnthropicBatchObject | None:
    """Return a batch object of the SDK, or `None` if the API answered with something else."""
    batch_id = getattr(seen, "id", None)
    if not is_id(batch_id):
        return None
    counts = [getattr(getattr(seen, "request_counts", None), name, None) for name in _COUNTS]
    known = [count for count in counts if isinstance(count, int)]
    created_at = getattr(seen, "created_at", None)
    return AnthropicBatchObject(
        id=batch_id,
        status=clean(str(getattr(seen, "processing_status", "")).lower(), _LONGEST_STATUS),
        created_at=created_at.timestamp() if isinstance(created_at, datetime) else 0.0,
        total=sum(known) if known else None,
        processing=counts[0] if isinstance(counts[0], int) else None,
        was_cancelled=getattr(seen, "cancel_initiated_at", None) is not None,
        has_results=bool(getattr(seen, "results_url", None)),
        is_archived=getattr(seen, "archived_at", None) is not None,
    )
