"""LangGraph agents on batch APIs: half the price, one line, nothing lost, nothing paid twice.

In a node::

    answer = await wait(item, batcher="bridge")

Around the graph::

    async with Runner(graph, Bridge(OpenAIBatch(model="gpt-4o-mini")), path="run.db") as runner:
        results = await runner.abatch(inputs, run_id="eval-7")
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from batch_bridge._cache import CacheStats, ResponseCache
    from batch_bridge._core.models import (
        CachedPrefix,
        Cancelled,
        Ended,
        Errored,
        Expired,
        InProgress,
        Limits,
        Measure,
        Outcome,
        Request,
        Succeeded,
        Usage,
    )
    from batch_bridge._core.payload.interrupt_payload import is_bridge_interrupt
    from batch_bridge._core.pending import Pending, PendingBatch
    from batch_bridge._core.policy.flush_policy import FlushPolicy, QueueSummary
    from batch_bridge._core.provider import Provider
    from batch_bridge._dropin.openai import wrap_openai
    from batch_bridge._engine.waiting.tenants import TenantLimits
    from batch_bridge._host.report import Report
    from batch_bridge._money import Budget, Cost, Price, Prices, Quote
    from batch_bridge._node.gather import TaskGroup, gather
    from batch_bridge._node.wait import wait, wait_many, wait_many_sync, wait_sync
    from batch_bridge.batcher import Batcher
    from batch_bridge.bridge import Bridge, Deadline
    from batch_bridge.bridge._config import load_bridges
    from batch_bridge.errors import (
        BatchBridgeError,
        BatchFailed,
        BudgetExceeded,
        RequestCancelled,
        RequestError,
        RequestExpired,
        RequestFailed,
        ResultPending,
    )
    from batch_bridge.jobs import Jobs
    from batch_bridge.runner import Runner

__version__ = "0.1.0"

__all__ = [
    "BatchBridgeError",
    "BatchFailed",
    "Batcher",
    "Bridge",
    "Budget",
    "BudgetExceeded",
    "CacheStats",
    "CachedPrefix",
    "Cancelled",
    "Cost",
    "Deadline",
    "Ended",
    "Errored",
    "Expired",
    "FlushPolicy",
    "InProgress",
    "Jobs",
    "Limits",
    "Measure",
    "Outcome",
    "Pending",
    "PendingBatch",
    "Price",
    "Prices",
    "Provider",
    "QueueSummary",
    "Quote",
    "Report",
    "Request",
    "RequestCancelled",
    "RequestError",
    "RequestExpired",
    "RequestFailed",
    "ResponseCache",
    "ResultPending",
    "Runner",
    "Succeeded",
    "TaskGroup",
    "TenantLimits",
    "Usage",
    "gather",
    "is_bridge_interrupt",
    "load_bridges",
    "wait",
    "wait_many",
    "wait_many_sync",
    "wait_sync",
    "wrap_openai",
]

_MODULES: Final = {
    "BatchBridgeError": "batch_bridge.errors",
    "BatchFailed": "batch_bridge.errors",
    "Batcher": "batch_bridge.batcher",
    "Bridge": "batch_bridge.bridge",
    "Budget": "batch_bridge._money",
    "BudgetExceeded": "batch_bridge.errors",
    "CacheStats": "batch_bridge._cache",
    "CachedPrefix": "batch_bridge._core.models",
    "Cancelled": "batch_bridge._core.models",
    "Cost": "batch_bridge._money",
    "Deadline": "batch_bridge.bridge",
    "Ended": "batch_bridge._core.models",
    "Errored": "batch_bridge._core.models",
    "Expired": "batch_bridge._core.models",
    "FlushPolicy": "batch_bridge._core.policy.flush_policy",
    "InProgress": "batch_bridge._core.models",
    "Jobs": "batch_bridge.jobs",
    "Limits": "batch_bridge._core.models",
    "Measure": "batch_bridge._core.models",
    "Outcome": "batch_bridge._core.models",
    "Pending": "batch_bridge._core.pending",
    "PendingBatch": "batch_bridge._core.pending",
    "Price": "batch_bridge._money",
    "Prices": "batch_bridge._money",
    "Provider": "batch_bridge._core.provider",
    "QueueSummary": "batch_bridge._core.policy.flush_policy",
    "Quote": "batch_bridge._money",
    "Report": "batch_bridge._host.report",
    "Request": "batch_bridge._core.models",
    "RequestCancelled": "batch_bridge.errors",
    "RequestError": "batch_bridge.errors",
    "RequestExpired": "batch_bridge.errors",
    "RequestFailed": "batch_bridge.errors",
    "ResponseCache": "batch_bridge._cache",
    "ResultPending": "batch_bridge.errors",
    "Runner": "batch_bridge.runner",
    "Succeeded": "batch_bridge._core.models",
    "TaskGroup": "batch_bridge._node.gather",
    "TenantLimits": "batch_bridge._engine.waiting.tenants",
    "Usage": "batch_bridge._core.models",
    "gather": "batch_bridge._node.gather",
    "is_bridge_interrupt": "batch_bridge._core.payload.interrupt_payload",
    "load_bridges": "batch_bridge.bridge._config",
    "wait": "batch_bridge._node.wait",
    "wait_many": "batch_bridge._node.wait",
    "wait_many_sync": "batch_bridge._node.wait",
    "wait_sync": "batch_bridge._node.wait",
    "wrap_openai": "batch_bridge._dropin.openai",
}
"""Where the public names are: nothing is imported before it is needed, so that commands start at once."""

_SUBMODULES: Final = frozenset({"batcher", "bridge", "errors", "events", "jobs", "providers", "runner"})


def __getattr__(name: str) -> object:
    if name in _SUBMODULES:
        return import_module(f"batch_bridge.{name}")
    if name not in _MODULES:
        raise AttributeError(f"module 'batch_bridge' has no attribute {name!r}")
    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
