"""A Batcher's types for type checkers: those of its items and answers, and its options."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias, TypedDict

from typing_extensions import TypeVar

from batch_bridge._cache import ResponseCache
from batch_bridge._core.durations import Duration, Within
from batch_bridge._core.policy.flush_policy import FlushPolicy
from batch_bridge._core.policy.lanes import LaneName
from batch_bridge._core.provider import Provider
from batch_bridge._host.callbacks import CallbackOptions
from batch_bridge._host.notify import Notify
from batch_bridge._money import Budget
from batch_bridge.bridge import Deadline
from batch_bridge.bridge._mode_switch import AnyMode
from batch_bridge.providers._callables import Poll, Submit

ItemT = TypeVar("ItemT", default=Any)
"""What is asked."""
AnswerT = TypeVar("AnswerT", default=Any)
"""What it is answered with."""

Results: TypeAlias = Sequence[AnswerT | Exception] | Mapping[Any, AnswerT | Exception] | Exception | None
"""What `poll_func` returns."""
ShouldFlush: TypeAlias = Callable[[list[Any], Any], bool]
OnPending: TypeAlias = Literal["wait", "raise"]


class DescribedOptions(TypedDict, total=False):
    """The keyword arguments of a Batcher that describe its bridge, but for its two functions."""

    max_batch_size: int
    max_batch_age: Within
    should_flush_func: ShouldFlush | None
    flush: FlushPolicy | None
    name: str
    poll_interval: Duration
    poll_patience: Within
    cache: ResponseCache | None
    dedupe: bool
    mode: AnyMode | None
    realtime_below: int | None
    ladder: Sequence[LaneName] | None
    deadline: Deadline | Within
    fallback: Provider | None
    budget: Budget | None
    notify: Notify | None


class PoolOptions(DescribedOptions):
    """The same, with the two functions."""

    submit_func: Submit | None
    poll_func: Poll | None


class BatcherOptions(DescribedOptions, CallbackOptions, total=False):
    """The keyword arguments of a Batcher, as `Batcher` describes them, but for its two functions."""

    give_up_after: Within
    path: str | os.PathLike[str] | None
    on_pending: OnPending
    retention: Duration
    relax_gc: bool
