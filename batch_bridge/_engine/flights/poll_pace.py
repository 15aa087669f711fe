"""How often batches are polled: less often where webhooks tell of their ends. No I/O."""

from datetime import datetime, timedelta
from typing import Final

from batch_bridge._engine.flights.flight import LONGEST_PAUSE, Flight

MOST: Final = 4
"""Poll intervals that a batch is left alone at the longest, where webhooks come."""
_USUAL: Final = 1


class PollPace:
    """The poll interval of each lane: doubled by each end that a webhook has told of, up to a bound.

    Polling stays as the safety net. An end that polling has found first is one that no webhook told of in time: from
    then on the lane is polled as usual. It outlives a ledger that is opened again; a new process learns it anew.

    Args:
        interval: The bridge's poll interval.
    """

    def __init__(self, interval: timedelta) -> None:
        self._usual = interval
        self._factors: dict[str, int] = {}

    def interval(self, lane: str) -> timedelta:
        """Return the longest pause between two looks at a batch of a lane; `""` is the bridge's own."""
        return min(self._usual * self._factors.get(lane, _USUAL), max(self._usual, LONGEST_PAUSE))

    def ended(self, flight: Flight, now: datetime) -> bool:
        """Note how the end of a batch was found; return whether its lane is polled as usual from now on, and was not.

        A webhook of up to one poll interval ago counts, since results may take a moment to be readable. A batch that
        this bridge has stopped says nothing about webhooks, and neither does one that a person had polled.
        """
        lane = flight.batch.terms.lane
        if flight.told_at is not None and abs(now - flight.told_at) <= max(self._usual, timedelta(minutes=1)):
            self._factors[lane] = min(self._factors.get(lane, _USUAL) * 2, MOST)
            return False
        if flight.asked or flight.is_stopped:
            return False
        return self._factors.pop(lane, None) is not None

    def restore(self, flight: Flight, now: datetime) -> None:
        """Have a batch polled as usual again; one whose provider cannot be reached keeps the pause it was asked for."""
        flight.pause = min(flight.pause, self._usual)
        if not flight.failures:
            flight.due = min(flight.due, now + flight.pause)
