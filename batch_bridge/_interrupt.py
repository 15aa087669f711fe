"""The interrupt with which a task parks: LangGraph's own, but silent about what it carries."""

from collections.abc import Iterable

from langgraph.errors import GraphInterrupt
from langgraph.types import Interrupt


class TaskParked(GraphInterrupt):
    """A task parks until its requests are answered.

    To LangGraph it is a `GraphInterrupt`. Its text does not hold the requests: tracing libraries and event loops log the
    text of what they take for a failure, and prompts do not belong there.
    """

    def __init__(self, interrupts: Iterable[Interrupt]) -> None:
        super().__init__(tuple(interrupts))

    def __str__(self) -> str:
        return "this task is parked until its requests are answered; it is no failure, let the interrupt pass"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"


def merged(raised: Iterable[GraphInterrupt]) -> TaskParked:
    """Return one interrupt for several. Those of waits that share an execution are one, with one id."""
    return TaskParked({each.id: each for one in raised for each in one.args[0]}.values())
