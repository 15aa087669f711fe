"""What one call for one request came to."""

from dataclasses import dataclass

from batch_bridge._core.models import Errored, Outcome, Usage


@dataclass(frozen=True, slots=True)
class Reply:
    """The outcome of a request, and its cost if the vendor reports it."""

    outcome: Outcome
    usage: Usage | None = None


class TryLater(Exception):
    """The call failed and was not billed: another one may succeed.

    Attributes:
        errored: The outcome, if this was the last try.
        retry_after: Seconds that the vendor asked to be left alone, if it said so.
    """

    def __init__(self, errored: Errored, retry_after: float | None = None) -> None:
        super().__init__(errored.message)
        self.errored = errored
        self.retry_after = retry_after
