"""How other servers differ from OpenAI's Batch API: one row for each server. Pure.

Only what a vendor documents is in here, with the page it was read on. Where it says nothing, OpenAI's rule stands.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, Literal, TypeAlias

from batch_bridge._core.models import JSON, Limits
from batch_bridge.providers._shared.names import OpenAIName
from batch_bridge.providers.openai._endpoint import CHAT, COMPLETIONS, EMBEDDINGS, ENDPOINTS, MODERATIONS, RESPONSES

Name: TypeAlias = Literal[OpenAIName, "azure"]
Routes: TypeAlias = Literal["openai", "together", "mistral", "vllm"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quirks:
    """How a server differs.

    Attributes:
        name: The row's.
        base_url: Where a client goes that is made here; `None` leaves it to the SDK.
        api_key: The environment variable of its key; `None` leaves it to the SDK.
        limits: What one batch may hold.
        endpoints: What a batch can be sent to.
        window: The completion window, unless the user names another.
        routes: Whose calls it has. Together's answer with another shape, Mistral's have other addresses, too, and
            vLLM's router cancels with a DELETE.
        purpose: What an input file is uploaded for.
        has_v1: Whether the addresses in lines and creates begin with `/v1`.
        has_addresses: Whether lines hold `method` and `url`; else the batch's endpoint says all.
        has_metadata: Whether a batch keeps our key; else it is found by its input file.
        statuses: Its words for OpenAI's statuses.
        awaits_files: Whether a file must be `processed` before a batch can be made of it.
        shortest_life: The least that a file's expiry may be.
        has_prices: Whether its prices are known, under its name, to `genai-prices`.
    """

    name: Name
    base_url: str | None = None
    api_key: str | None = None
    limits: Limits = Limits(requests=50_000, bytes=200_000_000)  # noqa: RUF009  # frozen
    endpoints: tuple[str, ...] = ENDPOINTS
    window: str = "24h"
    routes: Routes = "openai"
    purpose: str = "batch"
    has_v1: bool = True
    has_addresses: bool = True
    has_metadata: bool = True
    statuses: Mapping[str, str] = field(default_factory=dict)
    awaits_files: bool = False
    shortest_life: timedelta = timedelta(hours=1)
    has_prices: bool = True

    def address(self, endpoint: str) -> str:
        """Return an endpoint as this server writes it."""
        return endpoint if self.has_v1 else endpoint.removeprefix("/v1")

    def line(self, endpoint: str) -> dict[str, JSON]:
        """Return the fields of a line that name the endpoint of its body."""
        return {"method": "POST", "url": self.address(endpoint)} if self.has_addresses else {}

    def status(self, said: str) -> str:
        """Return OpenAI's word for a status."""
        lower = said.lower()
        return self.statuses.get(lower, lower)


OPENAI: Final = Quirks(name="openai")
"""Source: platform.openai.com/docs/guides/batch, "Batch API limits", and the API reference, "Create batch"."""

QUIRKS: Final[Mapping[str, Quirks]] = {
    "openai": OPENAI,
    # learn.microsoft.com/azure/ai-foundry/openai/how-to/batch: 100,000 requests and 200 MB a file, "/chat/completions"
    # in lines and creates, the deployment as the model, `expires_after` of 14 to 30 days, a file "processed" before
    # its batch is created; late jobs do not expire.
    "azure": Quirks(
        name="azure",
        limits=Limits(requests=100_000, bytes=200_000_000),
        endpoints=(CHAT, RESPONSES, EMBEDDINGS, COMPLETIONS),
        has_v1=False,
        awaits_files=True,
        shortest_life=timedelta(days=14),
    ),
    # console.groq.com/docs/batch, and the SDK's `BatchCreateParams` (github.com/groq/groq-python): chat completions
    # only, windows of 24h to 7d, 100 MB a file, metadata.
    "groq": Quirks(
        name="groq",
        base_url="https://api.groq.com/openai/v1",
        api_key="GROQ_API_KEY",
        limits=Limits(requests=50_000, bytes=100_000_000),
        endpoints=(CHAT,),
    ),
    # docs.together.ai/docs/inference/batch/overview: 50,000 requests, 100 MB. docs.together.ai/docs/inference/batch/
    # tutorial: the purpose "batch-api", lines of {custom_id, body}. docs.together.ai/reference/batch-create: a create
    # answers {"job"}, times are ISO, the job has no metadata, and the one endpoint for texts is that of chats. The SDK
    # (github.com/togethercomputer/together-py): upper-case statuses, "CANCELING" in earlier versions, a bare list.
    "together": Quirks(
        name="together",
        base_url="https://api.together.xyz/v1",
        api_key="TOGETHER_API_KEY",
        limits=Limits(requests=50_000, bytes=100_000_000),
        endpoints=(CHAT,),
        routes="together",
        purpose="batch-api",
        has_addresses=False,
        has_metadata=False,
        statuses={"canceling": "cancelling", "canceled": "cancelled"},
    ),
    # docs.mistral.ai/capabilities/batch: /v1/batch/jobs, `timeout_hours` (24, under 7 days), a million requests,
    # lines of {custom_id, body}, metadata. The SDK (github.com/mistralai/client-python): the statuses and fields of
    # `BatchJob`, and at most 512 MB in a file (`files.upload`).
    "mistral": Quirks(
        name="mistral",
        base_url="https://api.mistral.ai/v1",
        api_key="MISTRAL_API_KEY",
        limits=Limits(requests=1_000_000, bytes=512_000_000),
        endpoints=(CHAT, EMBEDDINGS, MODERATIONS),
        routes="mistral",
        has_addresses=False,
        statuses={
            "queued": "validating",
            "running": "in_progress",
            "success": "completed",
            "timeout_exceeded": "expired",
            "cancellation_requested": "cancelling",
        },
    ),
    # docs.doubleword.ai/batches: "fully compatible with the OpenAI batch endpoint".
    "doubleword": Quirks(
        name="doubleword",
        base_url="https://api.doubleword.ai/v1",
        api_key="DOUBLEWORD_API_KEY",
        has_prices=False,
    ),
    # github.com/vllm-project/production-stack, vllm_router/services/batch_service/batch.py: three endpoints, two words
    # of its own for statuses. vllm_router/routers/batches_router.py and files_router.py: a batch is cancelled by
    # DELETE; files cannot be deleted, so a batch that is still on its way cannot be stopped.
    "vllm": Quirks(
        name="vllm",
        endpoints=(CHAT, EMBEDDINGS, COMPLETIONS),
        routes="vllm",
        statuses={"pending": "validating", "running": "in_progress"},
        has_prices=False,
    ),
}
"""Each server's row, by the name that `OpenAIBatch(quirks=…)` takes."""


def quirks_of(name: str) -> Quirks:
    """Return a row.

    Raises:
        ValueError: No server has this name.
    """
    if name not in QUIRKS:
        raise ValueError(f"OpenAIBatch(quirks={name!r}): the rows are {', '.join(map(repr, QUIRKS))}")
    return QUIRKS[name]


def hours(window: str) -> int:
    """Return the whole hours of a completion window such as `"24h"` or `"7d"`.

    Raises:
        ValueError: It is not a window.
    """
    unit = {"h": 1, "d": 24}.get(window[-1:])
    if unit is None or not window[:-1].isdecimal() or not int(window[:-1]):
        raise ValueError(f"OpenAIBatch(completion_window={window!r}): write hours or days, such as '24h' or '7d'")
    return int(window[:-1]) * unit
