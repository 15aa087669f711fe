"""Servers that are like OpenAI's, most of them not quite, each under an address of its own."""

from dataclasses import replace
from typing import Final

from batch_bridge.testing._batches.form import MISTRAL_PREFIX, TOGETHER_PREFIX
from batch_bridge.testing._compatible import mistral, together, vllm
from batch_bridge.testing._compatible.shared import ask
from batch_bridge.testing._openai import batch_routes as batches
from batch_bridge.testing._openai import file_routes as files
from batch_bridge.testing._server.dialect import OPENAI, Dialect
from batch_bridge.testing._server.gate import Handler

TOGETHER: Final[Dialect] = replace(OPENAI, name="together:")
MISTRAL: Final[Dialect] = replace(OPENAI, name="mistral:")
GROQ: Final[Dialect] = replace(OPENAI, name="groq:")
VLLM: Final[Dialect] = replace(OPENAI, name="vllm:")
_Route = tuple[str, str, Handler]
_CONTENT: Final[_Route] = ("GET", "/files/{file_id}/content", files.content)
_DELETE: Final[_Route] = ("DELETE", "/files/{file_id}", files.delete)
_ASK: Final[_Route] = ("POST", "/{rest:path}", ask)
ROUTES: Final[tuple[tuple[Dialect, str, tuple[_Route, ...]], ...]] = (
    (
        TOGETHER,
        TOGETHER_PREFIX + "/v1",
        (
            ("POST", "/files", together.upload),
            ("GET", "/files", together.list_files),
            ("GET", "/files/{file_id}", together.retrieve_file),
            ("POST", "/files/{file_id}/preprocess", together.retrieve_file),
            _CONTENT,
            _DELETE,
            ("POST", "/batches", together.create),
            ("GET", "/batches", together.list_batches),
            ("GET", "/batches/{batch_id}", together.retrieve),
            ("POST", "/batches/{batch_id}/cancel", together.cancel),
            _ASK,
        ),
    ),
    (
        MISTRAL,
        MISTRAL_PREFIX + "/v1",
        (
            ("POST", "/files", mistral.upload),
            ("GET", "/files", mistral.list_files),
            ("GET", "/files/{file_id}", mistral.retrieve_file),
            _CONTENT,
            _DELETE,
            ("POST", "/batch/jobs", mistral.create),
            ("GET", "/batch/jobs", mistral.list_jobs),
            ("GET", "/batch/jobs/{batch_id}", mistral.retrieve),
            ("DELETE", "/batch/jobs/{batch_id}", mistral.delete),
            ("POST", "/batch/jobs/{batch_id}/cancel", mistral.cancel),
            _ASK,
        ),
    ),
    (
        GROQ,
        "/groq/openai/v1",
        (
            ("POST", "/files", files.upload),
            ("GET", "/files", files.listing),
            ("GET", "/files/{file_id}", files.retrieve),
            _CONTENT,
            _DELETE,
            ("POST", "/batches", batches.create),
            ("GET", "/batches", batches.list_batches),
            ("GET", "/batches/{batch_id}", batches.retrieve),
            ("POST", "/batches/{batch_id}/cancel", batches.cancel),
            _ASK,
        ),
    ),
    (
        VLLM,
        "/vllm/v1",
        (
            ("POST", "/files", files.upload),
            ("GET", "/files/{file_id}", files.retrieve),
            _CONTENT,
            ("POST", "/batches", vllm.create),
            ("GET", "/batches", vllm.list_batches),
            ("GET", "/batches/{batch_id}", vllm.retrieve),
            ("DELETE", "/batches/{batch_id}", vllm.cancel),
            _ASK,
        ),
    ),
)
"""Each server's dialect, the address it is under, and its routes."""
