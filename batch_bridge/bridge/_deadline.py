"""The deadline of a bridge, and what happens when it has passed."""

from dataclasses import dataclass
from datetime import timedelta
from typing import get_args

from batch_bridge._core.durations import Within, duration
from batch_bridge._engine.waiting.ladder import OnDeadline


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadline:
    """How long a request may take, and what happens to a batch that is late.

    ::

        Bridge(OpenAIBatch(model="gpt-4o-mini"), deadline=Deadline(within="1h", then="pay_again"))

    A plain duration is a deadline too: `deadline="1h"` is `Deadline(within="1h")`.

    Attributes:
        within: How long a request may take (a duration, positive). `None`: only requests that bring a deadline of their
            own have one, as with `wait(…, deadline=…)`.
        then: `"wait_for_cancel"` waits until the provider tells what was done before the cancellation (OpenAI:
            up to ten minutes), and pays nothing twice. `"pay_again"` sends all of the batch to the fallback at once,
            and counts what the batch has answered all the same in `Report.paid_twice`. Functions of your own cannot
            cancel: for them it is always `"pay_again"`. In a `ladder` a batch is stopped early enough for the next
            lane; what it has not told by that lane's last chance moves on. An answer that arrives all the same is kept.

    Raises:
        TypeError: `within` is not a duration.
        ValueError: `within` is not positive, or `then` is unknown.
    """

    within: Within = None
    then: OnDeadline = "wait_for_cancel"

    def __post_init__(self) -> None:
        object.__setattr__(self, "within", duration(self.within, "within"))
        if self.then not in get_args(OnDeadline):
            raise ValueError(f'Deadline(then={self.then!r}) is unknown; pass "wait_for_cancel" or "pay_again"')

    @property
    def after(self) -> timedelta | None:
        """How long a request may take, as a `timedelta`."""
        return duration(self.within)

    @classmethod
    def of(cls, given: object) -> "Deadline":
        """Return the deadline that an argument `deadline=` says.

        Raises:
            TypeError: It is neither a deadline nor a duration.
            ValueError: It is not positive.
        """
        return given if isinstance(given, Deadline) else cls(within=duration(given))
