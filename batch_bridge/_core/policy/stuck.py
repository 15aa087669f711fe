"""Whether a batch gets on, and whether its results are about to be deleted. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from batch_bridge._core.wording.words import span

Cause: TypeAlias = Literal["refused", "past_window", "slow"]

REFUSED: Final = 600.0
"""Seconds for which a provider may refuse every look before that is reported."""
ENOUGH: Final = 20
"""Ended batches of a group after which its slowest is a measure."""
_SOON: Final = 0.4
"""The share of the time that a provider keeps results for, after which uncollected results cause a warning."""


@dataclass(frozen=True, slots=True)
class Stuck:
    """Why a batch does not get on.

    Attributes:
        cause: `refused`: every call has failed for ten minutes; `past_window`: the provider should have given it up;
            `slow`: it has not moved for longer than its like took in all.
        seconds: For how long.
        limit: What its like took, of a slow one; else nothing.
    """

    cause: Cause
    seconds: float
    limit: float = 0.0


def judge(
    *, since: float | None, bad_since: float | None, window_until: float | None, longest: float | None, now: float
) -> Stuck | None:
    """Return why a batch does not get on; `None` if it does. Times are seconds since the epoch.

    Args:
        since: Since when it has been as far as it is.
        bad_since: Since when every look at it has failed.
        window_until: When its provider gives it up.
        longest: How long its like took, see `longest_of`.
        now: The time.
    """
    if bad_since is not None and now - bad_since >= REFUSED:
        return Stuck("refused", now - bad_since)
    if window_until is not None and window_until < now:
        return Stuck("past_window", now - window_until)
    if longest is not None and since is not None and now - since > longest:
        return Stuck("slow", now - since, longest)
    return None


def longest_of(took: Iterable[float]) -> float | None:
    """Return how long all but the slowest hundredth of ended batches took; `None` while there are too few."""
    ordered = sorted(took)
    return ordered[min(int(len(ordered) * 0.99), len(ordered) - 1)] if len(ordered) >= ENOUGH else None


def advice(stuck: Stuck) -> str:
    """Return what is wrong with a batch and what to do, as the rest of a line that begins with its name."""
    match stuck.cause:
        case "refused":
            return (
                f"the provider has refused every call for {span(stuck.seconds)}: see whether the key, the network and "
                "the account are in order; it is tried again by itself"
            )
        case "past_window":
            return (
                f"past its window by {span(stuck.seconds)}: look it up at the provider; cancelled there, what it has "
                "not answered is sent again"
            )
        case _:
            return (
                f"has not moved for {span(stuck.seconds)}, longer than {ENOUGH} or more like it took in all "
                f"({span(stuck.limit)}): look it up at the provider"
            )


def is_at_risk(submitted_at: float, expires_at: float, now: float) -> bool:
    """Return whether uncollected results need a warning: well before their provider deletes them."""
    return now - submitted_at >= _SOON * (expires_at - submitted_at)
