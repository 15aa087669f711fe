"""A chat model whose calls go through a batch. It looks like an instance of the model's own class."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import WeakValueDictionary

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable, RunnableConfig, RunnableWithFallbacks
from langgraph.errors import GraphBubbleUp
from pydantic import PrivateAttr

from batch_bridge._core.policy.flush_policy import FlushPolicy
from batch_bridge._core.policy.lanes import LaneName
from batch_bridge._core.policy.mode import Mode
from batch_bridge._core.wording.log import logger_of
from batch_bridge._dropin.asker import Asker
from batch_bridge._node.link import Named
from batch_bridge._node.running_loop import is_on_loop
from batch_bridge.batcher import Batcher
from batch_bridge.bridge import Bridge
from batch_bridge.langchain import _sibling_barrier as _barrier
from batch_bridge.langchain import _told
from batch_bridge.langchain._costs import collected, with_costs
from batch_bridge.langchain._exception_tunnel import ExceptionTunnel
from batch_bridge.langchain._interrupt_aware import (
    pass_interrupts,
    with_interrupt_aware_fallbacks,
    with_interrupt_aware_retry,
)
from batch_bridge.langchain._stream import chunk_of, generation_chunk
from batch_bridge.langchain._transport import refuse_credentials
from batch_bridge.langchain._vendors import Vendor

logger = logger_of(__name__)

if TYPE_CHECKING:
    _Base = BaseChatModel  # what it is mixed with, and no base of its own: its fields would hide the model's
else:
    _Base = object
_lines_lock = threading.Lock()
_has_warned = threading.Event()
"""Set once it was said that a timeout means nothing."""


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """How a model is batched.

    Attributes:
        batcher: A bridge's name, a `Bridge`, or a `Batcher`; `None` as for `wait`.
        flush: When calls that no graph makes are sent.
        deadline: How long an answer may take, where that is said here.
        mode: In which lane calls that no graph makes are answered, where that is said here.
        ladder: In which lanes, where several are.
    """

    batcher: str | Named | Batcher | None
    flush: FlushPolicy
    deadline: timedelta | None = None
    mode: Mode | None = None
    ladder: tuple[LaneName, ...] | None = None


@dataclass(frozen=True, slots=True)
class _Line:
    """An instance's way to its batches.

    Attributes:
        asker: Sends the requests.
        fields: What the twin that makes the calls has in place of the model's own clients.
        client: What holds the credentials of the model's own calls.
    """

    asker: Asker
    fields: dict[str, Any]
    client: object


class BatchedModel(_Base):
    """What a batched model has before its own class: calls are made by a twin, whose clients lead to a batch.

    The model's own clients stay as they are, for everything that is no answer of the model, such as counting tokens.
    """

    _batch_settings: ClassVar[ModelSettings]
    _batch_vendor: ClassVar[Vendor]
    _batch_given: ClassVar[type[BaseChatModel]]
    _batch_askers: ClassVar["WeakValueDictionary[object, Asker]"]
    _batch_line: "_Line | None"

    # -- the call --------------------------------------------------------------------------------------------

    def _generate(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        twin, options = self._twin(kwargs), _options(kwargs)
        try:
            with _barrier.begin(), collected() as answers:
                return with_costs(twin._generate(messages, stop=stop, run_manager=run_manager, **options), answers)
        except ExceptionTunnel as crossing:
            crossing.land()

    async def _agenerate(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        twin, options = self._twin(kwargs), _options(kwargs)
        try:
            with _barrier.begin(), collected() as answers:
                result = await twin._agenerate(messages, stop=stop, run_manager=run_manager, **options)
                return with_costs(result, answers)
        except ExceptionTunnel as crossing:
            crossing.land()

    def _twin(self, options: Mapping[str, Any]) -> BaseChatModel:
        """Return the model as it is now, with clients that lead to a batch, for a call with these options.

        Raises:
            UsageError: The call names another account than the model's.
        """
        line = self._batch_line
        if line is None:
            with _lines_lock:
                line = self._batch_line = self._batch_line or _line_of(self)
        usual = getattr(self, "model_kwargs", None) or {}
        if isinstance(headers := options.get("extra_headers") or usual.get("extra_headers"), Mapping):
            refuse_credentials(headers, line.client)
        twin: BaseChatModel = self.model_copy()
        object.__setattr__(twin, "__class__", self._batch_given)
        private = twin.__pydantic_private__ or {}
        for name, value in line.fields.items():
            (private if name in private else twin.__dict__)[name] = value
        return twin

    # -- many calls at once: a batch takes them all ----------------------------------------------------------------

    def batch(self, inputs: list[Any], config: Any = None, **kwargs: Any) -> list[Any]:
        """Ask for several, all at once. `max_concurrency` is not used: a batch has no need of it."""
        if is_on_loop():
            return _pass(super().batch(inputs, _unlimited(config), **kwargs))
        return asyncio.run(self.abatch(inputs, config, **kwargs))

    async def abatch(self, inputs: list[Any], config: Any = None, **kwargs: Any) -> list[Any]:
        """Ask for several, all at once. `max_concurrency` is not used: a batch has no need of it."""
        return _pass(await super().abatch(inputs, _unlimited(config), **kwargs))

    # -- a stream is one chunk: a batch answers with a whole message ------------------------------------------------

    def stream(
        self,
        input: Any,  # noqa: A002
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> Iterator[AIMessageChunk]:
        """Stream the answer: one chunk, when it is there."""
        yield chunk_of(self.invoke(input, config, stop=stop, **kwargs))

    async def astream(
        self,
        input: Any,  # noqa: A002
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[AIMessageChunk]:
        """Stream the answer: one chunk, when it is there."""
        yield chunk_of(await self.ainvoke(input, config, stop=stop, **kwargs))

    def _should_stream(self, **_: Any) -> bool:
        return False

    def _should_use_protocol_streaming(self, **_: Any) -> bool:
        return False

    def _stream(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        yield generation_chunk(self._generate(messages, stop, run_manager, **kwargs))

    async def _astream(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        yield generation_chunk(await self._agenerate(messages, stop, run_manager, **kwargs))

    # -- what callbacks see ------------------------------------------------------------------------------------

    def _generate_with_cache(self, *args: Any, **kwargs: Any) -> ChatResult:
        run = kwargs.get("run_manager")
        try:
            with collected() as answers:
                result = super()._generate_with_cache(*args, **kwargs)
        except GraphBubbleUp:
            if run is not None:
                run.on_llm_end(_told.parked(run))
                run.handlers = []  # it has ended: no error follows
            raise
        if run is None:
            return result
        if super()._should_stream(async_api=False, **kwargs):  # a listener expects chunks
            chunk = generation_chunk(_told.retold(result) if answers.is_replay else result)
            run.on_llm_new_token(chunk.message.content, chunk=chunk)
        for ending in _told.endings(run, result, answers):
            run.on_llm_end(ending)
        return result

    async def _agenerate_with_cache(self, *args: Any, **kwargs: Any) -> ChatResult:
        run = kwargs.get("run_manager")
        try:
            with collected() as answers:
                result = await super()._agenerate_with_cache(*args, **kwargs)
        except GraphBubbleUp:
            if run is not None:
                await run.on_llm_end(_told.parked(run))
                run.handlers = []  # it has ended: no error follows
            raise
        if run is None:
            return result
        if super()._should_stream(async_api=True, **kwargs):  # a listener expects chunks
            chunk = generation_chunk(_told.retold(result) if answers.is_replay else result)
            await run.on_llm_new_token(chunk.message.content, chunk=chunk)
        for ending in _told.endings(run, result, answers):
            await run.on_llm_end(ending)
        return result

    # -- wrappers that would swallow an interrupt --------------------------------------------------------------

    def bind(self, **kwargs: Any) -> Runnable[Any, Any]:  # type: ignore[override]  # of a class of core's own
        """Bind arguments, as every model does."""
        return pass_interrupts(super().bind(**kwargs))

    def bind_tools(self, tools: Any, **kwargs: Any) -> Runnable[Any, Any]:
        """Bind tools, as the model does."""
        return pass_interrupts(super().bind_tools(tools, **kwargs))

    def with_structured_output(self, schema: Any, **kwargs: Any) -> Runnable[Any, Any]:
        """Return a runnable that answers in a schema, as the model does."""
        return pass_interrupts(super().with_structured_output(schema, **kwargs))

    def with_retry(self, **kwargs: Any) -> Runnable[Any, Any]:
        """Retry calls that failed. A thread that parks is no failure, and nothing is waited for between attempts."""
        return with_interrupt_aware_retry(super().with_retry(**kwargs))

    def with_fallbacks(self, fallbacks: Any, **kwargs: Any) -> RunnableWithFallbacks[Any, Any]:
        """Ask others where a call failed. A thread that parks is no failure."""
        return with_interrupt_aware_fallbacks(super().with_fallbacks(fallbacks, **kwargs))


def class_of(given: type[BaseChatModel], vendor: Vendor, settings: ModelSettings) -> type[BaseChatModel]:
    """Return the batched class of a class of chat models. It has that one's name, and is serialised as that one."""
    space: dict[str, Any] = {
        "__module__": given.__module__,
        "__qualname__": given.__qualname__,
        "__doc__": given.__doc__,
        "_batch_settings": settings,
        "_batch_vendor": vendor,
        "_batch_given": given,
        "_batch_askers": WeakValueDictionary(),
        "_batch_line": PrivateAttr(default=None),
        "__annotations__": {
            "_batch_settings": ClassVar[ModelSettings],
            "_batch_vendor": ClassVar[Vendor],
            "_batch_given": ClassVar[type[BaseChatModel]],
            "_batch_askers": ClassVar[WeakValueDictionary[object, Asker]],
            "_batch_line": Any,
        },
    }
    return type(given.__name__, (BatchedModel, given), space)


def in_batches(model: BaseChatModel, kind: type[BaseChatModel]) -> BaseChatModel:
    """Return a copy of a model as an instance of its batched class, without a rate limiter: batches have their own."""
    made = model.model_copy()
    object.__setattr__(made, "__class__", kind)
    object.__setattr__(made, "__pydantic_private__", {**(made.__pydantic_private__ or {}), "_batch_line": None})
    made.__dict__["rate_limiter"] = None
    return made


def _line_of(model: "BatchedModel") -> _Line:
    """Return the way of a model, whose Batcher is that of all instances of its class with an equal provider.

    `configurable_fields` makes an instance for each call.
    """
    vendor, settings = model._batch_vendor, model._batch_settings
    identity = vendor.identity(model)
    asker = model._batch_askers.get(identity)
    if asker is None:
        given = model.model_copy()  # one that does not hold the asker, which holds it
        asker = Asker(
            settings.batcher,
            lambda: Batcher(
                Bridge(
                    vendor.provider(given),
                    name="default",
                    flush=settings.flush,
                    mode=settings.mode,
                    ladder=settings.ladder,
                )
            ),
            settings.deadline,
            is_priced=True,
        )
        model._batch_askers[identity] = asker
    return _Line(asker, vendor.clients(model, asker), vendor.client_of(model))


def _pass(outputs: list[Any]) -> list[Any]:
    """Return what several calls gave; with `return_exceptions=True` the interrupt of one that parks is among it."""
    for output in outputs:
        if isinstance(output, GraphBubbleUp):
            raise output
    return outputs


def _unlimited(config: Any) -> Any:
    if isinstance(config, Sequence):
        return [_unlimited(each) for each in config]
    return config and {name: value for name, value in config.items() if name != "max_concurrency"}


def _options(kwargs: dict[str, Any]) -> dict[str, Any]:
    if kwargs.get("timeout") is not None and not _has_warned.is_set():
        _has_warned.set()
        logger.warning("batched: a timeout means nothing to a call that waits for a batch; it is not used")
    return {name: value for name, value in kwargs.items() if name not in ("stream", "stream_options", "stream_usage")}
