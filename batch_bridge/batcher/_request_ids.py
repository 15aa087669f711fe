"""What a Batcher's requests are called: what makes an item asked again the same request, or another one."""

import hashlib
import heapq
import threading
import uuid
from collections.abc import Iterable
from typing import Protocol

from batch_bridge._core.json import messages as _messages
from batch_bridge._core.json.json_values import dumps
from batch_bridge._core.models import JSON


class Names(Protocol):
    """Gives ids to items. Safe to use from several threads."""

    def name(self, item: JSON, identity: bytes = b"") -> str:
        """Return the id of an item that is asked now: 32 hex digits.

        Args:
            item: What is asked.
            identity: What decides its answer besides, as far as the provider says so.
        """
        ...

    def give_back(self, request_id: str) -> None:
        """Note that the caller has its answer, or waits no more: the next equal item may be the same request."""
        ...


class FreshNames:
    """Ids for requests that no caller will ask for again."""

    def __init__(self) -> None:
        self._prefix = f"{uuid.uuid4().hex[:15]}f"  # so that no id looks like a number beyond 64 bits (`is_long`)
        self._count = 0
        self._lock = threading.Lock()

    def name(self, _: JSON, identity: bytes = b"") -> str:  # noqa: ARG002  # the protocol's
        """Return the next id."""
        return self.names(1)[0]

    def names(self, count: int) -> list[str]:
        """Return the next ids, as many as are asked for."""
        with self._lock:
            first = self._count + 1
            self._count += count
        prefix = self._prefix
        return [f"{prefix}{number:016x}" for number in range(first, first + count)]

    def give_back(self, request_id: str) -> None:
        """Nothing: no id is used twice."""


class DurableNames:
    """Ids that the next process finds again: the content, and how many equal items this process asked before.

    A content is remembered until all its outcomes are forgotten: then an equal item may be called the same again.
    """

    def __init__(self, batcher: str) -> None:
        self._key = batcher.encode()[:64]
        self._equal: dict[bytes, int] = {}
        self._forgotten: dict[bytes, int] = {}
        self._asked: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._equal)

    def name(self, item: JSON, identity: bytes = b"") -> str:
        """Return the id of an item, and count it."""
        content = _content(item, self._key, identity)
        with self._lock:
            equal = self._equal.get(content, 0)
            self._equal[content] = equal + 1
            request_id = _id(content, equal)
            self._asked[request_id] = content
        return request_id

    def give_back(self, request_id: str) -> None:
        """Nothing: an equal item is a new request for as long as its outcome is kept."""

    def told(self, ids: Iterable[str]) -> list[str]:
        """Return the contents of requests whose outcomes this process has delivered, as hex digits."""
        with self._lock:
            contents = [self._asked.pop(each, None) for each in ids]
        return [each.hex() for each in contents if each is not None]

    def forget(self, contents: Iterable[str]) -> None:
        """Note that outcomes are forgotten, one for each content."""
        with self._lock:
            for each in contents:
                content = bytes.fromhex(each)
                forgotten = self._forgotten.pop(content, 0) + 1
                if forgotten >= self._equal.get(content, 0):
                    self._equal.pop(content, None)
                else:
                    self._forgotten[content] = forgotten


class ReturnedNames:
    """Ids like those of `DurableNames`, which are given out again once the caller has its answer.

    So a script that asks again and again, until the answer is there and after that, asks for one request, while equal
    items that are asked side by side are several.
    """

    def __init__(self, batcher: str) -> None:
        self._key = batcher.encode()[:64]
        self._next: dict[bytes, int] = {}
        self._returned: dict[bytes, list[int]] = {}
        self._given: dict[str, tuple[bytes, int]] = {}
        self._lock = threading.Lock()

    def name(self, item: JSON, identity: bytes = b"") -> str:
        """Return the first id of an item that is not in use."""
        content = _content(item, self._key, identity)
        with self._lock:
            returned = self._returned.get(content)
            if returned:
                equal = heapq.heappop(returned)
            else:
                equal = self._next.get(content, 0)
                self._next[content] = equal + 1
            request_id = _id(content, equal)
            self._given[request_id] = content, equal
        return request_id

    def __len__(self) -> int:
        return len(self._next)

    def give_back(self, request_id: str) -> None:
        """Let the next equal item have this id. Done twice, it changes nothing."""
        with self._lock:
            given = self._given.pop(request_id, None)
            if given is None:
                return
            content, equal = given
            returned = self._returned.setdefault(content, [])
            heapq.heappush(returned, equal)
            if len(returned) == self._next[content]:  # none is in use: as if none had been given out
                del self._returned[content], self._next[content]


def _content(item: JSON, key: bytes, identity: bytes) -> bytes:
    state = hashlib.blake2b(dumps(_messages.without_ids(item)), digest_size=16, key=key)
    if identity:
        state.update(b"\0")  # no JSON holds it
        state.update(identity)
    return state.digest()


def _id(content: bytes, equal: int) -> str:
    return hashlib.blake2b(content + equal.to_bytes(8), digest_size=16).hexdigest()
