"""LangGraph agents on batch APIs: half the price, one line, nothing lost, nothing paid twice.

In a node::

    answer = await wait(item, batcher="bridge")

Around the graph::

    async with Runner(graph, Bridge(OpenAIBatch(model="gpt-4o-mini")), path="run.db") as runner:
        results = await runner.abatch(inputs, run_id="eval-7")
"""

from typing import TYPE_CHECKING

from batch_bridge._cache import CacheStats, ResponseCache
from batch_bridge._core.flush_policy import FlushPolicy, QueueSummary
from batch_bridge._core.interrupt_payload import is_bridge_interrupt
from batch_bridge._core.models import (
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
from batch_bridge._core.pending import Pending, PendingBatch
from batch_bridge._core.provider import Provider
from batch_bridge._engine.tenants import TenantLimits
from batch_bridge._host.report import Report
from batch_bridge._money import Budget, Cost, Price, Prices, Quote
from batch_bridge._node.wait import TaskGroup, gather, wait, wait_many, wait_many_sync, wait_sync
from batch_bridge.batcher import Batcher
from batch_bridge.bridge import Bridge
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
from batch_bridge.runner import Runner

if TYPE_CHECKING:  # an SDK is imported when it is needed
    from batch_bridge._config import load_bridges
    from batch_bridge._dropin.openai import wrap_openai
    from batch_bridge.jobs import Jobs

__version__ = "0.1.0"

__all__ = [
    "BatchBridgeError",
    "BatchFailed",
    "Batcher",
    "Bridge",
    "Budget",
    "BudgetExceeded",
    "CacheStats",
    "Cancelled",
    "Cost",
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


def __getattr__(name: str) -> object:
    if name == "wrap_openai":
        from batch_bridge._dropin.openai import wrap_openai  # noqa: PLC0415

        return wrap_openai
    if name == "load_bridges":
        from batch_bridge._config import load_bridges  # noqa: PLC0415

        return load_bridges
    if name == "Jobs":
        from batch_bridge.jobs import Jobs  # noqa: PLC0415

        return Jobs
    raise AttributeError(f"module 'batch_bridge' has no attribute {name!r}")
