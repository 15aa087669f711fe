"""A batch object of the API, as far as we need it. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias, cast

from batch_bridge._core.models import Cancelled, Errored, Expired, InProgress, Outcome, Usage
from batch_bridge.providers._shared.clean_text import clean, masked
from batch_bridge.providers._shared.failures.error_text import PASSING, said
from batch_bridge.providers._shared.ids import is_id
from batch_bridge.providers.openai._result import CANCELLED, EXPIRED

KEY: Final = "batch_bridge_key"
"""The metadata field that holds our own name for a batch."""

End: TypeAlias = Literal["completed", "failed", "expired", "cancelled"]
_ENDS: Final = ("completed", "failed", "expired", "cancelled")
_RUNS: Final = ("validating", "in_progress", "finalizing", "cancelling")
_LONGEST_STATUS: Final = 64
_SHOWN: Final = 3
"""Errors of a failed batch that are repeated to each of its requests."""
_PASSING: Final = PASSING | {"token_limit_exceeded"}
"""Codes of failed batches that the same requests may not meet again."""


@dataclass(frozen=True, slots=True)
class OpenAIBatchObject:
    """A batch as the API returns it; gateways omit fields, so everything but the id may be missing.

    Attributes:
        created_at: Seconds since the epoch, by the provider's clock.
        ran: Requests that were answered well, and `counted` all of which something is known.
        problems: Why it failed.
    """

    id: str
    status: str
    key: str | None
    input_file_id: str | None
    output_file_id: str | None
    error_file_id: str | None
    endpoint: str | None
    created_at: int
    ran: int | None
    counted: int | None
    total: int | None
    problems: tuple[Mapping[str, Any], ...]
    usage: Usage | None

    @property
    def end(self) -> End | None:
        """How it ended, or `None`."""
        return cast("End", self.status) if self.status in _ENDS else None

    @property
    def is_known(self) -> bool:
        """Whether its status is one that we know."""
        return self.status in _ENDS or self.status in _RUNS

    @property
    def awaits_file(self) -> bool:
        """Whether it has ended and has results according to its counts, but no id of their file yet.

        The counts may be late, too: what is completed and has no output file has results, unless the error file is
        there and every request is counted as failed, or the API counts none (Together).
        """
        if self.output_file_id is not None:
            return False
        if self.end == "completed":
            failed = (self.counted or 0) - (self.ran or 0)
            all_failed = self.total is None or (failed > 0 and failed == self.total)
            return not (all_failed and self.error_file_id is not None)
        return self.end in ("expired", "cancelled") and bool(self.ran)

    def progress(self) -> InProgress:
        """Return how far it has come."""
        return InProgress(self.counted, self.total)

    def missing(self) -> Outcome:
        """Return the outcome of the requests that an ended batch does not mention."""
        match self.end:
            case "expired":
                return Expired(EXPIRED)
            case "cancelled":
                return Cancelled(CANCELLED)
            case "failed":
                return self._failure()
            case _:
                return Errored(
                    f"batch {self.id} is {self.status}, and its files do not name this request",
                    code="missing_result",
                    retryable=True,
                )

    def _failure(self) -> Errored:
        said = "; ".join(map(_problem, self.problems[:_SHOWN]))
        more = f"; and {len(self.problems) - _SHOWN} more" if len(self.problems) > _SHOWN else ""
        code = next((str(each["code"]) for each in self.problems if each.get("code")), "batch_failed")
        return Errored(
            f"batch {self.id} failed, so none of its requests ran: {said or 'no reason was given'}{more}",
            code=code,
            retryable=code in _PASSING,
        )


def read_batch(seen: object, *, model: str = "", status: Callable[[str], str] = str.lower) -> OpenAIBatchObject | None:
    """Return a batch object of the SDK, or `None` if the API answered with something else.

    Args:
        seen: What the SDK returned.
        model: What the tokens are billed at if the object does not say.
        status: Turns the server's word for a status into OpenAI's.
    """
    batch_id = getattr(seen, "id", None)
    if not is_id(batch_id):
        return None
    counts = getattr(seen, "request_counts", None)
    completed, failed = _whole(counts, "completed"), _whole(counts, "failed")
    metadata = getattr(seen, "metadata", None)
    key = metadata.get(KEY) if isinstance(metadata, Mapping) else None
    return OpenAIBatchObject(
        id=batch_id,
        status=clean(status(str(getattr(seen, "status", ""))), _LONGEST_STATUS),
        key=key if isinstance(key, str) else None,
        input_file_id=_text(seen, "input_file_id"),
        output_file_id=_text(seen, "output_file_id"),
        error_file_id=_text(seen, "error_file_id"),
        endpoint=_text(seen, "endpoint"),
        created_at=_moment(getattr(seen, "created_at", None)),
        ran=completed,
        counted=None if completed is None else completed + (failed or 0),
        total=_whole(counts, "total"),
        problems=_problems(getattr(seen, "errors", None)) or _problems(getattr(seen, "error", None)),
        usage=_usage(getattr(seen, "usage", None), _text(seen, "model") or model),
    )


def _problems(errors: object) -> tuple[Mapping[str, Any], ...]:
    """Return a batch's errors: a list in `data`, or, of other servers, a bare list, a text or an object."""
    data = errors.get("data") if isinstance(errors, Mapping) else getattr(errors, "data", None)
    found = data if isinstance(data, list) else errors
    many = found if isinstance(found, list) else [found]
    return tuple(problem for each in many if any((problem := _read_problem(each)).values()))


def _read_problem(each: object) -> dict[str, Any]:
    plain = each
    if not isinstance(each, str | list | Mapping):  # an object of the SDK
        plain = {name: getattr(each, name, None) for name in ("code", "line", "message", "error", "type")}
    code, message = said(plain)
    return {"code": code, "line": plain.get("line") if isinstance(plain, Mapping) else None, "message": message}


def _problem(problem: Mapping[str, Any]) -> str:
    where = f"line {problem['line']}: " if problem.get("line") is not None else ""
    return masked(f"{where}{problem.get('message') or problem.get('code') or 'no message'}").rstrip(".")


def _usage(usage: object, model: str) -> Usage | None:
    given, made = _whole(usage, "input_tokens"), _whole(usage, "output_tokens")
    if given is None or made is None:
        return None
    return Usage(model, given, made, _whole(getattr(usage, "input_tokens_details", None), "cached_tokens") or 0)


def _moment(time: object) -> int:
    """Return seconds since the epoch; some servers write ISO 8601. 0 is unknown."""
    if isinstance(time, str):
        try:
            return int(datetime.fromisoformat(time).timestamp())
        except ValueError:
            return 0
    return int(time) if isinstance(time, int | float) else 0


def _text(seen: object, name: str) -> str | None:
    value = getattr(seen, name, None)
    return value if isinstance(value, str) and value else None


def _whole(seen: object, name: str) -> int | None:
    value = getattr(seen, name, None)
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
