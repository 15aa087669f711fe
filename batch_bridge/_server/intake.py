"""What a bridge takes in on a server: the notes of threads that park, and now and then what a sweep finds."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from batch_bridge._core.models import Request
from batch_bridge._core.wording.log import about, logger_of
from batch_bridge._node.platform.inbox import Note, read_notes, remove_notes
from batch_bridge._server.delivery import Outbox
from batch_bridge._server.parts import HostParts
from batch_bridge._server.port.threads import ThreadServer
from batch_bridge._server.threads.view import ThreadView
from batch_bridge._server.unreadable import report

logger = logger_of(__name__)

_SWEEP_PAGES = 5
"""Pages of parked threads that one pass of a sweep reads."""
_SWEEP_EVERY = timedelta(minutes=10)
_NOT_PARKED = timedelta(seconds=5)
"""How long a note counts whose thread is neither parked nor busy."""
_MOST_REPORTED = 10_000
_LOOKED_AT = 200
"""Threads that are held in memory at once, with all that they ask for."""


@dataclass(slots=True)
class News:
    """What a pass has found.

    Attributes:
        notes: Whether there were any.
        look_at: When to look again at those of threads that have not parked yet.
        again: There is more to sweep.
        problem: What a person should know.
        unparked: Threads that have said they park and have not yet, and when they said so first.
    """

    notes: bool = False
    look_at: datetime | None = None
    again: bool = False
    problem: str = ""
    unparked: dict[str, datetime] = field(default_factory=dict)


class Intake:
    """Takes requests in for the engine, and out of its queue when no thread waits for them any more.

    Args:
        parts: The parts of the host.
        outbox: Learns which threads have parked again.
        patience: For how long the note of a thread that is hidden from this user is kept.
    """

    def __init__(self, parts: HostParts, outbox: Outbox, *, patience: timedelta) -> None:
        self._name, self._store, self._records = parts.bridge, parts.store, parts.records
        self._engine, self._renew = parts.engine, parts.renew
        self._users, self._ring = parts.users, parts.key_ring
        self._outbox = outbox
        self._patience = patience
        self._reported: set[str] = set()
        self.sweep_at: datetime | None = None
        self._sweep_began: datetime | None = None
        self._sweep_since: datetime | None = None
        self._swept: int | None = 0

    async def collect(self, server: ThreadServer, now: datetime, *, may_hide: bool, user: str) -> News:
        """Take in what newly parked threads ask for; look for forgotten ones now and then.

        Args:
            server: Runs the threads.
            now: Aware UTC.
            may_hide: A thread that is not seen may be another user's.
            user: The identity with which the server is called.
        """
        notes, unreadable = await read_notes(self._store, self._name)
        news = News(notes=bool(notes))
        for key in unreadable:
            news.problem = report(self._name, "the inbox", key)
        await remove_notes(self._store, self._name, unreadable)
        for start in range(0, len(notes), _LOOKED_AT):
            await self._renew()
            page = notes[start : start + _LOOKED_AT]
            await self._answer(server, page, now, news, hidden_from=user if may_hide else "")
        news.again = await self._sweep(server, now, news)
        return news

    async def _answer(
        self, server: ThreadServer, notes: list[Note], now: datetime, news: News, hidden_from: str
    ) -> None:
        threads = list(dict.fromkeys(note.thread for note in notes))
        users = await self._users.note({note.thread: note.user for note in reversed(notes)})  # the oldest counts
        seen = await server.look(threads)
        self._report(seen.values(), news)
        fresh = await self._take_in(seen.values(), now, {note.thread: note.left_at for note in notes}, users)
        for note in notes:
            if note.thread in seen and note.asks in seen[note.thread].digests(self._name):
                if note.idle is not None or note.thread not in fresh:
                    self._outbox.strike(note.thread, idle=bool(note.idle) and note.thread in fresh)
                await self._records.note_unclaimed(note.unclaimed, note.thread, now)
        self._outbox.hasten(threads, now)
        await remove_notes(self._store, self._name, self._sort(notes, seen, now, news, hidden_from))

    async def _take_in(
        self,
        threads: Iterable[ThreadView],
        now: datetime,
        asked_at: Mapping[str, datetime] | None = None,
        users: Mapping[str, str] | None = None,
    ) -> set[str]:
        """Take in what threads ask for, and return those that ask for something new."""
        requests: list[Request] = []
        stale: list[str] = []
        for thread in threads:
            asked = thread.asks(self._name)
            if asked:
                requests += [each.request(thread.id) for each in asked if not self._records.ledger.is_held(each.id)]
                stale += self._records.queued_of(thread.id) - {each.id for each in asked}
        requests = await self._users.owned(requests, users)
        await self._engine.drop(stale)
        new = [each for each in requests if not self._engine.knows(each.id)]
        settled = await self._engine.collect(requests, now, asked_at=asked_at)
        await self._records.outbox.add({each.id: each.thread for each in requests if each.id in settled})
        self._outbox.add(settled, now, again=True)
        return {each.thread for each in new if each.id not in settled}

    def _report(self, threads: Iterable[ThreadView], news: News) -> None:
        """Report once that a thread has an interrupt that looks like ours but is not obeyed."""
        for thread in threads:
            if thread.refused and thread.id not in self._reported:
                if len(self._reported) >= _MOST_REPORTED:
                    self._reported.clear()
                self._reported.add(thread.id)
                news.problem = f"thread {thread.id}: {thread.refused}. It is ignored; other threads are served"
                logger.warning("%s: %s", self._name, news.problem, extra=about(bridge=self._name))

    def _sort(
        self, notes: list[Note], seen: dict[str, ThreadView], now: datetime, news: News, hidden_from: str
    ) -> list[str]:
        """Return the notes that are done with; note when to look at the others again."""
        done: list[str] = []
        for note in notes:
            thread, age = seen.get(note.thread), now - note.left_at
            if thread is None and hidden_from and note.user != hidden_from:
                news.problem = (
                    f"thread {note.thread} of user {note.user!r} is hidden from {hidden_from!r}; give the bridge an "
                    "identity that can read all threads: Bridge(…, client=lambda: get_client(url=…, headers=…))"
                )
                wait = age < self._patience
            elif thread is None or note.asks in thread.digests(self._name):
                wait = False
            else:
                wait = thread.busy or age < _NOT_PARKED
            if wait:
                news.unparked.setdefault(note.thread, note.left_at)
                again = now + min(max(age / 4, timedelta(seconds=0.5)), timedelta(seconds=30))
                news.look_at = again if news.look_at is None else min(news.look_at, again)
            else:
                done.append(note.key)
        return done

    async def _sweep(self, server: ThreadServer, now: datetime, news: News) -> bool:
        """Look for parked threads that left no note, a few pages in a pass; return whether there are more."""
        if self._swept is None and self.sweep_at is not None and now >= self.sweep_at:
            self._swept = 0
        if self._swept is None:
            return False
        for _ in range(_SWEEP_PAGES):
            threads, last = await server.parked(self._swept, self._sweep_since)
            self._report(threads, news)
            await self._take_in([thread for thread in threads if self._is_news(thread)], now)
            self._swept += len(threads)
            if last:  # the next one looks at what has parked since the one before this
                self._sweep_since, self._sweep_began = self._sweep_began, now
                self._swept, self.sweep_at = None, now + _SWEEP_EVERY
                return False
        return True

    def _is_news(self, thread: ThreadView) -> bool:
        asked = {each.id for each in thread.asks(self._name) if not self._records.ledger.is_held(each.id)}
        return any(not self._engine.knows(each) and each not in self._records.dead for each in asked)

    async def drop_abandoned(self, server: ThreadServer, ids: tuple[str, ...], *, may_hide: bool) -> None:
        """Remove abandoned requests from the queue: their thread was deleted, has ended, or does other work.

        Judged by the threads' interrupts: one that was given new input may wait for something else by now.

        Args:
            server: Runs the threads.
            ids: Requests that wait to be sent.
            may_hide: As for `collect`.
        """
        by_thread: dict[str, list[str]] = {}
        for request_id in ids:
            by_thread.setdefault(self._records.owners.thread_of(request_id), []).append(request_id)
        abandoned: list[str] = []
        threads = list(by_thread)
        for start in range(0, len(threads), _LOOKED_AT):
            page = threads[start : start + _LOOKED_AT]
            seen = await server.look(page, closely=True)
            for thread in page:
                if thread in seen or not may_hide:
                    held = by_thread[thread]
                    found = seen[thread].vouched(self._name, set(held)) if thread in seen else None
                    abandoned += _abandoned(found, self._name, held)
            await self._renew()
        await self._engine.drop(abandoned)


def _abandoned(thread: ThreadView | None, bridge: str, queued: list[str]) -> list[str]:
    """Return those of a thread's queued requests that it does not wait for any more; one that runs may yet."""
    if thread is None or thread.failed:
        return queued
    asked = {each.id for each in thread.asks(bridge)}
    return [] if thread.busy else [request_id for request_id in queued if request_id not in asked]
