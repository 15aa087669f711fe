"""The server behind its routes: settings, batches at work, counters."""

import asyncio
import sqlite3
import sys
import time
import uuid
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx

from batch_bridge.testing._answers.answer import Answerer
from batch_bridge.testing._batches.batch import ENDED, ServedBatch
from batch_bridge.testing._batches.batches import Batches
from batch_bridge.testing._batches.database import Database, add
from batch_bridge.testing._batches.files import Files, new_file_id
from batch_bridge.testing._batches.form import GEMINI, form_of
from batch_bridge.testing._batches.run import BatchRun
from batch_bridge.testing._lanes.background import BackgroundResponses
from batch_bridge.testing._server.context import Context
from batch_bridge.testing._server.seeded_random import SeededRandom
from batch_bridge.testing._server.stats import Stats
from batch_bridge.testing._server.switches.settings import Settings
from batch_bridge.testing._server.webhook import GeminiWebhookEvent, WebhookEvent, deliver, event, gemini_event

SWEEP_SECONDS = 600.0
_SINCE = "stats_since"


class Core:
    """Everything that a server does, without HTTP.

    Args:
        folder: The state folder.
        settings: How it starts.
        answerer: Who answers the requests; made inside the running event loop.

    Raises:
        BatchServerError: The folder cannot be used.
    """

    def __init__(self, folder: Path, settings: Settings, answerer: Callable[[], Answerer]) -> None:
        self._new_answerer = answerer
        self._settings = settings
        self._database = Database(folder)
        self._runs: dict[str, BatchRun] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Go on with the batches that a server before this one has left."""
        database = self._database
        draws = SeededRandom(lambda: self.context.settings)
        self.context = Context(
            settings=self._settings,
            database=database,
            files=Files(database),
            batches=Batches(database),
            draws=draws,
            answerer=self._new_answerer(),
        )
        draws.load(set(self._settings.options()))
        self.background = BackgroundResponses(self.context, self._announce_response)
        self._http: httpx.AsyncClient | None = None
        live = self.context.batches.live()
        await asyncio.to_thread(self._tidy, live)
        for batch_id in live:
            self._drive(batch_id)
        for batch in self._unannounced():
            self._spawn(self._announce(batch))
        self._spawn(self.background.run())
        self._spawn(self._sweep())

    def _tidy(self, live: Sequence[str]) -> None:
        batches = [self.context.batches.load(batch_id) for batch_id in live]
        self.context.files.tidy({id_ for batch in batches for id_ in (batch.output_file_id, batch.error_file_id)})
        for path in self._database.inputs.iterdir():
            if path.name not in live:
                path.unlink(missing_ok=True)

    async def close(self) -> None:
        """Stop; batches that have not ended continue when a server is started on the same folder."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.context.answerer.close()
        if self._http is not None:
            await self._http.aclose()
        self._database.close()

    def configure(self, options: Mapping[str, object]) -> None:
        """Change settings; waiting batches follow.

        Raises:
            BatchServerError: An option is unknown or wrong; nothing has changed then.
        """
        self.context.settings = self.context.settings.changed(options)
        self.context.draws.load(set(options))
        for run in self._runs.values():
            run.wake()
        self._spawn(self.background.configure())

    async def create(
        self,
        tenant: str,
        *,
        endpoint: str,
        input_file_id: str,
        metadata: dict[str, str] | None = None,
        output_expires_after: int | None = None,
        prefix: str = "batch_",
        lines: Sequence[bytes] | None = None,
        model: str | None = None,
    ) -> ServedBatch:
        """Make a batch and set it going.

        Args:
            tenant: Its tenant.
            endpoint: The endpoint of its requests.
            input_file_id: The file that holds its lines; empty where they are given here.
            metadata: The client's pairs.
            output_expires_after: Seconds that its results are kept.
            prefix: What its id begins with.
            lines: Its input, where that comes with the create and not in a file.
            model: That of lines that name none.

        Raises:
            WireError: The limit of batches an hour is met.
        """
        settings, now = self.context.settings, time.time()
        batch = ServedBatch(
            id=f"{prefix}{uuid.uuid4().hex}",
            ordinal=0,
            tenant=tenant,
            endpoint=endpoint,
            input_file_id=input_file_id,
            metadata=metadata,
            output_expires_after=output_expires_after,
            order_seed=str(settings.seed) if settings.shuffle else None,
            created_at=now,
            visible_at=now + settings.faults.visible_after,
            expires_at=now + settings.window_seconds,
            output_file_id=new_file_id(),
            error_file_id=new_file_id(),
            total=len(lines or ()),
            model=model,
        )
        if lines is not None:
            await asyncio.to_thread(self._database.keep, lines, batch.id)
        added = await self.context.batches.add(batch, per_hour=settings.limits.batches_per_hour)
        self._drive(added.id)
        return added

    async def cancel(self, batch: ServedBatch) -> ServedBatch:
        """Begin to cancel; a batch that is not live any more comes back as it is."""

        def cancel(_: sqlite3.Connection, now: ServedBatch) -> ServedBatch:
            return now if now.ended or now.status == "cancelling" else now.to("cancelling", time.time())

        after = await self.context.batches.change(batch.id, cancel)
        if run := self._runs.get(batch.id):
            run.wake()
        return after

    def stats(self) -> Stats:
        """The counters as they are now."""
        reader, calls, draws = self._database.reader, self.context.calls, self.context.draws
        totals: dict[str, int] = dict(reader.execute("SELECT name, value FROM totals").fetchall())
        since = totals.pop(_SINCE, 0)
        by_status = dict(
            reader.execute("SELECT status, count(*) FROM batches WHERE ordinal > ? GROUP BY status", (since,))
        )
        responses = dict(reader.execute("SELECT status, count(*) FROM responses GROUP BY status"))
        return Stats.from_wire(
            {
                **totals,
                "responses_by_status": responses,
                "batches": sum(by_status.values()),
                "batches_by_status": by_status,
                "calls": dict(calls),
                "faults": {name: count for name, count in draws.fired.items() if count},
            }
        )

    def repeats(self) -> list[dict[str, str]]:
        """The lines that were paid a second time, oldest first."""
        rows = self._database.reader.execute("SELECT batch_id, custom_id FROM repeats ORDER BY rowid LIMIT 1000")
        return [{"batch_id": batch_id, "custom_id": custom_id} for batch_id, custom_id in rows.fetchall()]

    async def reset(self) -> None:
        """Set all counters to zero, and forget what was paid."""

        def reset(connection: sqlite3.Connection) -> None:
            for table in ("paid", "bodies", "repeats", "totals"):
                connection.execute(f"DELETE FROM {table}")  # noqa: S608
            (newest,) = connection.execute("SELECT coalesce(max(ordinal), 0) FROM batches").fetchone()
            add(connection, **{_SINCE: newest})

        await self._database.write(reset)
        self.context.calls.clear()
        self.context.draws.fired.clear()

    async def count(self, **amounts: int) -> None:
        """Add to the totals."""
        await self._database.write(lambda connection: add(connection, **amounts))

    def _drive(self, batch_id: str) -> None:
        self._runs[batch_id] = BatchRun(self.context, batch_id)
        self._spawn(self._drive_to_end(batch_id))

    async def _drive_to_end(self, batch_id: str) -> None:
        try:
            batch = await self._runs[batch_id].drive()
        finally:
            self._runs.pop(batch_id, None)
        await self._announce(batch)

    async def _announce(self, batch: ServedBatch) -> None:
        if self.context.settings.webhook_url is None:
            return
        if form_of(batch.endpoint) is GEMINI:
            await self._deliver(gemini_event(f"batches/{batch.id}", batch.status, time.time()))
        else:
            await self._deliver(event(batch.id, f"batch.{batch.status}", time.time()))
        await self.context.batches.change(batch.id, lambda _, now: replace(now, announced=True))

    async def _announce_response(self, response_id: str, status: str) -> None:
        """Send the event of a response that has ended, without waiting for the receiver."""
        if self.context.settings.webhook_url is not None:
            self._spawn(self._deliver(event(response_id, f"response.{status}", time.time())))

    async def _deliver(self, what: WebhookEvent | GeminiWebhookEvent) -> None:
        url, secret = self.context.settings.webhook_url, self.context.settings.webhook_secret
        if url is None:
            return
        if self._http is None:
            self._http = httpx.AsyncClient()  # loads certificates, which few servers ever need
        if not await deliver(self._http, url, secret, what):
            _warn(f"the webhook of {what['data']['id']} was not accepted by {url}; it will not be sent again")

    def _unannounced(self) -> list[ServedBatch]:
        if self.context.settings.webhook_url is None:
            return []
        ended = ", ".join(repr(status) for status in sorted(ENDED))
        rows = self._database.reader.execute(f"SELECT record FROM batches WHERE status IN ({ended})")  # noqa: S608
        return [batch for (record,) in rows if not (batch := ServedBatch.load(record)).announced]

    async def _sweep(self) -> None:
        while True:
            await self.context.files.sweep()
            await asyncio.sleep(SWEEP_SECONDS)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _warn(f"a task of the server failed: {error!r}")


def _warn(text: str) -> None:
    sys.stderr.write(f"{text}\n")
