"""A batch, and the law of its statuses.

::

    validating ──▶ in_progress ──▶ finalizing ──▶ completed
        │ │            │               │ └──────▶ expired
        │ │            └───────────────┤
        │ └──▶ cancelling ◀────────────┘
        ▼          └──▶ cancelled
      failed
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Self

import orjson

from batch_bridge.testing._server.errors import BatchServerError

Status = Literal["validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled"]

NEXT: dict[Status, frozenset[Status]] = {
    "validating": frozenset({"in_progress", "failed", "cancelling"}),
    "in_progress": frozenset({"finalizing", "cancelling", "failed"}),
    "finalizing": frozenset({"completed", "expired", "cancelling", "failed"}),
    "cancelling": frozenset({"cancelled", "failed"}),
    "completed": frozenset(),
    "expired": frozenset(),
    "cancelled": frozenset(),
    "failed": frozenset(),
}
ENDED: frozenset[Status] = frozenset(status for status, after in NEXT.items() if not after)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedBatch:
    """One batch, as it is stored; times in seconds since the epoch.

    Attributes:
        ordinal: Its place among all batches; draws depend on it.
        visible_at: From when on clients can see it; before that it has not read its input file.
        order_seed: What its order of lines is shuffled by; `None` keeps the input's order.
        ending: What `finalizing` leads to.
        total: Lines of the input; 0 until validated.
        done: How many of them ran.
        tokens: What it counts for in the limit of enqueued tokens.
        output_file_id: Reserved from the start; shown once the file exists.
        error_file_id: The same.
        output_bytes: Committed length of the output; what is beyond it was never written.
        error_bytes: The same for the error file.
        seen: Whether a client has retrieved it.
        announced: Whether its end was announced by webhook.
    """

    id: str
    ordinal: int
    tenant: str
    endpoint: str
    input_file_id: str
    metadata: dict[str, str] | None
    output_expires_after: int | None
    order_seed: str | None
    created_at: float
    visible_at: float
    expires_at: float
    output_file_id: str
    error_file_id: str
    status: Status = "validating"
    ending: Literal["completed", "expired"] = "completed"
    in_progress_at: float | None = None
    finalizing_at: float | None = None
    completed_at: float | None = None
    failed_at: float | None = None
    expired_at: float | None = None
    cancelling_at: float | None = None
    cancelled_at: float | None = None
    model: str | None = None
    total: int = 0
    done: int = 0
    completed: int = 0
    failed: int = 0
    tokens: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    output_bytes: int = 0
    error_bytes: int = 0
    errors: tuple[dict[str, object], ...] = ()
    seen: bool = False
    announced: bool = False

    @property
    def ended(self) -> bool:
        """Whether nothing will change any more."""
        return self.status in ENDED

    @property
    def has_output(self) -> bool:
        """Whether it shows an output file; that is empty if a fault has taken all of its lines."""
        return self.ended and bool(self.output_bytes or self.completed)

    def without_results(self) -> Self:
        """The batch as it looks while its results, and what it counts, are late."""
        return replace(self, output_bytes=0, error_bytes=0, completed=0, failed=0, done=0, total=0)

    @property
    def ended_at(self) -> float | None:
        """When it ended."""
        return self.completed_at or self.failed_at or self.expired_at or self.cancelled_at

    def to(self, status: Status, now: float, **changes: Any) -> Self:
        """The batch in another status, with its time stamped.

        Raises:
            BatchServerError: The law above does not allow it.
        """
        if status not in NEXT[self.status]:
            raise BatchServerError(f"batch {self.id} is {self.status} and cannot become {status}.")
        stamped: dict[str, Any] = {"status": status, f"{status}_at": now}
        return replace(self, **stamped, **changes)

    def dump(self) -> bytes:
        """The record for the database."""
        return orjson.dumps(asdict(self))

    @classmethod
    def load(cls, record: bytes) -> Self:
        """The opposite of `dump`."""
        data = orjson.loads(record)
        return cls(**(data | {"errors": tuple(data["errors"])}))

    def wire(self, *, status: str | None = None) -> dict[str, object]:
        """The batch object as the API shows it.

        Args:
            status: Shown in place of the true one, for the fault `unknown_status`.
        """
        return {
            "id": self.id,
            "object": "batch",
            "endpoint": self.endpoint,
            "model": self.model,
            "errors": {"object": "list", "data": list(self.errors)} if self.errors else None,
            "input_file_id": self.input_file_id,
            "completion_window": "24h",
            "status": status or self.status,
            "output_file_id": self.output_file_id if self.has_output else None,
            "error_file_id": self.error_file_id if self.ended and self.error_bytes else None,
            "created_at": int(self.created_at),
            "in_progress_at": _whole(self.in_progress_at),
            "expires_at": int(self.expires_at),
            "finalizing_at": _whole(self.finalizing_at),
            "completed_at": _whole(self.completed_at),
            "failed_at": _whole(self.failed_at),
            "expired_at": _whole(self.expired_at),
            "cancelling_at": _whole(self.cancelling_at),
            "cancelled_at": _whole(self.cancelled_at),
            "request_counts": {"total": self.total, "completed": self.completed, "failed": self.failed},
            "usage": {
                "input_tokens": self.input_tokens,
                "input_tokens_details": {"cached_tokens": self.cached_tokens},
                "output_tokens": self.output_tokens,
                "output_tokens_details": {"reasoning_tokens": self.reasoning_tokens},
                "total_tokens": self.input_tokens + self.output_tokens,
            },
            "metadata": self.metadata,
        }


def problem(code: str, message: str, *, line: int | None = None, param: str | None = None) -> dict[str, object]:
    """One entry of a batch's `errors.data`."""
    return {"code": code, "line": line, "message": message, "param": param}


def usage_of(body: object) -> tuple[int, int, int, int]:
    """Input, cached, output and reasoning tokens of an answer, from any spelling of `usage`."""
    if isinstance(body, Mapping) and isinstance(gemini := body.get("usageMetadata"), Mapping):
        names = ("promptTokenCount", "cachedContentTokenCount", "candidatesTokenCount", "thoughtsTokenCount")
        prompt, cached, candidates, thoughts = (_count(gemini, name) for name in names)
        return prompt, cached, candidates + thoughts, thoughts
    usage = body.get("usage") if isinstance(body, Mapping) else None
    if not isinstance(usage, Mapping):
        return 0, 0, 0, 0
    into = usage.get("input_tokens_details") or usage.get("prompt_tokens_details")
    out = usage.get("output_tokens_details") or usage.get("completion_tokens_details")
    return (
        _count(usage, "input_tokens") or _count(usage, "prompt_tokens"),
        _count(into, "cached_tokens"),
        _count(usage, "output_tokens") or _count(usage, "completion_tokens"),
        _count(out, "reasoning_tokens"),
    )


def _count(usage: object, name: str) -> int:
    value = usage.get(name) if isinstance(usage, Mapping) else None
    return value if isinstance(value, int) else 0


def _whole(moment: float | None) -> int | None:
    return None if moment is None else int(moment)
