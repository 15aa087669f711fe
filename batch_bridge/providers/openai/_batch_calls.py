"""The calls about batches, in the shapes that the servers have them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Final, TypedDict, cast

from openai import AsyncOpenAI, omit
from openai.types import Batch as ThreadView

from batch_bridge.providers._shared.ids import checked
from batch_bridge.providers.openai._batch import KEY, OpenAIBatchObject, read_batch
from batch_bridge.providers.openai._clients import OpenAIClients
from batch_bridge.providers.openai._dialects import Quirks, hours
from batch_bridge.providers.openai._handle import OpenAIUpload, after
from batch_bridge.providers.openai._settings import OpenAISettings

_PAGE: Final = 100
"""Batches in one page of a listing.

Source: OpenAI API reference, "List batches", `limit`; Mistral's `page_size` has the same default.
"""


@dataclass(frozen=True, slots=True)
class BatchPage:
    """Some batches of a listing.

    Attributes:
        batches: In the order shown.
        more: Whether others follow; `None` if the server does not say.
        after: Where they begin.
    """

    batches: Sequence[OpenAIBatchObject]
    more: bool | None
    after: str | None


class _Create(TypedDict):
    input_file_id: str
    endpoint: str
    completion_window: str


class BatchCalls:
    """Makes the calls about batches, and reads what they answer.

    Args:
        clients: Who makes them.
        quirks: In what shape.
        settings: How batches are made.
    """

    def __init__(self, clients: OpenAIClients, quirks: Quirks, settings: OpenAISettings) -> None:
        self._clients = clients
        self._quirks = quirks
        self._settings = settings

    async def create(self, key: str, upload: OpenAIUpload) -> OpenAIBatchObject | None:
        """Create a batch, once; `None` if that was answered with something else."""
        endpoint = self._quirks.address(upload["endpoint"])
        metadata = {**self._settings.metadata, KEY: key}
        given: _Create = {
            "input_file_id": upload["input_file_id"],
            "endpoint": endpoint,
            "completion_window": self._settings.completion_window,
        }
        if self._quirks.routes == "together":
            answered = await self._post("batches.create", "/batches", cast("dict[str, Any]", given))
            return self._read(answered.get("job") if isinstance(answered, Mapping) else None)
        if self._quirks.routes == "mistral":
            job = {
                "input_files": [upload["input_file_id"]],
                "endpoint": endpoint,
                "model": upload["model"],
                "timeout_hours": hours(self._settings.completion_window),
                "metadata": metadata,
            }
            return self._read(await self._post("batches.create", "/batch/jobs", job))
        life = self._settings.output_expires_after
        return self._read(
            await self._clients.call(
                "batches.create",
                lambda client: client.batches.create(
                    **cast("Any", given),
                    metadata=metadata,
                    output_expires_after=omit if life is None else after(life),
                ),
            )
        )

    async def retrieve(self, batch_id: str, *, model: str = "") -> OpenAIBatchObject | None:
        """Return a batch; `None` if that was answered with something else,."""
        checked(batch_id, "batch")
        if self._quirks.routes == "mistral":
            return self._read(await self._get("batches.retrieve", f"/batch/jobs/{batch_id}"), model)
        if self._quirks.routes == "together":
            return self._read(await self._get("batches.retrieve", f"/batches/{batch_id}"), model)
        seen = await self._clients.call("batches.retrieve", lambda client: client.batches.retrieve(batch_id))
        return self._read(seen, model)

    async def cancel(self, batch_id: str) -> None:
        """Ask that a batch be stopped."""
        checked(batch_id, "batch")
        if self._quirks.routes == "mistral":
            await self._post("batches.cancel", f"/batch/jobs/{batch_id}/cancel", {})
        elif self._quirks.routes == "together":
            await self._post("batches.cancel", f"/batches/{batch_id}/cancel", {})
        elif self._quirks.routes == "vllm":
            await self._clients.call(
                "batches.cancel", lambda client: client.delete(f"/batches/{batch_id}", cast_to=object)
            )
        else:
            await self._clients.call("batches.cancel", lambda client: client.batches.cancel(batch_id))

    async def page(self, start: str | None) -> BatchPage | None:
        """Return a page of the listing from `start` on; `None` if that was answered with no list."""
        more: bool | None
        if self._quirks.routes == "mistral":
            number = int(start or 0)
            answered = await self._get("batches.list", "/batch/jobs", page=number, page_size=_PAGE, order_by="-created")
            data = answered.get("data") if isinstance(answered, Mapping) else None
            more, start = isinstance(data, list) and len(data) == _PAGE, str(number + 1)
        elif self._quirks.routes == "together":
            data, more, start = await self._get("batches.list", "/batches"), False, None
        else:
            page = await self._clients.call("batches.list", lambda client: _page(client, start))
            data, more, start = getattr(page, "data", None), getattr(page, "has_more", None), None
        if not isinstance(data, list):
            return None
        batches = [batch for each in data if (batch := self._read(each)) is not None]
        return BatchPage(batches, more, start or (batches[-1].id if batches else None))

    def _read(self, seen: object, model: str = "") -> OpenAIBatchObject | None:
        if isinstance(seen, Mapping):
            seen = _mistral(seen) if self._quirks.routes == "mistral" else SimpleNamespace(**seen)
        return read_batch(seen, model=model, status=self._quirks.status)

    async def _get(self, name: str, path: str, **query: object) -> Any:
        return await self._clients.call(
            name, lambda client: client.get(path, cast_to=object, options={"params": query})
        )

    async def _post(self, name: str, path: str, body: Mapping[str, Any]) -> Any:
        return await self._clients.call(name, lambda client: client.post(path, cast_to=object, body=dict(body)))


async def _page(client: AsyncOpenAI, start: str | None) -> Any:
    page = await client.batches.list(limit=_PAGE, after=omit if start is None else start)
    return cast("ThreadView", page)


def _mistral(job: Mapping[str, Any]) -> SimpleNamespace:
    """Return a job of Mistral's under the names that OpenAI has for its fields."""
    inputs = job.get("input_files") or [None]
    return SimpleNamespace(
        id=job.get("id"),
        status=job.get("status"),
        metadata=job.get("metadata"),
        endpoint=job.get("endpoint"),
        model=job.get("model"),
        created_at=job.get("created_at"),
        input_file_id=inputs[0],
        output_file_id=job.get("output_file"),
        error_file_id=job.get("error_file"),
        request_counts=SimpleNamespace(
            total=job.get("total_requests"),
            completed=job.get("succeeded_requests"),
            failed=job.get("failed_requests"),
        ),
        errors=job.get("errors"),
    )
