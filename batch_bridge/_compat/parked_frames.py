"""A run that has parked is freed at once, and not when the garbage collector finds it.

Where a node raises, LangGraph keeps the traceback in a variable of the frame that the traceback begins with
(`tb` in `PregelRunner.atick`, and in `tick`). So that frame holds itself, and with it all of the run: its loop, its
channels and its tasks, some two hundred containers for each thread that parks at one of our interrupts. As that
exception leaves the loop the frame has ended, and is cleared here. `tests/unit/compat/test_parked_frames.py` fails when
one of these names vanishes; then memory is freed later, and nothing else changes.
"""

import contextlib
import functools
from types import TracebackType
from typing import Any

from langgraph.errors import GraphInterrupt
from langgraph.pregel import _loop, _runner
from langgraph.types import Interrupt

from batch_bridge._core.payload.interrupt_payload import MARKER

LEAVES = "_suppress_interrupt"
"""The method of `PregelLoop` that is told of the exception that a run ends with."""
TICKS = ("tick", "atick")
"""The methods of `PregelRunner` whose frames hold a traceback that begins with themselves."""


def install() -> None:
    """Free the runs of all graphs of this process that park at our interrupts. Idempotent."""
    loop, runner = getattr(_loop, "PregelLoop", None), getattr(_runner, "PregelRunner", None)
    leave = getattr(loop, LEAVES, None)
    ticks = frozenset(code for name in TICKS if (code := getattr(getattr(runner, name, None), "__code__", None)))
    if leave is None or not ticks or hasattr(leave, "__wrapped__"):
        return

    @functools.wraps(leave)
    def leave_and_clear(
        self: Any, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Any:
        try:
            return leave(self, kind, error, trace)
        finally:
            if isinstance(error, GraphInterrupt) and _is_ours(error):
                while trace is not None:
                    if trace.tb_frame.f_code in ticks:
                        with contextlib.suppress(RuntimeError):  # it still runs
                            trace.tb_frame.clear()
                    trace = trace.tb_next

    setattr(loop, LEAVES, leave_and_clear)


def _is_ours(error: GraphInterrupt) -> bool:
    """Return whether one of our interrupts is in it. A node may raise it with anything: this never raises."""
    held = error.args[0] if error.args else ()
    if not isinstance(held, list | tuple):
        return False
    values = [each.value for each in held if isinstance(each, Interrupt)]
    return any(isinstance(value, dict) and MARKER in value for value in values)
