"""What a provider remembers of its batches between two calls; nothing that a new process would miss."""

import time
from collections.abc import Callable
from datetime import timedelta

from batch_bridge.errors import ProviderUnavailable, SubmissionUnknown
from batch_bridge.providers._shared.poll_history import PollHistory
from batch_bridge.providers.anthropic._batch import AnthropicBatchObject


class Memory(PollHistory):
    """Judges what a call has shown, in the light of those before.

    Args:
        clock: Seconds since some moment; never set back.

    Attributes:
        tags: Batch id -> the tag in its custom ids, as a create call's answer, the ledger or its results have shown;
            empty for a foreign batch.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(account="workspace", clock=clock)
        self.tags: dict[str, str] = {}
        self._doubts: dict[str, float] = {}

    def has_ended(self, batch: AnthropicBatchObject) -> bool:
        """Return whether a batch has ended and shows all its results; an unknown status counts as running."""
        self.saw(batch.id, batch.status, is_known=batch.is_known)
        if not batch.has_ended:
            return False
        return batch.has_results or batch.is_archived or not self.waits(batch.id)

    def forget(self, batch_id: str) -> None:
        """Forget a batch that is settled."""
        super().forget(batch_id)
        self.tags.pop(batch_id, None)

    # -- of a create call with an unknown end ------------------------------------------------------------------

    def sent(self, key: str) -> None:
        """Note that a create call is made: earlier doubts about the key are void."""
        self._doubts.pop(key, None)

    def wait_out(self, key: str, patience: timedelta | None) -> None:
        """Pass if a create call that shows no batch by now is lost, counted from the first doubt of this process.

        Raises:
            ProviderUnavailable: It is too early to tell.
            SubmissionUnknown: Without patience, this can never be told.
        """
        if patience is None:
            raise SubmissionUnknown(
                "the process ended, or the connection broke, while a batch was created, and no batch is visible. "
                "Anthropic's API cannot find a batch by our key, so one may still "
                "appear; check the Console, and send the requests again if it shows none"
            )
        now = self._clock()
        left = self._doubts.setdefault(key, now) + patience.total_seconds() - now
        if left > 0:
            raise ProviderUnavailable(
                "the response to a create call was lost, and no batch is visible; it may still appear",
                retry_after=left,
            )
        del self._doubts[key]
