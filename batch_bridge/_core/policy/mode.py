"""The one switch: in which lane requests are answered. Pure but for the environment."""

import os
from typing import Final, TypeAlias

from batch_bridge._core.policy.lanes import LANES, LaneName

Mode: TypeAlias = LaneName

VARIABLE: Final = "BATCH_BRIDGE_MODE"
"""The environment variable that sets the default."""
NAMES: Final = '"batch", "realtime", "flex", "window:2h", "window:8h"'
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
