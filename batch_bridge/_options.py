"""What a Runner hands on to the graph's `ainvoke`: its options by name, and a config in LangGraph's full form."""

import difflib
import inspect
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, TypedDict

from langchain_core.runnables import RunnableConfig
from langgraph.pregel import Pregel
from langgraph.types import All, Durability, StreamMode


class InvokeOptions(TypedDict, total=False):
    """Options of LangGraph's `ainvoke`, besides its input, config and context. Each is handed on as it is given."""

    stream_mode: StreamMode
    print_mode: StreamMode | Iterable[StreamMode]
    output_keys: str | Iterable[str] | None
    interrupt_before: All | Iterable[str] | None
    interrupt_after: All | Iterable[str] | None
    durability: Durability | None
    control: Any
    version: Literal["v1", "v2"]
    subgraphs: bool
    debug: bool | None


_OWN: Final = ("input", "inputs", "config", "context")
"""What `ainvoke` takes besides, and a Runner's methods name themselves."""
_OF_CONFIG: Final = frozenset(RunnableConfig.__annotations__)
_COORDINATES: Final = ("thread_id", "checkpoint_id", "checkpoint_ns")


def check_options(called: str, options: Mapping[str, object], graph: object, named: Iterable[str]) -> None:
    """Refuse an option that nothing takes: LangGraph would swallow it.

    Args:
        called: The method, as its caller wrote it.
        options: What it was given besides what it names.
        graph: The graph, or its builder; whose `ainvoke` says what it takes.
        named: What the method names itself, besides its first argument.

    Raises:
        TypeError: There is no such option; says which one was meant, or where it goes.
    """
    taken = _taken_by(graph)
    own = [*named]
    for option in options:
        if option not in taken:
            raise TypeError(f"Runner.{called}({option}=…): {_where(option, own, taken)}")


def full_config(config: RunnableConfig) -> RunnableConfig:
    """Return a config whose unknown keys are `configurable`, as LangGraph takes `{"thread_id": …}`."""
    own: dict[str, Any] = {name: value for name, value in config.items() if name not in _OF_CONFIG}
    if not own:
        return config
    known: Any = {name: value for name, value in config.items() if name in _OF_CONFIG}
    known["configurable"] = {**known.get("configurable", {}), **own}
    full: RunnableConfig = known
    return full


def _taken_by(graph: object) -> list[str]:
    """Return what the graph's `ainvoke` takes by name; it hands on to `astream` what it does not know."""
    methods = [Pregel.ainvoke, Pregel.astream, getattr(graph, "ainvoke", None)]
    names = dict.fromkeys(
        each.name
        for method in methods
        if callable(method)
        for each in inspect.signature(method).parameters.values()
        if each.kind in (each.KEYWORD_ONLY, each.POSITIONAL_OR_KEYWORD) and each.name not in ("self", *_OWN)
    )
    return list(names)


def _where(option: str, named: list[str], taken: list[str]) -> str:
    if option in _COORDINATES:
        return f'it takes no such option; name the thread in its config: config={{"configurable": {{{option!r}: …}}}}'
    if option == "run_id":
        return (
            "a run is what abatch() runs over many inputs; one thread is named in its config: "
            'config={"configurable": {"thread_id": …}}'
        )
    if option in _OF_CONFIG:
        return f"it takes no such option; give it in the config: config={{{option!r}: …}}"
    near = difflib.get_close_matches(option, [*named, *taken, *_OF_CONFIG], n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return (
        f"it takes no such option; {hint}It takes {', '.join(named)}, and of the graph's ainvoke() {', '.join(taken)}"
    )
