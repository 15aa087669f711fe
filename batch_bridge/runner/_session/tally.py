"""How many threads have ended in a session: a thread of a run once, however many calls of it there were."""

from collections.abc import Iterable
from typing import Protocol


class Counted(Protocol):
    """What is asked of a call."""

    run_id: str
    done: int
    ended_before: int

    @property
    def is_one(self) -> bool:
        """Whether it is a call for one thread."""
        ...

    @property
    def is_named(self) -> bool:
        """Whether the run can be continued."""
        ...


class Tally:
    """The threads of the calls that have ended. It grows with the runs that have a name, and not with their threads."""

    def __init__(self) -> None:
        self._of_run: dict[str, int] = {}
        self._others = 0

    def add(self, call: Counted) -> None:
        """Count a call that has ended."""
        if call.is_named and not call.is_one:
            self._of_run[call.run_id] = max(self._of_run.get(call.run_id, 0), call.done)
        else:
            self._others += call.done - call.ended_before

    def threads(self, calls: Iterable[Counted]) -> int:
        """Return how many threads have ended, with those of calls under way."""
        now = Tally()
        now._of_run, now._others = dict(self._of_run), self._others  # its own
        for call in calls:
            now.add(call)
        return sum(now._of_run.values()) + now._others

    def of_run(self, run_id: str, calls: Iterable[Counted]) -> int:
        """Return how many threads of a run have ended in this session, or had ended before and were read again."""
        return max((each.done for each in calls if each.run_id == run_id), default=self._of_run.get(run_id, 0))
