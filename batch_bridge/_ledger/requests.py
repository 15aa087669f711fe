"""Where a ledger holds requests and outcomes: as rows here; what else there is has the same methods.

Items and outcomes are kept as text: see `ledger`.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from langgraph.store.base import Op

from batch_bridge._core import outcomes as _outcome
from batch_bridge._core.models import Errored, Outcome, Request
from batch_bridge._ledger.forms import outcome_of, request_of, request_row
from batch_bridge._ledger.rows import RowTable

_DAMAGED: Final = Errored(
    "its outcome was damaged in the store; send the request again", code="outcome_damaged", retryable=True
)


class StoredRequests:
    """Requests as rows, from intake until their outcome is written."""

    def __init__(self, table: RowTable) -> None:
        self._table = table

    async def add(self, requests: Iterable[Request]) -> None:
        """Take requests. Idempotent."""
        await self._table.run(self._table.put("requests", each.id, request_row(each)) for each in requests)

    async def hold(self, requests: Iterable[Request]) -> None:
        """Take requests that are on their way, for they may be sent again. Here they are written down still."""

    async def read(self, ids: Sequence[str]) -> list[Request]:
        """Return requests, in the order asked; an unknown id is left out."""
        rows = await self._table.get("requests", ids)
        return self._table.each("requests", zip(ids, rows, strict=True), request_of)

    def removing(self, ids: Sequence[str]) -> Iterable[Op]:
        """Release requests, and return the operations that delete them."""
        return [self._table.put("requests", each, None) for each in ids]


class StoredOutcomes:
    """Outcomes as rows, from settlement until they are forgotten."""

    def __init__(self, table: RowTable) -> None:
        self._table = table

    async def add(self, outcomes: Mapping[str, Outcome]) -> None:
        """Write outcomes, by request id. Idempotent."""
        await self.write(outcomes)

    async def write(self, outcomes: Mapping[str, Outcome]) -> None:
        """Write outcomes, also over those that are there."""
        await self._table.run(self._table.put("outcomes", each, self.row(each, outcomes[each])) for each in outcomes)

    def row(self, request_id: str, outcome: Outcome) -> dict[str, Any]:
        """Return the row of an outcome."""
        del request_id
        return {"text": json.dumps(_outcome.to_json(outcome))}

    async def read(self, ids: Sequence[str]) -> dict[str, Outcome]:
        """Return the outcomes that are known. One that was set aside is an error, so that no caller waits forever."""
        rows = await self._table.get("outcomes", ids)
        damaged: list[str] = []
        found = dict(self._table.each("outcomes", zip(ids, rows, strict=True), outcome_of, damaged))
        return found | dict.fromkeys(damaged, _DAMAGED) if damaged else found

    async def known(self, ids: Sequence[str]) -> set[str]:
        """Return which requests have an outcome."""
        rows = await self._table.get("outcomes", ids)
        return {request_id for request_id, row in zip(ids, rows, strict=True) if row is not None}

    async def remove(self, ids: Sequence[str]) -> None:
        """Delete outcomes."""
        await self._table.run(self._table.put("outcomes", each, None) for each in ids)

    def was_told(self, request_id: str) -> bool:
        """Return whether an outcome is no longer on its way to a caller."""
        del request_id
        return True

    def reset(self) -> None:
        """Forget what is in memory beside the rows: another process may have changed them."""
