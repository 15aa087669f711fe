"""The one switch: in which lane requests are answered. Pure but for the environment."""

import os
from collections.abc import Sequence
from typing import Final, TypeAlias

from batch_bridge._core.policy.lanes import LANES, LaneName

Mode: TypeAlias = LaneName

VARIABLE: Final = "BATCH_BRIDGE_MODE"
"""The environment variable that sets the default."""
NAMES: Final = '"batch", "window:8h", "window:2h", "flex", "realtime"'
"""The modes, for errors."""


def resolve_mode(mode: Mode | None, *, what: str) -> Mode:
    """Return the mode that counts: the argument, else the environment's, else `"batch"`.

    Args:
        mode: The argument `mode=` as it was given.
        what: How the error names the call that it was given to, such as `wrap_openai`.

    Raises:
        ValueError: The one that counts is no mode. An empty variable counts as none.
    """
    if mode is not None:
        if mode not in LANES:
            raise ValueError(f"{what}(mode={mode!r}) is not a mode; pass {NAMES}, or None")
        return mode
    named = os.environ.get(VARIABLE) or "batch"
    if named not in LANES:
        raise ValueError(f"{VARIABLE}={named!r} is not a mode; set it to {NAMES}, or unset it")
    return named


def resolve_ladder(ladder: Sequence[str] | None, mode: str | None, *, what: str) -> tuple[LaneName, ...] | None:
    """Return the lanes of the effective ladder: the argument, else several in the environment; `None` without one.

    Args:
        ladder: The argument `ladder=` as it was given.
        mode: The argument `mode=` as it was given; it counts before the environment.
        what: As for `resolve_mode`.

    Raises:
        ValueError: A name is not a lane or comes twice, the order is not that of `LANES`, the list is empty, or a mode
            is given too.
        TypeError: The ladder is not a list.
    """
    if ladder is None:
        named = os.environ.get(VARIABLE, "")
        if mode is not None or "," not in named:
            return None
        return _lanes([each.strip() for each in named.split(",")], f"{VARIABLE}={named!r}")
    if isinstance(ladder, str) or not isinstance(ladder, Sequence):
        raise TypeError(f'{what}(ladder={ladder!r}) is no list; pass one such as ["batch", "flex", "realtime"]')
    if mode is not None:
        raise ValueError(f"{what}(ladder=…, mode={mode!r}): a ladder names its lanes itself; leave mode= out")
    return _lanes(ladder, f"{what}(ladder={ladder!r})")


def _lanes(names: Sequence[str], what: str) -> tuple[LaneName, ...]:
    for name in names:
        if name not in LANES:
            raise ValueError(f"{what}: {name!r} is no lane; the lanes are {NAMES}")
    if not names or len(set(names)) < len(names):
        raise ValueError(f"{what}: name each lane once, from the patient to the quick; the lanes are {NAMES}")
    ordered = tuple(lane for lane in LANES if lane in names)
    if ordered != tuple(names):
        raise ValueError(f"{what}: name the lanes from the patient to the quick: {', '.join(ordered)}")
    return ordered
