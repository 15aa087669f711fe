"""Responses in the background: stored, answered after their time, and gone some time later.

Source: developers.openai.com/api/docs/guides/background.
"""

import asyncio
import sqlite3
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from hashlib import sha256
from typing import Any, Final, Literal, TypeAlias

import orjson

from batch_bridge.testing._answers.answer import Answer, AnswerRequest
from batch_bridge.testing._batches.database import add
from batch_bridge.testing._batches.endpoints import RESPONSES
from batch_bridge.testing._lanes.clock import VirtualClock
from batch_bridge.testing._server.context import Context
from batch_bridge.testing._server.errors import WireError

RETENTION: Final = 600.0
"""Virtual seconds for which a response that is not stored can be retrieved after its end."""
_AT_ONCE: Final = 64
_End: TypeAlias = Literal["completed", "failed", "incomplete", "cancelled"]
Announce = Callable[[str, str], Awaitable[None]]
"""Told the id of a response and how it has ended."""


class BackgroundResponses:
    """Creates, runs, shows and cancels responses.

    Args:
        context: The running server's parts.
        announce: Called once a response has ended.
    """

    def __init__(self, context: Context, announce: Announce) -> None:
        self._context = context
        self._announce = announce
        self._changed = asyncio.Event()
        self.clock = VirtualClock(context.database, context.settings.clock_speed)

    async def create(self, tenant: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Store a response that is answered later; returns it as it is now."""
        response_id, now = f"resp_{uuid.uuid4().hex}", self.clock.now()
        due = now + self._context.settings.response_seconds
        raw = orjson.dumps(body)
        identity = sha256(
            b"\0".join((tenant.encode(), RESPONSES.encode(), orjson.dumps(body, option=_SORTED)))
        ).digest()

        def insert(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT INTO responses (id, tenant, created_at, began_at, due_at, stored, status, identity, body) "
                "VALUES (?, ?, ?, ?, ?, ?, 'live', ?, ?)",
                (response_id, tenant, int(time.time()), now, due, body.get("store") is not False, identity, raw),
            )
            add(connection, responses=1)

        await self._context.database.write(insert)
        self._changed.set()
        return self.get(tenant, response_id)

    def get(self, tenant: str, response_id: str) -> dict[str, Any]:
        """Return a response as the API shows it.

        Raises:
            WireError: 404; it does not exist, belongs to another key, or is kept no longer.
        """
        row = self._context.database.reader.execute(
            "SELECT created_at, began_at, due_at, ended_at, stored, status, body, answer FROM responses "
            "WHERE id = ? AND tenant = ?",
            (response_id, tenant),
        ).fetchone()
        if row is None or self._is_gone(response_id, row):
            raise WireError(404, f"Response with id '{response_id}' not found.", param="response_id", code="not_found")
        created_at, began_at, due_at, _, _, status, body, answer = row
        shown = _outline(orjson.loads(body))
        if answer is not None:
            shown |= orjson.loads(answer)
        if status == "live":
            status = "queued" if self.clock.now() < (began_at + due_at) / 2 else "in_progress"
        return {**shown, "id": response_id, "created_at": created_at, "background": True, "status": status}

    async def cancel(self, tenant: str, response_id: str) -> dict[str, Any]:
        """Cancel a response that has not ended; any other stays as it is.

        Raises:
            WireError: 404; as in `get`.
        """
        self.get(tenant, response_id)
        if await self._end(response_id, "cancelled", None, {}):
            await self._announce(response_id, "cancelled")
        return self.get(tenant, response_id)

    async def configure(self) -> None:
        """Follow changed settings."""
        await self.clock.set(self._context.settings.clock_speed)
        self._changed.set()

    async def run(self) -> None:
        """Answer responses once they are due, until cancelled."""
        reader = self._context.database.reader
        await self.clock.set(self._context.settings.clock_speed)
        while True:
            self._changed.clear()
            now = self.clock.now()
            due = reader.execute(
                "SELECT id, body, identity FROM responses WHERE status = 'live' AND due_at <= ? "
                "ORDER BY due_at LIMIT ?",
                (now, _AT_ONCE),
            ).fetchall()
            if due:
                await self._answer(due)
                continue
            (next_at,) = reader.execute("SELECT min(due_at) FROM responses WHERE status = 'live'").fetchone()
            left = None if next_at is None or not self.clock.speed else (next_at - now) / self.clock.speed
            try:
                await asyncio.wait_for(self._changed.wait(), None if left is None else max(left, 0.001))
            except TimeoutError:
                continue

    async def _answer(self, due: list[tuple[str, bytes, bytes]]) -> None:
        context = self._context
        asked = [AnswerRequest(RESPONSES, orjson.loads(body)) for _, body, _ in due]
        answers = await context.answerer.many(asked)
        for (response_id, _, identity), answer in zip(due, answers, strict=True):
            end, body = self._ending(response_id, answer)
            paid = identity if end == "completed" else None
            if await self._end(response_id, end, paid, body):
                await self._announce(response_id, end)

    def _ending(self, response_id: str, answer: Answer) -> tuple[_End, dict[str, Any]]:
        context = self._context
        if context.draws.hits("response_failure", response_id):
            context.draws.fired["response_failure"] += 1
            code = context.settings.faults.response_failure_code
            return "failed", {"error": {"code": code, "message": "A fault of the test server: this response failed."}}
        if not answer.ok:
            error = answer.body.get("error") if isinstance(answer.body, dict) else None
            held = error if isinstance(error, dict) else {}
            code, said = held.get("code") or "server_error", held.get("message") or "no answer"
            return "failed", {"error": {"code": code, "message": said}}
        return ("incomplete" if answer.body.get("status") == "incomplete" else "completed"), answer.body

    async def _end(self, response_id: str, status: _End, paid: bytes | None, answer: Mapping[str, Any]) -> bool:
        """Write down how a response has ended, if it has not before."""
        raw, now = orjson.dumps(answer), self.clock.now()
        usage = answer.get("usage") or {}

        def end(connection: sqlite3.Connection) -> bool:
            changed = connection.execute(
                "UPDATE responses SET status = ?, ended_at = ?, answer = ? WHERE id = ? AND status = 'live'",
                (status, now, raw, response_id),
            ).rowcount
            if changed and paid is not None:
                twice = connection.execute("INSERT OR IGNORE INTO paid VALUES (?)", (paid,)).rowcount == 0
                if twice:
                    connection.execute("INSERT INTO repeats VALUES (?, ?)", (response_id, ""))
                add(
                    connection,
                    executed=1,
                    paid=1,
                    paid_twice=int(twice),
                    input_tokens=usage.get("input_tokens", 0),
                    output_tokens=usage.get("output_tokens", 0),
                )
            return bool(changed)

        return await self._context.database.write(end)

    def _is_gone(self, response_id: str, row: tuple[Any, ...]) -> bool:
        _, _, _, ended_at, stored, status, _, _ = row
        if status == "live":
            return False
        if not stored and self.clock.now() > ended_at + RETENTION:
            return True
        if self._context.draws.hits("response_gone", response_id):
            self._context.draws.fired["response_gone"] += 1
            return True
        return False


_SORTED: Final = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS


def _outline(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is shown of a response before it has an answer."""
    return {
        "object": "response",
        "error": None,
        "incomplete_details": None,
        "instructions": body.get("instructions"),
        "metadata": body.get("metadata") or {},
        "model": body.get("model"),
        "output": [],
        "parallel_tool_calls": body.get("parallel_tool_calls", True),
        "tool_choice": body.get("tool_choice", "auto"),
        "tools": body.get("tools") or [],
        "store": body.get("store") is not False,
        "background_options": body.get("background_options"),
        "usage": None,
    }
