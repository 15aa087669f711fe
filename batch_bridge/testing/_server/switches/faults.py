"""What can be made to go wrong, each by a switch."""

from dataclasses import dataclass
from typing import Annotated

Share = Annotated[float, "share"]
"""A number from 0 (never) to 1 (always); `True` counts as 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """Faults on demand. Every switch is a share of what it can hit, drawn by the server's seed.

    A `next_…` counter hits the next so many calls for certain, then the share applies again.

    Attributes:
        line_failure: Lines that are answered with `line_failure_status`; they are not asked and not paid.
        line_failure_status: One status or several to draw from; 0 is the provider's "no status".
        missing_line: Lines that run and are paid, and appear in no file.
        doubled_line: Lines that appear twice in the output.
        unknown_line: Lines after which one of an unknown `custom_id` follows.
        garbled_line: Lines that are cut in the middle, so that they are no JSON.
        dirty_line: Lines that strict JSON refuses and a lenient reader takes: with `NaN`, a byte that is no UTF-8, a
            raw control character, or a backslash that escapes nothing. Not where results come inside a batch.
        error_answer: Lines whose status is 200 and whose body is an error; they are not asked and not paid.
        unrun_line: Lines that never ran, and stand in the error file with `unrun_line_code`; not asked, not paid.
        unrun_line_code: The code of such a line.
        wrapped_error: Lines whose error, from `line_failure`, stands inside another one.
        batch_failure: Batches that end as `failed` in validation, with `batch_failure_code`; nothing is paid.
        batch_failure_code: The code of such a failure.
        expiry: Batches that end as `expired` after `expiry_share` of their lines.
        expiry_share: How much of an expiring batch runs.
        stuck: Batches that stay `in_progress` after `stuck_share` of their lines, until their window closes.
        stuck_share: How much of a stuck batch runs.
        unknown_status: Batches that report `unknown_status_name` while they run.
        unknown_status_name: A status that no client knows.
        forgotten: Batches that are 404 once they were retrieved for the first time.
        output_missing: Output files whose content is 404.
        files_after: Seconds for which a batch that has ended names no results, and counts nothing.
        visible_after: Seconds for which a created batch is neither retrieved nor listed. It reads its input
            file only afterwards: without that file it fails, and nothing is paid.
        drop_create_response: Creates that take effect and whose connection is dropped without a response.
        next_drop_create_response: The same for the next so many creates.
        create_error: Creates answered with `create_error_status` that take no effect.
        next_create_error: The same for the next so many creates.
        create_error_after: Creates answered with `create_error_status` that do take effect.
        next_create_error_after: The same for the next so many creates.
        create_error_status: The status of both.
        unseen_file: Creates answered with `unseen_file_status`, as if their input file were not there.
        next_unseen_file: The same for the next so many creates.
        unseen_file_status: The status of both.
        create_rate_limit: Creates answered with 429 and `Retry-After: retry_after`.
        next_create_rate_limit: The same for the next so many creates.
        retry_after: Seconds named in `Retry-After`.
        upload_error: Uploads answered with `upload_error_status`; nothing is kept.
        next_upload_error: The same for the next so many uploads.
        upload_error_status: The status of both.
        poll_error: Retrievals of a batch answered with `poll_error_status`.
        next_poll_error: The same for the next so many retrievals.
        list_error: Listings of batches answered with `poll_error_status`.
        next_list_error: The same for the next so many listings.
        poll_error_status: The status of these four.
        cut_download: File contents whose connection is closed half way.
        next_cut_download: The same for the next so many downloads.
        realtime_error: Realtime requests answered with `realtime_error_status`.
        next_realtime_error: The same for the next so many requests.
        realtime_error_status: The status of both.
        cut_stream: Streamed answers whose connection is closed half way.
        next_cut_stream: The same for the next so many streams.
        flex_refusal: Calls of the flex tier that are refused for want of capacity, and not billed.
        next_flex_refusal: The same for the next so many calls.
        response_failure: Responses in the background that end as `failed`, with `response_failure_code`; not billed.
        response_failure_code: The code of such a failure.
        response_gone: Responses in the background that are 404 once they have ended.
        slow_response: Calls of any route that wait `slow_response_seconds` before they are looked at.
        slow_response_seconds: How long these wait.
    """

    line_failure: Share = 0.0
    line_failure_status: tuple[int, ...] = (500,)
    missing_line: Share = 0.0
    doubled_line: Share = 0.0
    unknown_line: Share = 0.0
    garbled_line: Share = 0.0
    dirty_line: Share = 0.0
    error_answer: Share = 0.0
    unrun_line: Share = 0.0
    unrun_line_code: str = "request_timeout"
    wrapped_error: Share = 0.0

    batch_failure: Share = 0.0
    batch_failure_code: str = "token_limit_exceeded"
    expiry: Share = 0.0
    expiry_share: Share = 0.5
    stuck: Share = 0.0
    stuck_share: Share = 0.99
    unknown_status: Share = 0.0
    unknown_status_name: str = "paused"
    forgotten: Share = 0.0
    output_missing: Share = 0.0
    files_after: float = 0.0
    visible_after: float = 0.0

    drop_create_response: Share = 0.0
    next_drop_create_response: int = 0
    create_error: Share = 0.0
    next_create_error: int = 0
    create_error_after: Share = 0.0
    next_create_error_after: int = 0
    create_error_status: int = 500
    unseen_file: Share = 0.0
    next_unseen_file: int = 0
    unseen_file_status: int = 404
    create_rate_limit: Share = 0.0
    next_create_rate_limit: int = 0
    retry_after: float = 1.0
    upload_error: Share = 0.0
    next_upload_error: int = 0
    upload_error_status: int = 500
    poll_error: Share = 0.0
    next_poll_error: int = 0
    list_error: Share = 0.0
    next_list_error: int = 0
    poll_error_status: int = 502
    cut_download: Share = 0.0
    next_cut_download: int = 0
    realtime_error: Share = 0.0
    next_realtime_error: int = 0
    realtime_error_status: int = 500
    cut_stream: Share = 0.0
    next_cut_stream: int = 0
    flex_refusal: Share = 0.0
    next_flex_refusal: int = 0
    response_failure: Share = 0.0
    response_failure_code: str = "server_error"
    response_gone: Share = 0.0
    slow_response: Share = 0.0
    slow_response_seconds: float = 1.0
