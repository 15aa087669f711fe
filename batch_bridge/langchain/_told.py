"""What callbacks receive at the end of a call: each answer's usage once, and LangSmith its cost.

A waiting node runs again from its first line for every answer, so a call may be answered several times, and each time
is a run of its own. The first is told with its usage, the others with the answer and a usage of zero. What the node
gets is the same each time.

LangSmith takes a run's cost from `usage_metadata` in the run's metadata, where `LangChainTracer` copies it from the
message. Without a cost it multiplies the tokens by its own prices, which are not those of a batch; without tokens it
may count some itself. So it receives the cost wherever that is known, and zero where nothing was paid. No other handler
does: LangChain adds `usage_metadata` up as whole numbers, and raises at others.

Source: https://docs.langchain.com/langsmith/cost-tracking; langsmith.schemas.UsageMetadata;
langchain_core.tracers.langchain.LangChainTracer._on_llm_end; langchain_core.utils.usage._dict_int_op.
"""

import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

from langchain_core.callbacks import BaseCallbackHandler, CallbackManagerForLLMRun
from langchain_core.callbacks.manager import AsyncCallbackManagerForLLMRun
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult, LLMResult

from batch_bridge.langchain._costs import Collected

PARKED: Final = {"batch_bridge": "parked"}
"""The `llm_output` with which the run of a call ends whose thread has been parked; it holds no message."""
REPLAYED: Final = {"batch_bridge": "replayed"}
"""The `llm_output` that ends the run of a call whose answer was reported before."""
_NO_TOKENS: Final = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
_NO_COST: Final = {**_NO_TOKENS, "total_cost": 0}
_USAGES: Final = frozenset({"batch_bridge", "token_usage", "usage", "usage_metadata"})
"""Where vendors' classes leave the usage of a message beside its `usage_metadata`, and we what was paid."""

ModelRun = CallbackManagerForLLMRun | AsyncCallbackManagerForLLMRun


def parked(run: ModelRun) -> LLMResult:
    """Return the result for the callbacks of a call whose thread parks. It ends their run: no error follows."""
    for tracer in run.handlers:
        if _is_langsmith(tracer) and (traced := cast("Any", tracer).run_map.get(str(run.run_id))) is not None:
            traced.metadata["usage_metadata"] = dict(_NO_COST)
    return LLMResult(generations=[[]], llm_output=dict(PARKED))


def endings(run: ModelRun, result: ChatResult, answers: Collected) -> Iterator[LLMResult]:
    """Yield the results that callbacks receive now at a call's end; `run` has only their handlers meanwhile.

    At the end `run` has the other handlers, which receive LangChain's own result.
    """
    handlers = run.handlers
    tracers = [each for each in handlers if _is_langsmith(each)]
    others = [each for each in handlers if not _is_langsmith(each)]
    if answers.is_replay:
        yield from _to(run, tracers, _ended(retold(result, _NO_COST), REPLAYED))
        yield from _to(run, others, _ended(retold(result, _NO_TOKENS), REPLAYED))
        run.handlers = []
    elif tracers and answers.paid is not None and len(result.generations) == 1:
        generation = result.generations[0]
        usage = {**(_usage_of(generation) or {}), "total_cost": float(answers.paid)}
        told = result.model_copy(update={"generations": [_with_usage(generation, usage)]})
        yield from _to(run, tracers, _ended(told, result.llm_output))
        run.handlers = others


def retold(result: ChatResult, usage: Mapping[str, Any] = _NO_TOKENS) -> ChatResult:
    """Return a result that was reported before: the same answers, without their usage and cost."""
    return ChatResult(
        generations=[_without_usage(each, {} if number else usage) for number, each in enumerate(result.generations)],
        llm_output=dict(REPLAYED),
    )


def _is_langsmith(handler: BaseCallbackHandler) -> bool:
    """Return whether a handler reports to LangSmith. It does not import the tracer's module, which costs time."""
    module = sys.modules.get("langchain_core.tracers.langchain")
    return module is not None and isinstance(handler, module.LangChainTracer)


def _to(run: ModelRun, handlers: list[BaseCallbackHandler], told: LLMResult) -> Iterator[LLMResult]:
    if handlers:
        run.handlers = handlers
        yield told


def _ended(result: ChatResult, output: Mapping[str, Any] | None) -> LLMResult:
    return LLMResult(generations=[list(result.generations)], llm_output=dict(output) if output is not None else None)


def _usage_of(generation: ChatGeneration) -> Mapping[str, Any] | None:
    message = generation.message
    return message.usage_metadata if isinstance(message, AIMessage) else None


def _without_usage(generation: ChatGeneration, usage: Mapping[str, Any]) -> ChatGeneration:
    message = generation.message
    rest = {name: value for name, value in message.response_metadata.items() if name not in _USAGES}
    info = generation.generation_info
    cleared = generation.model_copy(
        update={
            "message": message.model_copy(update={"response_metadata": {**rest, **REPLAYED}}),
            "generation_info": info and {name: value for name, value in info.items() if name not in _USAGES},
        }
    )
    return _with_usage(cleared, usage)


def _with_usage(generation: ChatGeneration, usage: Mapping[str, Any]) -> ChatGeneration:
    message = generation.message
    if not isinstance(message, AIMessage):
        return generation
    told = message.model_copy(update={"usage_metadata": dict(usage) or None})
    return generation.model_copy(update={"message": told})
