"""Draws that depend on the seed and on what is drawn for, never on the order of events."""

from collections import Counter
from collections.abc import Callable
from dataclasses import fields
from hashlib import blake2b
from typing import cast

from batch_bridge.testing._server.switches.faults import Faults
from batch_bridge.testing._server.switches.settings import Settings

_SCALE = float(1 << 64)


def draw(seed: int, *key: object) -> float:
    """A number in [0, 1) that is always the same for the same seed and key."""
    text = "\0".join(map(str, (seed, *key)))
    return int.from_bytes(blake2b(text.encode(errors="replace"), digest_size=8).digest(), "big") / _SCALE


class SeededRandom:
    """Says whether a fault hits.

    Not thread-safe but for `hits`, which only reads.

    Args:
        settings: Asked for the settings at each draw, so that a change holds at once.
    """

    def __init__(self, settings: Callable[[], Settings]) -> None:
        self._settings = settings
        self._turns: Counter[str] = Counter()
        self._left: dict[str, int] = {}
        self.fired: Counter[str] = Counter()

    @property
    def faults(self) -> Faults:
        """The faults as they are set now."""
        return self._settings().faults

    def load(self, options: set[str]) -> None:
        """Restart the `next_…` counters among these options."""
        faults = self._settings().faults
        for f in fields(Faults):
            if f.name.startswith("next_") and f.name in options:
                self._left[f.name] = getattr(faults, f.name)

    def hits(self, fault: str, *key: object) -> bool:
        """Whether the fault hits what the key names; the same answer until the share or the seed changes."""
        settings = self._settings()
        share = cast(float, getattr(settings.faults, fault))
        return share > 0 and draw(settings.seed, fault, *key) < share

    def pick_status(self, *key: object) -> int:
        """Which of the statuses for failing lines the key draws."""
        settings = self._settings()
        statuses = settings.faults.line_failure_status
        return statuses[int(draw(settings.seed, "line_failure_status", *key) * len(statuses))]

    def strikes(self, fault: str) -> bool:
        """Whether the fault hits this call; uses up a `next_…` counter, and counts what it hit."""
        left = self._left.get(f"next_{fault}", 0)
        if left > 0:
            self._left[f"next_{fault}"] = left - 1
            hit = True
        else:
            self._turns[fault] += 1
            hit = self.hits(fault, self._turns[fault])
        self.fired[fault] += hit
        return hit
