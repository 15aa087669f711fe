"""The public function `batched`."""

import functools
import warnings
from collections.abc import Sequence
from datetime import timedelta
from typing import TypeVar

from langchain_core.language_models import BaseChatModel

from batch_bridge._core.durations import Duration, Within, duration
from batch_bridge._core.policy.flush_policy import FlushPolicy
from batch_bridge._core.policy.lanes import LaneName
from batch_bridge._core.policy.mode import Mode, resolve_ladder, resolve_mode
from batch_bridge._dropin.asker import check_batcher
from batch_bridge._node.link import Named
from batch_bridge.batcher import Batcher
from batch_bridge.langchain._model import BatchedModel, ModelSettings, class_of, in_batches
from batch_bridge.langchain._pooled import pooled
from batch_bridge.langchain._vendors import vendor_of

_USUAL = FlushPolicy(max_idle=1, max_age=timedelta(minutes=30))

Model = TypeVar("Model", bound=BaseChatModel)


def batched(
    model: Model,
    batcher: str | Named | Batcher | None = None,
    *,
    mode: Mode | None = None,
    ladder: Sequence[LaneName] | None = None,
    max_idle: Duration = 1,
    max_age: Within = timedelta(minutes=30),
    max_concurrency: int = 16,
    deadline: Within = None,
) -> Model:
    """Return a copy of a chat model whose calls go through a batch, at half the price.

    ::

        agent = create_agent(batched(ChatOpenAI(model="gpt-4o-mini")), tools=[...])

    In a node of a LangGraph graph, a call is answered by the bridge that `batcher` names, and the thread parks, as in
    `batch_bridge.wait`. Outside graphs, the model uses its own `Batcher`, which sends the waiting calls once no other
    call has arrived for `max_idle`. The copy appears to be of the same class; the given model does not
    change.

    `ChatOpenAI`, `AzureChatOpenAI`, `ChatAnthropic` and `ChatGoogleGenerativeAI` go through a batch. Any other model
    makes realtime calls, at most `max_concurrency` at a time, and a warning says so.

    Args:
        model: A chat model. Bind tools and arguments afterwards.
        batcher: A bridge's name, a `Bridge`, or a `Batcher`, which is then asked always. Left out, it is the Runner's
            only bridge, else `"bridge"`.
        mode: `"batch"`; `"realtime"` for the model as it was given; or another lane of the model's vendor, such as
            `"flex"`, for the model's own `Batcher`: in nodes the bridge's own mode counts. `None`: what the environment
            variable `BATCH_BRIDGE_MODE` says, and else `"batch"`.
        ladder: Several lanes instead, for the model's own `Batcher`: see `Bridge`. In nodes the bridge's own counts.
        max_idle: Outside of graphs, how long to wait for other calls (a duration).
        max_age: Outside of graphs, the longest that a call waits for others. A `Batcher` has both for itself.
        max_concurrency: Realtime calls at a time, of a model that no batch takes.
        deadline: How long an answer may take (a duration); then it is called in realtime, or answered by
            the bridge's fallback: see `batch_bridge.wait`.

    Raises:
        TypeError: It is not a chat model, or it is already batched.
        ValueError: The mode, or another argument, is invalid; or `max_idle` or `max_age` is passed together
            with a `Batcher`.
    """
    if not isinstance(model, BaseChatModel):
        hint = (
            "wrap the model first, and bind afterwards: batched(model).bind_tools(…)"
            if isinstance(getattr(model, "bound", None), BaseChatModel)
            else "pass a chat model, such as batched(ChatOpenAI(model=…))"
        )
        raise TypeError(f"batched({type(model).__name__} object) is not a chat model; {hint}")
    if isinstance(model, BatchedModel):
        raise TypeError(f"batched({type(model).__name__} object): this model is already batched; use it unchanged")
    if max_concurrency < 1:
        raise ValueError(f"batched(max_concurrency={max_concurrency!r}) would never call; pass at least 1")
    check_batcher(batcher, what="batched")
    lanes = resolve_ladder(ladder, mode, what="batched")
    resolved = "batch" if lanes else resolve_mode(mode, what="batched")
    settings = ModelSettings(
        batcher,
        FlushPolicy(max_idle=max_idle, max_age=max_age),
        duration(deadline),
        None if mode is None else resolved,
        None if ladder is None else lanes,
    )
    if isinstance(batcher, Batcher) and settings.flush != _USUAL:
        raise ValueError(
            "batched(model, Batcher(…), max_idle= or max_age=): a Batcher has its own settings; pass them to it: "
            "Batcher(…, flush=FlushPolicy(max_idle=…, max_age=…))"
        )
    if resolved == "realtime":
        return model
    vendor = vendor_of(type(model))
    if vendor is None:
        warnings.warn(
            f"batched({type(model).__name__} object): no batch API is known for this class, so its calls are made in "
            f"realtime, at full price and at most {max_concurrency} at a time",
            stacklevel=2,
        )
        return pooled(model, max_concurrency)  # type: ignore[return-value]  # of a subclass of its class
    kind = type(model)
    made = _shared_class(kind, settings) if isinstance(batcher, str | None) else class_of(kind, vendor, settings)
    return in_batches(model, made)  # type: ignore[return-value]  # as above


@functools.lru_cache(maxsize=256)
def _shared_class(given: type[BaseChatModel], settings: ModelSettings) -> type[BaseChatModel]:
    """Return `class_of`, cached, because creating a class takes some milliseconds."""
    vendor = vendor_of(given)
    assert vendor is not None  # noqa: S101  # it was looked up before
    return class_of(given, vendor, settings)
