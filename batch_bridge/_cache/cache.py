"""The response cache that users open."""

import hashlib
import os
import threading
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from types import TracebackType
from typing import Final, Self

from langgraph.store.base import BaseStore

from batch_bridge._cache.backend import CacheBackend, CacheEntry
from batch_bridge._cache.sqlite import SQLiteBackend
from batch_bridge._cache.store import StoreBackend
from batch_bridge._core.durations import Within, required
from batch_bridge._core.json import text as _text
from batch_bridge._core.models import JSON
from batch_bridge._core.wording import log_text as _logged
from batch_bridge._core.wording.log import logger_of

logger = logger_of(__name__)

_SWEEP_EVERY: Final = 500
"""Answers that are kept between two sweeps; each deletes at most twice as many."""


@dataclass(frozen=True, slots=True)
class CacheStats:
    """The counters of one `ResponseCache` since its creation.

    Attributes:
        hits: Requests that it answered.
        misses: Requests that it could not answer.
        stored: Answers that it has stored.
        expired: Misses because the answer was too old.
    """

    hits: int = 0
    misses: int = 0
    stored: int = 0
    expired: int = 0


class ResponseCache:
    """Stores answers to earlier requests, so that an equal request costs nothing.

    ::

        cache = ResponseCache("cache.db", ttl=timedelta(days=30))
        bridge = Bridge(OpenAIBatch(model="gpt-4o-mini"), cache=cache)

    It answers a request if everything that decides its answer is equal: the whole body (schema, tools and
    images included), endpoint, base URL, organisation and project, the provider, the tenant and the sample. Only
    answers are stored, never errors. Any number of bridges, threads and processes may share one.

    A failure of the cache does not fail a request: it is logged once, and counts as misses.

    Args:
        place: The path of a SQLite file, created if it does not exist; or a LangGraph store, which the caller closes,
            and which is used on the event loop of the bridge.
        ttl: How long an answer may be used. `None` is without limit.
        tenant: Separates answers. On a LangGraph server with users, the user of a request
            separates them too.

    Raises:
        CacheError: The file is damaged, locked, unreachable, or belongs to another program.
        TypeError: An argument has the wrong type.
        ValueError: `ttl` is not positive, or not finite.
    """

    def __init__(self, place: str | os.PathLike[str] | BaseStore, *, ttl: Within = None, tenant: str = "") -> None:
        if isinstance(ttl, int | float) and not abs(ttl) <= timedelta.max.total_seconds():  # not a number, or too long
            raise ValueError(f"ResponseCache(ttl={ttl!r}) is no time to keep an answer; give seconds, or None")
        entry = None if ttl is None else required(ttl, "ResponseCache(ttl={given})")
        if entry is not None and entry <= timedelta(0):
            raise ValueError(f"ResponseCache(ttl={ttl!r}) would keep nothing; give a positive duration, or None")
        if not isinstance(tenant, str):
            raise TypeError(f"ResponseCache(tenant={tenant!r}): pass a string")
        if isinstance(place, BaseStore):
            self._backend: CacheBackend = StoreBackend(place)
        elif isinstance(place, str | os.PathLike):
            self._backend = SQLiteBackend(place)
        else:
            raise TypeError(f"ResponseCache({place!r}): pass the path of a file, or a LangGraph store")
        self._closing = weakref.finalize(self, self._backend.close)
        self._ttl = None if entry is None else entry.total_seconds()
        self._tenant = hashlib.blake2b(tenant.encode(errors="surrogatepass"), digest_size=16).hexdigest()
        self._stats = CacheStats()
        self._sweep_every = _SWEEP_EVERY
        self._unswept = self._sweep_every  # the first answer that is kept sweeps
        self._complained: set[str] = set()
        self._lock = threading.Lock()

    @property
    def stats(self) -> CacheStats:
        """The counters since its creation, in this process."""
        return self._stats

    async def recall(self, keys: Sequence[str], now: datetime, *, again: bool = False) -> dict[str, JSON]:
        """Return the answers that are known and not too old, by key. For bridges; raises nothing.

        Args:
            keys: One for each request; a key may come twice.
            now: Aware UTC.
            again: The same requests were misses before, and are counted already.
        """
        at = now.timestamp()
        answers: dict[str, JSON] = {}
        old: set[str] = set()
        broken: list[str] = []
        try:
            for key, entry in (await self._backend.get(self._tenant, list(dict.fromkeys(keys)))).items():
                if self._is_over(entry, at):
                    old.add(key)
                    continue
                try:
                    answers[key] = _text.read(entry.answer)
                except ValueError:
                    broken.append(key)
            if old or broken:
                await self._backend.drop(self._tenant, [*old, *broken])
        except Exception as error:  # noqa: BLE001  # whatever a store raises; answers that it did not return are asked again
            self._complain("read", error)
        hits = sum(key in answers for key in keys)
        if again:
            self._count(hits=hits, misses=-hits)
        else:
            self._count(hits=hits, misses=len(keys) - hits, expired=sum(key in old for key in keys))
        return answers

    async def remember(self, answers: Mapping[str, JSON], now: datetime) -> None:
        """Keep answers by key; a second one takes the place of the first. For bridges; raises nothing."""
        at = now.timestamp()
        until = None if self._ttl is None else at + self._ttl
        try:
            await self._backend.put(
                self._tenant, {key: CacheEntry(_text.write(answer), at, until) for key, answer in answers.items()}
            )
            self._count(stored=len(answers))
            self._unswept += len(answers)
            if self._unswept >= self._sweep_every:
                self._unswept = 0
                await self._backend.sweep(at)
        except Exception as error:  # noqa: BLE001  # as in `recall`
            self._complain("written", error)

    async def erase(self, owner: str) -> None:
        """Delete the answers of one owner, as their keys name it. For bridges; raises what `aclear` raises."""
        await self._backend.erase(self._tenant, owner)

    async def aclear(self) -> None:
        """Delete all answers of this tenant.

        Raises:
            sqlite3.Error: The file cannot be written; or what the store raises.
        """
        await self._backend.clear(self._tenant)

    def clear(self) -> None:
        """Run `aclear` and block. Not for a store that belongs to an event loop."""
        self._backend.clear_blocking(self._tenant)

    def close(self) -> None:
        """Close the file; bridges that still use it find no answers. Idempotent. A store stays open."""
        self._closing()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _is_over(self, entry: CacheEntry, at: float) -> bool:
        if entry.until is not None and entry.until <= at:
            return True
        return self._ttl is not None and entry.at + self._ttl <= at

    def _count(self, hits: int = 0, misses: int = 0, stored: int = 0, expired: int = 0) -> None:
        with self._lock:
            s = self._stats
            self._stats = replace(
                s, hits=s.hits + hits, misses=s.misses + misses, stored=s.stored + stored, expired=s.expired + expired
            )

    def _complain(self, what: str, error: Exception) -> None:
        with self._lock:
            is_news = what not in self._complained
            self._complained.add(what)
        if is_news:
            logger.warning(
                "the response cache cannot be %s (%s); requests are sent as if it were empty. This is logged once",
                what,
                _logged.said(error),
            )
