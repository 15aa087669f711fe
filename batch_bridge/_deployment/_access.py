"""Who calls the server on a bridge's behalf."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias
from uuid import UUID, uuid5
from weakref import WeakKeyDictionary, WeakValueDictionary

from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient

Service: TypeAlias = LangGraphClient | Callable[[], LangGraphClient]
"""A client with an identity of its own, or what makes one."""

LINGER: Final = 1
"""Seconds between the first wait that rings a bell and the tick that answers it."""
_NAMES = UUID("6f0a8a52-5b0e-5d0c-9a53-0b6b6f1f6c11")


def bridge_thread(graph_id: str) -> str:
    """Return the thread that all ticks of a bridge run on. Their queue is what keeps two ticks apart."""
    return str(uuid5(_NAMES, graph_id))


@dataclass(eq=False)
class Access:
    """How a bridge and those who wait for it reach the server.

    Args:
        service: Calls as itself, and so sees what its headers allow. Without one the server is called in-process, as
            the user whose run makes the call.
        linger: Seconds between the first wait that rings and the tick that answers it.
    """

    service: Service | None = None
    linger: int = LINGER

    def __post_init__(self) -> None:
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, LangGraphClient] = WeakKeyDictionary()

    def client(self) -> LangGraphClient:
        """Return a client for the loop that runs; a connection belongs to one loop."""
        if isinstance(self.service, LangGraphClient):
            return self.service
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            client = self._clients[loop] = self.service() if self.service else get_client()
        return client


_DEFAULT = Access()
_known: WeakValueDictionary[str, Access] = WeakValueDictionary()


def introduce(name: str, access: Access) -> None:
    """Remember how a bridge is reached, for the waits of this process that know only its name."""
    _known[name] = access


def is_introduced(name: str) -> bool:
    """Tell whether this process holds a bridge of that name."""
    return name in _known


def access_of(name: str) -> Access:
    """Return how a bridge is reached; in-process, where it has not introduced itself here."""
    return _known.get(name, _DEFAULT)
