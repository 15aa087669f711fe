"""What the lanes of a provider do not have by their nature, each with the reason."""

from collections.abc import Mapping
from typing import Final

_NO_LINES: Final = dict.fromkeys(
    (
        "line_failure",
        "missing_line",
        "doubled_line",
        "unknown_line",
        "garbled_line",
        "dirty_line",
        "error_answer",
        "unrun_line",
        "wrapped_error",
    ),
    "each request has an answer of its own, which is no line of a file",
)
_NO_FILES: Final = dict.fromkeys(
    ("cut_download", "output_missing", "files_after", "upload_error", "unseen_file"),
    "there are no files of requests or results",
)
_NO_BATCHES: Final = dict.fromkeys(
    ("batch_failure", "expiry", "unknown_status", "stuck", "forgotten", "visible_after", "partial"),
    "the vendor has no batch that this could befall",
)
_SINGLE: Final = {**_NO_LINES, **_NO_FILES, **_NO_BATCHES, "bytes": "there is no file whose size could be told"}
_WINDOW: Final = {
    **_SINGLE,
    "many": "each request is a batch of its own",
    "find": "responses cannot be listed",
    "fence": "a create call under way cannot be stopped",
}
_NO_CREATE: Final = dict.fromkeys(
    ("drop_create_response", "create_error", "create_error_after", "create_rate_limit", "list_error", "poll_error"),
    "nothing is created at the vendor, and nothing is polled there",
)
_CALLS: Final = {
    **_SINGLE,
    **_NO_CREATE,
    "find": "nothing is sent before the ledger has the batch, so there is nothing to be found",
    "fence": "nothing is on its way before the ledger has the batch",
    "cancel": "calls on their way are paid for, and are let finish",
    "process": "a call belongs to the process that made it",
    "usage": "the server counts the tokens of batches and windows alone",
}
_NATURES: Final[Mapping[str, Mapping[str, str]]] = {"window": _WINDOW, "flex": _CALLS, "realtime": _CALLS}


def kind_of(lane: str) -> str:
    """Return the kind of a lane: `"window"` of `"window:8h"`."""
    return lane.partition(":")[0]


def lacks_of(lane: str) -> Mapping[str, str]:
    """Return what a lane does not have by its nature, each with the reason; of batches, nothing."""
    return _NATURES.get(kind_of(lane), {})
