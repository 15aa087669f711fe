"""A batch of the API, which it calls an operation, as far as we need it. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, NotRequired, TypeAlias, TypedDict, cast

from batch_bridge._core.models import JSON, Cancelled, Errored, Expired, InProgress, Outcome
from batch_bridge.providers._shared.clean_text import clean, masked
from batch_bridge.providers._shared.ids import is_resource
from batch_bridge.providers.gemini._result import read_error

EXPIRED: Final = (
    "the batch was not done after 48 hours, and has no results then; it can be sent again, in smaller batches"
)
CANCELLED: Final = "the batch was cancelled, and shows no answer to this request; it can be sent again"

_LONGEST_STATE: Final = 64
State: TypeAlias = Literal["succeeded", "partially_succeeded", "failed", "cancelled", "expired"]
_ENDS: Final = ("succeeded", "partially_succeeded", "failed", "cancelled", "expired")
_RUNS: Final = ("queued", "pending", "running", "cancelling", "paused", "updating")
"""Source: ai.google.dev/api/batch-api, "BatchState", and `JobState` of the SDK."""


class GeminiUpload(TypedDict):
    """What `prepare` leaves. Times are seconds since the epoch.

    Attributes:
        input_file: The uploaded file, or `None` if the requests go into the create call.
        messages: Of those that do: whether the answers are to be LangChain messages, or the places of those whose are.
            Not in what an earlier version left.
    """

    input_file: str | None
    model: str
    uploaded_at: int
    messages: NotRequired[bool | list[int]]


class GeminiHandle(TypedDict):
    """What any process needs to poll a batch, and a person to look it up. `messages` is as in `GeminiUpload`."""

    name: str
    key: str
    input_file: str | None
    model: str
    created_at: int
    messages: NotRequired[bool | list[int]]


@dataclass(frozen=True, slots=True)
class GeminiJob:
    """A batch as the API returns it; everything but the name may be missing.

    Attributes:
        name: `batches/…`.
        state: Its state without the prefix, in lower case.
        key: Its display name, which is ours.
        created_at: Seconds since the epoch, by the provider's clock.
        input_file: The file of its requests; `None` if they came inside, or if the API does not say.
        responses_file: The file of its results.
        inlined: Its results, if they came inside.
        ran: Requests that were answered well, and `counted` all of which something is known.
        error: Why it failed.
    """

    name: str
    state: str
    key: str | None
    created_at: int
    input_file: str | None
    responses_file: str | None
    inlined: Sequence[Any] | None
    ran: int | None
    counted: int | None
    total: int | None
    error: object

    @property
    def end(self) -> State | None:
        """How it ended, or `None`."""
        return cast("State", self.state) if self.state in _ENDS else None

    @property
    def is_known(self) -> bool:
        """Whether its state is one that we know."""
        return self.state in _ENDS or self.state in _RUNS

    @property
    def has_results(self) -> bool:
        """Whether there is something to read."""
        return self.responses_file is not None or self.inlined is not None

    @property
    def awaits_results(self) -> bool:
        """Whether it has succeeded, so that it has results, and where they are is late; its counts may be late too."""
        return self.end in ("succeeded", "partially_succeeded") and not self.has_results

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
                why = read_error(self.error)
                said = masked(why.message) if self.error else "no reason was given"
                return Errored(
                    f"batch {self.name} failed, so none of its requests ran: {said}",
                    code=why.code if self.error else "batch_failed",
                    retryable=why.retryable and self.error is not None,
                )
            case _:
                return Errored(
                    f"batch {self.name} is {self.state}, and its results do not name this request",
                    code="missing_result",
                    retryable=True,
                )


def read_job(seen: object) -> GeminiJob | None:
    """Return a batch, or `None` if the API answered with something else."""
    if not isinstance(seen, Mapping) or not is_resource(name := seen.get("name"), "batches"):
        return None
    metadata = _object(seen, "metadata")
    output = _object(metadata, "output") or _object(seen, "response")
    stats = _object(metadata, "batchStats")
    total, pending = _whole(stats, "requestCount"), _whole(stats, "pendingRequestCount")
    inlined = _object(output, "inlinedResponses").get("inlinedResponses")
    state = clean(str(metadata.get("state") or ""), _LONGEST_STATE)
    return GeminiJob(
        name=name,
        state=state.removeprefix("BATCH_STATE_").removeprefix("JOB_STATE_").lower(),
        key=_text(metadata, "displayName"),
        created_at=_moment(metadata.get("createTime")),
        input_file=_text(_object(metadata, "inputConfig"), "fileName"),
        responses_file=_text(output, "responsesFile"),
        inlined=inlined if isinstance(inlined, list) else None,
        ran=_whole(stats, "successfulRequestCount"),
        counted=None if total is None or pending is None else total - pending,
        total=total,
        error=seen.get("error"),
    )


def write_handle(job: GeminiJob, key: str, upload: GeminiUpload, *, created_at: int) -> JSON:
    """Return what the ledger is to keep of a batch."""
    return {
        "name": job.name,
        "key": key,
        "input_file": job.input_file or upload["input_file"],
        "model": upload["model"],
        "created_at": created_at,
        **({"messages": cast("JSON", upload["messages"])} if upload.get("messages") else {}),
    }


def read_upload(prepared: JSON) -> GeminiUpload:
    """Return what `prepare` left."""
    return cast("GeminiUpload", prepared)


def read_handle(handle: JSON) -> GeminiHandle:
    """Return what `submit` or `find` left."""
    return cast("GeminiHandle", handle)


def _object(seen: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = seen.get(name)
    return value if isinstance(value, Mapping) else {}


def _text(seen: Mapping[str, Any], name: str) -> str | None:
    value = seen.get(name)
    return value if isinstance(value, str) and value else None


def _whole(seen: Mapping[str, Any], name: str) -> int | None:
    """Return a count, which this API writes as a string, and leaves out where it is 0."""
    if not seen:
        return None
    try:
        return int(seen.get(name, 0))
    except (TypeError, ValueError):
        return None


def _moment(text: object) -> int:
    try:
        return int(datetime.fromisoformat(str(text)).timestamp())
    except ValueError:
        return 0
