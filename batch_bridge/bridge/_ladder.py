"""The ladder of a bridge, as its arguments say it: named lanes, or a deadline with a fallback."""

import math
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final

from batch_bridge._core.policy.flush_policy import FlushPolicy
from batch_bridge._core.policy.ladder import Rung
from batch_bridge._core.policy.lanes import LaneName, lanes_of, no_lane, open_lane
from batch_bridge._core.policy.mode import VARIABLE
from batch_bridge._core.policy.vendor_terms import VendorTerms
from batch_bridge._core.provider import Provider, has_realtime
from batch_bridge._core.wording.log import logger_of
from batch_bridge._engine.waiting.ladder import Ladder, LadderLane, OnDeadline
from batch_bridge._money import share_of
from batch_bridge.bridge._deadline import Deadline
from batch_bridge.bridge._mode_switch import ModeSwitch
from batch_bridge.providers._callables import CallableProvider

logger = logger_of(__name__)

_DAY: Final = timedelta(hours=24)
_PROMISES: Final[Mapping[str, timedelta]] = {
    "window:8h": timedelta(hours=8),
    "window:2h": timedelta(hours=2),
    "flex": timedelta(minutes=15),
    "realtime": timedelta(minutes=1),
}
"""How long an answer takes in a lane, until enough is known of what it took. A batch takes what its provider promises.

Source: developers.openai.com/api/docs/guides/background and /flex-processing,
ai.google.dev/gemini-api/docs/flex-inference ("1-15 minutes").
"""
_STOPS: Final[Mapping[str, timedelta]] = {
    "batch": timedelta(minutes=10),
    "window:8h": timedelta(minutes=1),
    "window:2h": timedelta(minutes=1),
    "flex": timedelta(seconds=5),
}
"""How long a lane takes to stop. Source: platform.openai.com/docs/guides/batch ("up to 10 minutes")."""


def ladder_of(
    provider: Provider,
    names: Sequence[LaneName],
    deadline: Deadline,
    *,
    flush: FlushPolicy,
    terms: VendorTerms,
) -> Ladder:
    """Return the ladder of named lanes; that of the bridge's own provider is `home_of` them.

    Args:
        provider: The provider of the lanes.
        names: The lanes, from the patient to the quick.
        deadline: How long a request may take, and what becomes of a batch that is late.
        flush: When the home is sent.
        terms: How long the provider works on a batch.
    """
    home = home_of(names)
    lanes = []
    for name in names:
        is_pooled = name == "batch"
        promise = _PROMISES.get(name) or (_DAY if terms.window is None else timedelta(seconds=terms.window))
        pools = flush.max_age if is_pooled and isinstance(flush.max_age, timedelta) else timedelta(0)
        share = float(share_of(name, getattr(provider, "vendor", None)))
        rung = Rung(name, share, promise, _STOPS.get(name, timedelta(0)), pools)
        who = None if name == home else ModeSwitch(provider, math.inf, open_lane(provider, name), name)
        is_single = name == "flex" and name != names[-1]
        lanes.append(LadderLane(rung, who, is_single=is_single, is_pooled=is_pooled))
    return Ladder(tuple(lanes), deadline.after, deadline.then, is_strict=True, chooses=True)


def home_of(names: Sequence[LaneName]) -> LaneName:
    """Return the lane whose requests wait for the flush policy: batches, or else the first."""
    return "batch" if "batch" in names else names[0]


def check_lanes(provider: Provider, names: Sequence[LaneName], *, is_argument: bool, what: str) -> tuple[LaneName, ...]:
    """Return the lanes of a ladder that a provider has.

    Args:
        provider: The provider of the lanes.
        names: The lanes.
        is_argument: Whether they were passed. Else the environment names them, and missing lanes are left out.
        what: The object with this argument, for the error.

    Raises:
        ValueError: The provider lacks one of them; the error lists those that it has.
    """
    known = lanes_of(provider)
    for name in names:
        if name in known:
            continue
        if is_argument:
            raise ValueError(f"{what}(ladder={list(names)!r}): {no_lane(provider, name)}")
        logger.warning("%s is %r, but %s; that lane is left out", VARIABLE, ",".join(names), no_lane(provider, name))
    return tuple(name for name in names if name in known) or ("batch",)


def deadline_of(deadline: Deadline, provider: Provider, fallback: Provider | None) -> Ladder:
    """Return the two lanes of a bridge with a deadline: its own, and the fallback, in realtime if it has that."""
    then: OnDeadline = "pay_again" if isinstance(provider, CallableProvider) else deadline.then  # it cannot cancel
    chosen = provider if fallback is None else fallback
    if has_realtime(chosen):
        return Ladder.of_fallback(deadline.after, then, ModeSwitch(chosen, math.inf), is_own=fallback is None)
    return Ladder.of_fallback(deadline.after, then, fallback)
