"""The table of servers that are like OpenAI's: what each row makes of a request, a status and a setting."""

import json
from datetime import timedelta

import pytest

from batch_bridge import Request
from batch_bridge._core.models import Limits
from batch_bridge.errors import RequestRefused
from batch_bridge.providers import create
from batch_bridge.providers._shared.names import OPENAI_NAMES
from batch_bridge.providers.azure import AzureOpenAIBatch
from batch_bridge.providers.openai import OpenAIBatch
from batch_bridge.providers.openai._batch import read_batch
from batch_bridge.providers.openai._batch_calls import _mistral
from batch_bridge.providers.openai._dialects import OPENAI, QUIRKS, hours, quirks_of
from batch_bridge.providers.openai._endpoint import CHAT, ENDPOINTS
from batch_bridge.providers.openai._provider import EMBEDDING_INPUTS, LIMITS

STATUSES = {"validating", "in_progress", "finalizing", "cancelling", "completed", "failed", "expired", "cancelled"}


@pytest.mark.parametrize("name", QUIRKS)
def test_a_row_is_whole(name):
    row = quirks_of(name)
    assert row.name == name
    assert row.limits.requests
    assert row.limits.bytes
    assert CHAT in row.endpoints
    assert set(row.endpoints) <= set(ENDPOINTS)
    assert set(row.statuses.values()) <= STATUSES
    assert (row.base_url is None) == (row.api_key is None)
    assert row.base_url is None or row.base_url.startswith("https://")


def test_each_compatible_server_has_a_row_whose_limits_count():
    assert set(QUIRKS) == {*OPENAI_NAMES, "azure"}
    assert create("groq", model="x").limits == QUIRKS["groq"].limits != QUIRKS["openai"].limits


def test_openais_row_is_what_the_provider_has_without_one():
    assert OPENAI.limits == LIMITS
    assert OpenAIBatch().limits == LIMITS
    assert EMBEDDING_INPUTS == 50_000


def test_a_row_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="'groq'"):
        OpenAIBatch(quirks="grok")


def line(name, item):
    provider = AzureOpenAIBatch() if name == "azure" else OpenAIBatch(quirks=name)
    return json.loads(provider._read(Request("r", "t", item)).line("r", QUIRKS[name]))


@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("openai", {"method": "POST", "url": "/v1/chat/completions"}),
        ("azure", {"method": "POST", "url": "/chat/completions"}),
        ("groq", {"method": "POST", "url": "/v1/chat/completions"}),
        ("mistral", {}),
    ],
)
def test_lines_say_where_they_go_as_the_server_wants_it(name, where):
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    assert line(name, body) == {"custom_id": "r", **where, "body": body}


def test_a_line_in_azures_spelling_is_taken():
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    assert line("azure", {"url": "/chat/completions", "body": body})["url"] == "/chat/completions"


def test_an_endpoint_that_the_server_does_not_take_is_refused():
    with pytest.raises(RequestRefused, match="batches of groq do not support /v1/responses"):
        OpenAIBatch(quirks="groq", model="m").measure(Request("r", "t", {"input": "x"}))
    with pytest.raises(ValueError, match="can be sent to /v1/chat/completions"):
        OpenAIBatch(quirks="groq", endpoint="/v1/embeddings")


def test_limits_are_the_rows_unless_the_user_says_otherwise():
    assert OpenAIBatch(quirks="groq").limits == Limits(requests=50_000, bytes=100_000_000)
    assert OpenAIBatch(quirks="groq", limits=Limits(requests=7)).limits == Limits(requests=7)
    assert AzureOpenAIBatch().limits.requests == 100_000


@pytest.mark.parametrize(
    ("name", "said", "status"),
    [
        ("openai", "completed", "completed"),
        ("together", "IN_PROGRESS", "in_progress"),
        ("together", "CANCELING", "cancelling"),
        ("mistral", "SUCCESS", "completed"),
        ("mistral", "TIMEOUT_EXCEEDED", "expired"),
        ("mistral", "CANCELLATION_REQUESTED", "cancelling"),
        ("mistral", "CANCELLED", "cancelled"),
        ("vllm", "pending", "validating"),
        ("vllm", "dreaming", "dreaming"),
    ],
)
def test_statuses_are_said_in_openais_words(name, said, status):
    assert QUIRKS[name].status(said) == status


@pytest.mark.parametrize(("window", "expected"), [("24h", 24), ("7d", 168), ("1h", 1)])
def test_windows_in_hours(window, expected):
    assert hours(window) == expected


@pytest.mark.parametrize("window", ["", "h", "24", "0h", "1.5h", "24m", "-1h"])
def test_what_is_no_window_is_refused(window):
    with pytest.raises(ValueError, match="write hours or days"):
        OpenAIBatch(quirks="mistral", completion_window=window or "x")


def test_azure_keeps_files_for_two_weeks_at_least():
    with pytest.raises(ValueError, match="from 14 days to 30 days"):
        AzureOpenAIBatch(files_expire_after=timedelta(days=1))
    AzureOpenAIBatch(files_expire_after=timedelta(days=14), output_expires_after=timedelta(days=30))


def test_a_job_of_mistrals_is_a_batch():
    job = {
        "id": "j",
        "status": "RUNNING",
        "input_files": ["f"],
        "metadata": {"batch_bridge_key": "k"},
        "output_file": "o",
        "error_file": None,
        "created_at": 7,
        "total_requests": 4,
        "succeeded_requests": 2,
        "failed_requests": 1,
        "errors": [{"message": "no", "count": 3}, "x"],
    }
    batch = read_batch(_mistral(job), status=QUIRKS["mistral"].status)
    assert (batch.id, batch.status, batch.key, batch.input_file_id) == ("j", "in_progress", "k", "f")
    assert (batch.output_file_id, batch.error_file_id, batch.created_at) == ("o", None, 7)
    assert (batch.ran, batch.counted, batch.total) == (2, 3, 4)
    assert batch.problems == tuple({"code": None, "line": None, "message": each} for each in ("no", "x"))
    assert read_batch(_mistral({})) is None


def test_times_in_iso_are_read():
    class Job:
        id = "j"
        created_at = "2026-10-01T00:00:00+00:00"

    assert read_batch(Job).created_at == 1_790_812_800
    Job.created_at = "yesterday"
    assert read_batch(Job).created_at == 0


def test_azures_client_is_azures():
    with pytest.raises(TypeError, match="AsyncAzureOpenAI"):
        AzureOpenAIBatch(object())
    assert repr(AzureOpenAIBatch(model="d")) == "AzureOpenAIBatch(model='d')"
