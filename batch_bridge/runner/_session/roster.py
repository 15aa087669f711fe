"""The calls of a session: which are under way, and what has become of the others."""

from collections import Counter

from batch_bridge._host.eta import Whereabouts
from batch_bridge._status.models import Threads, Wave
from batch_bridge.runner._run import Run
from batch_bridge.runner._session.run_rows import EndedRuns, Row
from batch_bridge.runner._session.tally import Tally


class Roster:
    """Counts the threads of a session's calls.

    Attributes:
        calls: Those that are under way.
    """

    def __init__(self) -> None:
        self.calls: set[Run] = set()
        self._shown = EndedRuns()
        self._tally = Tally()
        self._done = self._ended_before = self._rounds = 0

    def end(self, call: Run) -> None:
        """Count a call out that was under way."""
        self.calls.discard(call)
        self._shown.add(call)
        self._tally.add(call)
        self._done += call.done
        self._ended_before += call.ended_before

    @property
    def done(self) -> int:
        """Threads that have ended, failed ones too."""
        return self._done + sum(call.done for call in self.calls)

    @property
    def ended_before(self) -> int:
        """Threads that had ended before, and whose results were read again."""
        return self._ended_before + sum(call.ended_before for call in self.calls)

    def threads(self, run_id: str | None = None) -> int:
        """Return how many threads have ended, of all runs or of one; those of a run count once."""
        return self._tally.threads(self.calls) if run_id is None else self._tally.of_run(run_id, self.calls)

    def take_rows(self) -> dict[str, Row]:
        """Return how far the calls are, for a journal; those that have ended are told once."""
        return self._shown.take(self.calls)

    def whereabouts(self) -> Whereabouts:
        """Return where the threads are of the calls that are under way."""
        totals = [call.total for call in self.calls]
        total = None if None in totals else sum(each or 0 for each in totals)
        waves: Counter[int] = Counter()
        asks: Counter[int] = Counter()
        for call in self.calls:
            waves.update(call.waves)
            asks.update(call.asks)
        self._rounds = max([self._rounds, *(each for call in self.calls for each in call.rounds)])
        parked = tuple(Wave(step, count, asks[step]) for step, count in sorted(waves.items()) if count > 0)
        live = sum(call.live for call in self.calls) - waves.total()
        threads = Threads(total, sum(call.done for call in self.calls), live, waves.total(), 0)
        return threads, parked, self._rounds or None
