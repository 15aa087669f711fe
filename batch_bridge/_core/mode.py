"""The one switch: whether requests go through batches, or straight to the provider. Pure but for the environment."""

import os
from typing import Final, Literal, TypeAlias, cast, get_args

Mode: TypeAlias = Literal["batch", "realtime"]

VARIABLE: Final = "BATCH_BRIDGE_MODE"
"""The environment variable that sets the default."""
_MODES: Final = get_args(Mode)


def resolve_mode(mode: Mode | None, *, what: str) -> Mode:
    """Return the mode that counts: the argument, else the environment's, else `"batch"`.

    Args:
        mode: The argument `mode=` as it was given.
        what: How the error names the call that it was given to, such as `wrap_openai`.

    Raises:
        ValueError: The one that counts is no mode. An empty variable counts as none.
    """
    if mode is not None:
        if mode not in _MODES:
            raise ValueError(f'{what}(mode={mode!r}) is not a mode; pass "batch", "realtime", or None')
        return mode
    named = os.environ.get(VARIABLE) or "batch"
    if named not in _MODES:
        raise ValueError(f'{VARIABLE}={named!r} is not a mode; set it to "batch" or "realtime", or unset it')
    return cast("Mode", named)
