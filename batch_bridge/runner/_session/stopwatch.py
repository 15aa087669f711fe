"""Where a session's time goes: one of three states at any moment."""

import time
from collections.abc import Callable
from typing import Literal

State = Literal["langgraph", "bridge", "waiting"]


class Stopwatch:
    """Adds up seconds by state."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._since = clock()
        self._state: State = "waiting"
        self._seconds: dict[State, float] = {"langgraph": 0.0, "bridge": 0.0, "waiting": 0.0}

    def switch(self, state: State) -> None:
        """Count the time since the last switch to the old state, and continue in the new one."""
        now = self._clock()
        self._seconds[self._state] += now - self._since
        self._since, self._state = now, state

    def seconds(self) -> dict[State, float]:
        """Return the sums up to now."""
        self.switch(self._state)
        return dict(self._seconds)
