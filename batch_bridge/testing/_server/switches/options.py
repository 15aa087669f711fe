"""Names and types of the options of `BatchServer(...)` and `configure(...)`; a test keeps them complete."""

from typing import TypedDict


class ServerOptions(TypedDict, total=False):
    """See `Settings`, `Faults` and `Limits` for what each means."""

    latency: float
    cancel_seconds: float
    window_seconds: float
    processing_seconds: float
    flex_seconds: float
    response_seconds: float
    clock_speed: float
    shuffle: bool
    seed: int
    webhook_url: str | None
    webhook_secret: str | None

    line_failure: float
    line_failure_status: int | tuple[int, ...] | list[int]
    missing_line: float
    doubled_line: float
    unknown_line: float
    garbled_line: float
    dirty_line: float
    error_answer: float
    unrun_line: float
    unrun_line_code: str
    wrapped_error: float
    batch_failure: float
    batch_failure_code: str
    expiry: float
    expiry_share: float
    stuck: float
    stuck_share: float
    unknown_status: float
    unknown_status_name: str
    forgotten: float
    output_missing: float
    files_after: float
    visible_after: float
    drop_create_response: float
    next_drop_create_response: int
    create_error: float
    next_create_error: int
    create_error_after: float
    next_create_error_after: int
    create_error_status: int
    unseen_file: float
    next_unseen_file: int
    unseen_file_status: int
    create_rate_limit: float
    next_create_rate_limit: int
    retry_after: float
    upload_error: float
    next_upload_error: int
    upload_error_status: int
    poll_error: float
    next_poll_error: int
    list_error: float
    next_list_error: int
    poll_error_status: int
    cut_download: float
    next_cut_download: int
    realtime_error: float
    next_realtime_error: int
    realtime_error_status: int
    cut_stream: float
    next_cut_stream: int
    flex_refusal: float
    next_flex_refusal: int
    response_failure: float
    response_failure_code: str
    response_gone: float
    slow_response: float
    slow_response_seconds: float

    max_lines: int
    max_file_bytes: int
    max_upload_bytes: int
    max_embedding_inputs: int
    max_metadata_pairs: int
    enqueued_tokens: int | None
    batches_per_hour: int | None
    flex_capacity: int | None
    min_expires_after: int
    max_expires_after: int
