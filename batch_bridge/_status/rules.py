"""What happens to a request or a thread that has failed in some way, in a line."""

from typing import Final

_RETRYABLE: Final = (
    "it may pass: it was sent again as often as attempts= allows; the same command with the same run_id sends it again"
)
_LASTING: Final = "it is not retried: correct the request; the same command with the same run_id sends it again"
_RULES: Final = {
    "expired": (
        "the provider's window closed before it ran; it was not billed, and was sent again as often as attempts= allows"
    ),
    "cancelled": "it was cancelled; the same command with the same run_id sends it again",
    "item_too_large": "it is larger than the provider takes: make the item smaller",
    "invalid_item": "the provider does not take such an item: correct it",
    "tenant_limit": "its user had too much waiting: ask again later, or raise per_tenant=",
    "budget_exceeded": "it would have passed a budget: give a higher budget, and run the same command again",
    "NondeterministicNodeError": "its node asks for something else each time: build the request earlier, or give key=",
    "SwallowedInterruptError": "its node catches the interrupt: catch RequestError there, not Exception",
}


def rule(code: str, kind: str, *, retryable: bool) -> str:
    """Return what applies to a request that has ended this way.

    Args:
        code: The cause.
        kind: `errored`, `expired` or `cancelled`.
        retryable: The same request may succeed later.
    """
    return _RULES.get(code) or _RULES.get(kind) or (_RETRYABLE if retryable else _LASTING)


def thread_rule(code: str) -> str:
    """Return what applies to a thread that has ended with a request's code, or an error of this name."""
    return _RULES.get(code, "the thread has ended with it: the same command with the same run_id runs it again")
