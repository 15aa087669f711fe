"""The options of LangGraph's `ainvoke` besides an input, a config and a context, and the errors for all others."""

import difflib
import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal, TypedDict

from langchain_core.runnables import RunnableConfig
from langgraph.pregel import Pregel
from langgraph.types import All, Durability, StreamMode


class InvokeOptions(TypedDict, total=False):
    """Keyword arguments that a Runner hands on to the graph's `ainvoke`; LangGraph documents each."""

    stream_mode: StreamMode
    print_mode: StreamMode | Sequence[StreamMode]
    output_keys: str | Sequence[str] | None
    interrupt_before: All | Sequence[str] | None
    interrupt_after: All | Sequence[str] | None
    durability: Durability | None
    control: Any
    version: Literal["v1", "v2"]
    subgraphs: bool
    debug: bool | None


class SameResult(TypedDict, total=False):
    """Those of `InvokeOptions` that leave the form of the result as it is."""

    print_mode: StreamMode | Sequence[StreamMode]
    interrupt_before: All | Sequence[str] | None
    interrupt_after: All | Sequence[str] | None
    durability: Durability | None
    control: Any
    debug: bool | None


class StreamOptions(TypedDict, total=False):
    """Keyword arguments that a Runner hands on to the graph's `astream`; LangGraph documents each."""

    stream_mode: StreamMode | Sequence[StreamMode] | None
    print_mode: StreamMode | Sequence[StreamMode]
    output_keys: str | Sequence[str] | None
    interrupt_before: All | Sequence[str] | None
    interrupt_after: All | Sequence[str] | None
    durability: Durability | None
    control: Any
    version: Literal["v1", "v2"]
    subgraphs: bool
    debug: bool | None


INVOKE: Final = ("input", "config", "attach", "on_pending", "context")
"""A single call's own arguments."""
BATCH: Final = ("inputs", "config", "run_id", "return_exceptions", "on_pending", "max_concurrency", "context")
"""Those of a call for many inputs."""
_TAKEN: Final = frozenset(inspect.signature(Pregel.ainvoke).parameters) | frozenset(
    inspect.signature(Pregel.astream).parameters
)
HANDED_ON: Final = tuple(name for name in InvokeOptions.__annotations__ if name in _TAKEN)
"""Those of them that this LangGraph takes."""
_OF_CONFIG: Final = frozenset(RunnableConfig.__annotations__)
_THREAD: Final = 'a thread is named by its config: config={"configurable": {"thread_id": …}}'


def check_options(called: str, options: Mapping[str, Any], own: Iterable[str], graph: object = None) -> None:
    """Refuse keyword arguments that neither the Runner's method nor the graph's `ainvoke` knows.

    Args:
        called: The method.
        options: The keyword arguments that are not its own.
        own: Those that are.
        graph: The graph, whose `ainvoke` may take more than LangGraph's.

    Raises:
        TypeError: One is unknown; it says what may have been meant, or where it goes.
    """
    taken = (*HANDED_ON, *_beyond(graph))
    own = tuple(own)
    for name in options:
        if name in taken:
            continue
        close = difflib.get_close_matches(name, [*own, *taken], n=1, cutoff=0.7)
        if name in ("thread_id", "checkpoint_id", "checkpoint_ns"):
            hint = _THREAD.replace("thread_id", name)
        elif name == "run_id":
            hint = f"run_id= names a run of many inputs, abatch(inputs, run_id=…); {_THREAD}"
        elif name in _OF_CONFIG:
            hint = f"it goes into the config: config={{{name!r}: …}}"
        elif close:
            hint = f"did you mean {close[0]}=?"
        else:
            hint = f"it accepts {', '.join(own)}, and LangGraph's {', '.join(taken)}"
        raise TypeError(f"{called} got an unexpected keyword argument {name!r}; {hint}")


def full_config(config: RunnableConfig) -> RunnableConfig:
    """Return a config whose unknown keys are `configurable`, as LangGraph takes `{"thread_id": …}`."""
    own: dict[str, Any] = {name: value for name, value in config.items() if name not in _OF_CONFIG}
    if not own:
        return config
    known: Any = {name: value for name, value in config.items() if name in _OF_CONFIG}
    known["configurable"] = {**known.get("configurable", {}), **own}
    full: RunnableConfig = known
    return full


def _beyond(graph: object) -> list[str]:
    """Return what the `ainvoke` of a graph of the user's own takes by name, besides what LangGraph's does."""
    method = getattr(graph, "ainvoke", None)
    parameters = inspect.signature(method).parameters.values() if callable(method) else ()
    return [each.name for each in parameters if each.kind is each.KEYWORD_ONLY and each.name not in _TAKEN]
