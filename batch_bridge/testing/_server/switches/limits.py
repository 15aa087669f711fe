"""How much the server accepts: the provider's numbers, smaller ones for tests."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of files and batches.

    Attributes:
        max_lines: Requests in one batch.
        max_file_bytes: Bytes of a batch's input file.
        max_upload_bytes: Bytes of any uploaded file.
        max_embedding_inputs: Inputs of all lines of an embeddings batch together.
        max_metadata_pairs: Pairs of a batch's metadata.
        enqueued_tokens: Input tokens, as `usage` counts them, that may wait for one model and key; a batch
            over it fails with `token_limit_exceeded` after its create succeeded. `None` is no limit.
        batches_per_hour: Creates by one key within an hour; more are 429. `None` is no limit.
        flex_capacity: Calls of the flex tier that are answered at a time; more are refused. `None` is no limit.
        min_expires_after: The least seconds that `expires_after` accepts.
        max_expires_after: The most.

    Source: platform.openai.com/docs/guides/batch, and the API reference for files and batches.
    """

    max_lines: int = 50_000
    max_file_bytes: int = 200_000_000
    max_upload_bytes: int = 512_000_000
    max_embedding_inputs: int = 50_000
    max_metadata_pairs: int = 16
    enqueued_tokens: int | None = None
    batches_per_hour: int | None = None
    flex_capacity: int | None = None
    min_expires_after: int = 3_600
    max_expires_after: int = 2_592_000
