"""An answer that a node is given once more: a waiting node runs again from its first line for every answer."""

from dataclasses import dataclass

from batch_bridge._core.models import Outcome, Succeeded


@dataclass(frozen=True, slots=True)
class Replayed(Succeeded):
    """An answer that the node was given before: by an earlier resume, or in an attempt that has failed.

    What counts usage counts it then. A process that is killed in the middle of a node is the exception: LangGraph keeps
    nothing of that execution, so the answer is delivered again and is new again.
    """


def replayed(outcome: Outcome) -> Outcome:
    """Return an outcome as one that was given before; one without an answer stays as it is."""
    return Replayed(outcome.answer, outcome.cost) if isinstance(outcome, Succeeded) else outcome
