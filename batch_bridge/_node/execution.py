"""One execution of a node, from its start to its end: did the interrupt of a wait in it get out?

A node that catches its parking interrupt would continue with a wrong answer, and LangGraph cannot tell. LangChain's
callbacks can, which every graph of this process gets (`register_configure_hook`): the node fails in place of what it
has made up. Nothing that it has written is kept, so that the thread can run again once the node is fixed.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.runnables.config import var_child_runnable_config
from langchain_core.tracers.context import register_configure_hook
from langgraph.config import get_config
from langgraph.errors import GraphBubbleUp, GraphInterrupt, ParentCommand

from batch_bridge._compat import parked_frames
from batch_bridge._compat.langgraph import RESUME, SEND
from batch_bridge._node.swallowed import advice_for, interrupt_in, without_interrupts
from batch_bridge.errors import SwallowedInterruptError

_STEP: Final = "graph:step:"
"""What the tag of a run begins with that is the execution of a node."""


@dataclass(slots=True, eq=False)
class _Execution:
    """A node that runs.

    Attributes:
        run: The run of LangChain's that it is.
        node: Its name.
        thread: Its thread's id, as far as it is known.
        namespace: LangGraph's `checkpoint_ns` of it.
        outer: The node in which the graph was called that this one belongs to.
        parked: An interrupt of a wait was raised in it, or has come out of a node in it.
        writes: What it has written.
        error: What is to be raised in place of its end.
        ended: It has ended.
    """

    run: UUID
    node: str
    thread: str
    namespace: str
    outer: "_Execution | None"
    parked: bool = False
    writes: deque[tuple[str, Any]] | None = None
    error: Exception | None = None
    ended: bool = False

    def find_writes(self) -> None:
        """Remember where this node writes to, if it is what runs here."""
        if self.writes is None:
            try:
                configurable: Mapping[str, Any] = get_config()["configurable"]
            except (RuntimeError, KeyError):
                return
            writes = getattr(configurable.get(SEND), "__self__", None)
            if configurable.get("checkpoint_ns") == self.namespace and isinstance(writes, deque):
                self.writes = writes

    def end(self, error: BaseException | None = None) -> None:
        """Judge how it has ended: by itself, or with an error."""
        self.ended = True
        if not self.parked:
            return
        if isinstance(error, GraphInterrupt):
            if self.outer is not None:
                self.outer.parked = True
            return
        if error is None or isinstance(error, ParentCommand):
            self.error = self._swallowed()
        elif isinstance(error, Exception) and not isinstance(error, GraphBubbleUp | SwallowedInterruptError):
            self.error = self._explained(error)
        if self.outer is not None and (self.error is not None or isinstance(error, SwallowedInterruptError)):
            self.outer.parked = True  # code that catches this too has still not passed the interrupt on

    def _swallowed(self) -> Exception:
        return SwallowedInterruptError(
            f"{self} caught the interrupt that a wait, or a call of a wrapped client, raises to park it, and "
            "continued; "
            "its request was not sent. Catch RequestError, or the client's own errors, instead of Exception; or "
            "re-raise GraphBubbleUp, from langgraph.errors, first"
        )

    def _explained(self, error: Exception) -> Exception | None:
        if interrupt_in(error) is None:
            return None
        if (rest := without_interrupts(error)) is not None:
            return rest
        swallowed = SwallowedInterruptError(
            f"{self} should have parked at a wait, or a call of a wrapped client, but {type(error).__name__} "
            "was raised "
            f"instead of its interrupt; {advice_for(error)}. Its request was not sent"
        )
        swallowed.__cause__ = error
        return swallowed

    def __str__(self) -> str:
        return f"node {self.node!r} of thread {self.thread!r}" if self.thread else f"node {self.node!r}"


_current: ContextVar[_Execution | None] = ContextVar("batch_bridge_execution", default=None)


def leave_node() -> None:
    """Run outside of any node from here on, in this context: what was begun in a node may be no part of it."""
    _current.set(None)
    var_child_runnable_config.set(None)


def note_parked() -> None:
    """Note that a wait here raises its interrupt: from now on, the node has to let it pass. Idempotent."""
    if (execution := _current.get()) is not None:
        execution.find_writes()
        execution.parked = True


class _InterruptWatch(BaseCallbackHandler):
    """Follows the executions of nodes. It runs where they run, in their context, and raises nothing."""

    run_inline = True
    ignore_llm = ignore_chat_model = ignore_agent = ignore_retriever = ignore_retry = ignore_custom_event = True

    def on_chain_start(
        self,
        serialized: Any,
        inputs: Any,
        *,
        run_id: UUID,
        tags: Sequence[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """Begin an execution; what else begins tells where the one around it writes to."""
        del serialized, inputs
        outer = _current.get()
        while outer is not None and outer.ended:  # its context continues: with its next attempt, or the next node
            outer = outer.outer
        if not any(tag.startswith(_STEP) for tag in tags or ()):
            if outer is not None:
                outer.find_writes()
            return
        known = metadata or {}
        node, thread = known.get("langgraph_node", ""), known.get("thread_id") or ""
        _current.set(_Execution(run_id, node, thread, known.get("langgraph_checkpoint_ns", ""), outer))

    def on_chain_end(self, outputs: Any, *, run_id: UUID, **_: Any) -> None:
        """End an execution that has returned."""
        del outputs
        if (execution := _current.get()) is not None and execution.run == run_id:
            execution.end()

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        """End an execution that has raised."""
        if (execution := _current.get()) is not None and execution.run == run_id:
            execution.end(error)


class _Objection(BaseCallbackHandler):
    """Raises what `_InterruptWatch` has found. By itself, and after it, so that tracers hear of the run's end too."""

    raise_error = True
    ignore_llm = ignore_chat_model = ignore_agent = ignore_retriever = ignore_retry = ignore_custom_event = True

    @property
    def run_inline(self) -> bool:  # type: ignore[override]
        """Whether it is called before the handlers that are not: where it raises nothing, since that costs no task."""
        execution = _current.get()
        return execution is None or not execution.parked

    @property
    def ignore_chain(self) -> bool:
        """Whether there is nothing to raise."""
        execution = _current.get()
        return execution is None or execution.error is None

    def on_chain_end(self, outputs: Any, *, run_id: UUID, **_: Any) -> None:
        """Let a node fail that has swallowed its interrupt."""
        del outputs
        _raise(run_id)

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        """Let a node fail with what its error means."""
        del error
        _raise(run_id)


def _raise(run_id: UUID) -> None:
    execution = _current.get()
    if execution is None or execution.run != run_id or execution.error is None:
        return
    if execution.writes is not None:  # LangGraph takes a task for finished that has written something
        kept = [write for write in execution.writes if write[0] == RESUME]  # it stays, as that of any node that fails
        execution.writes.clear()
        execution.writes.extend(kept)
        execution.writes = None
    raise execution.error


for _handler in (_InterruptWatch(), _Objection()):  # in this order
    register_configure_hook(ContextVar(type(_handler).__name__, default=_handler), inheritable=True)
parked_frames.install()
