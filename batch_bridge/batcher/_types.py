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
from batch_bridge._engine.telemetry import Telemetry
from batch_bridge._engine.waiting.ladder import OnDeadline
from batch_bridge._host.callbacks import OnEvent, OnItem, OnProgress
from batch_bridge._host.notify import Notify
from batch_bridge._money import Budget, Price, Prices
from batch_bridge.bridge._mode_switch import AnyMode
from batch_bridge.providers._callables import Find

ItemT = TypeVar("ItemT", default=Any)
"""What is asked."""
AnswerT = TypeVar("AnswerT", default=Any)
"""What it is answered with."""

Results: TypeAlias = Sequence[AnswerT | Exception] | Mapping[Any, AnswerT | Exception] | Exception | None
"""What `poll_func` returns."""
ShouldFlush: TypeAlias = Callable[[list[Any], Any], bool]
OnPending: TypeAlias = Literal["wait", "raise"]


class BatcherOptions(TypedDict, total=False):
    """The keyword arguments of a Batcher, as `Batcher` describes them, but for its two functions."""

    find_func: Find | None
    max_batch_size: int
    max_batch_age: Within
    max_batch_idle: Within
    should_flush_func: ShouldFlush | None
    name: str
    poll_interval: Duration
    poll_patience: Within
    give_up_after: Within
    path: str | os.PathLike[str] | None
    on_pending: OnPending
    retention: Duration
    flush: FlushPolicy | None
    cache: ResponseCache | None
    dedupe: bool
    mode: AnyMode | None
    realtime_below: int | None
    ladder: Sequence[LaneName] | None
    attempts: int
    deadline: Within
    on_deadline: OnDeadline
    fallback: Provider | None
    prices: Prices | Mapping[str, Price] | None
    budget: Budget | None
    telemetry: Telemetry | None
    on_event: OnEvent | None
    on_progress: OnProgress | None
    on_item: OnItem | None
    on_complete: OnProgress | None
    callback_workers: int
    relax_gc: bool
    notify: Notify | None
