"""A Runner's types for type checkers: those that it takes from its graph, and its options."""

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.store.base import BaseStore
from typing_extensions import TypeVar

from batch_bridge._core.durations import Duration, Within
from batch_bridge._host.callbacks import CallbackOptions
from batch_bridge._host.notify import Notify
from batch_bridge._money import Budget

if TYPE_CHECKING:
    from _typeshed import DataclassInstance
    from pydantic import BaseModel

StateT = TypeVar("StateT", default=Any)
"""What a thread's result is."""
ContextT = TypeVar("ContextT", default=Any)
"""The graph's run context."""
ModelT = TypeVar("ModelT", bound="BaseModel | DataclassInstance")
"""A state that LangGraph returns as a `dict`."""


class RunnerOptions(CallbackOptions, total=False):
    """The keyword arguments of a Runner, as `Runner` describes them."""

    path: str | os.PathLike[str]
    checkpointer: BaseCheckpointSaver[Any] | None
    store: BaseStore | None
    types: Iterable[type]
    patience: Duration
    store_patience: Duration
    give_up_after: Within
    budget: Budget | None
    max_concurrency: int | None
    relax_gc: bool
    progress: bool | None
    notify: Notify | None
