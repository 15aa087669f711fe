"""What LangGraph's `ainvoke` takes besides an input, a config and a context, and what is told of anything else."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal, TypedDict

from langgraph.types import All, Durability, StreamMode


class InvokeOptions(TypedDict, total=False):
    """Keyword arguments that a Runner hands on to the graph's `ainvoke`; LangGraph documents each."""

    stream_mode: StreamMode
    print_mode: StreamMode | Sequence[StreamMode]
    output_keys: str | Sequence[str] | None
    interrupt_before: All | Sequence[str] | None
    interrupt_after: All | Sequence[str] | None
    durability: Durability | None
    version: Literal["v1", "v2"]
    debug: bool | None


HANDED_ON: Final = tuple(InvokeOptions.__annotations__)
_THREAD: Final = 'a thread is named by its config: config={"configurable": {"thread_id": …}}'


def check_options(called: str, options: Mapping[str, Any], own: Iterable[str]) -> None:
    """Refuse keyword arguments that neither the Runner's method nor LangGraph's `ainvoke` knows.

    Args:
        called: The method.
        options: The keyword arguments that are not its own.
        own: Those that are.

    Raises:
        TypeError: One is unknown; it says what may have been meant.
    """
    for name in options:
        if name in HANDED_ON:
            continue
        own = tuple(own)
        close = difflib.get_close_matches(name, [*own, *HANDED_ON], n=1, cutoff=0.7)
        if name == "thread_id":
            hint = _THREAD
        elif name == "run_id":
            hint = f"run_id= names a run of many inputs, abatch(inputs, run_id=…); {_THREAD}"
        elif close:
            hint = f"did you mean {close[0]}=?"
        else:
            hint = f"it takes {', '.join(own)}, and LangGraph's {', '.join(HANDED_ON)}"
        raise TypeError(f"{called} got an unexpected keyword argument {name!r}; {hint}")
