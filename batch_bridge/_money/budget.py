"""A budget: how much may be spent, and how much one thread may ask for. Plain data."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from batch_bridge._money.prices import amount

REQUESTS_PER_THREAD: Final = 1_000
"""Requests that one thread may ask for, by default."""
OUTPUT_TOKENS: Final = 4_096
"""Output tokens that a request is taken to need at most which names no limit of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """A limit that holds: what would pass it is not sent.

    Before a batch is sent, the most that each of its requests can cost is reserved: its input, and as many output
    tokens as it allows itself (`max_tokens` and its like). Once the batch is closed, what it has used takes the place
    of that. While other batches still hold reservations that `usd` might get back, what does not fit waits for them;
    what cannot fit ends its thread with `BudgetExceeded`. Everything else continues. With a higher budget the same
    command continues where it stopped: nothing is lost, and nothing is paid twice.

    Everything counts that the file, or the store, of a `Runner`, `Batcher` or `Jobs` remembers: all its runs, whichever
    process sent them. On a LangGraph server it is what was sent within the bridge's `retention`.

    Args:
        usd: US dollars that may be spent in all; `None`: no limit. A float is read as it is written.
        usd_per_thread: US dollars that one thread may spend; `None`: no limit.
        requests_per_thread: Requests that one thread may ask for, over all its runs, cache hits too; `None`: no limit.
            It ends an agent that loops forever, and needs no prices. A thread that has ended, or asks a person, counts
            from 0 again if it continues in the same process after 10,000 others have.
        output_tokens: What is reserved for a request that does not limit its output. A model that answers more all the
            same can pass the limit by that: give requests a `max_tokens`.

    Raises:
        TypeError: An amount is no number.
        ValueError: It is negative, or a count is no whole number from 1.
    """

    usd: Decimal | float | str | None = None
    usd_per_thread: Decimal | float | str | None = None
    requests_per_thread: int | None = REQUESTS_PER_THREAD
    output_tokens: int = OUTPUT_TOKENS

    def __post_init__(self) -> None:
        for name in ("usd", "usd_per_thread"):
            if (given := getattr(self, name)) is not None:
                object.__setattr__(self, name, amount(given, f"Budget({name}=…)"))
        for name in ("requests_per_thread", "output_tokens"):
            given = getattr(self, name)
            if given is None and name == "requests_per_thread":
                continue
            if isinstance(given, bool) or not isinstance(given, int) or given < 1:
                raise ValueError(f"Budget({name}={given!r}): give a whole number from 1")

    @property
    def is_priced(self) -> bool:
        """Whether prices are needed to hold it."""
        return self.usd is not None or self.usd_per_thread is not None
