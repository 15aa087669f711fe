"""Who calls the server on a bridge's behalf."""

import asyncio
import sys
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
_served: WeakValueDictionary[str, Access] = WeakValueDictionary()
"""Of bridges that this process serves, by graph id."""
_built: WeakValueDictionary[str, Access] = WeakValueDictionary()
"""Of bridges whose graph was asked for, by their own names: the graph's id, as a rule."""


def introduce(graph_id: str, access: Access) -> None:
    """Remember how a bridge is reached that this process serves, for the waits that know only its graph's id."""
    _served[graph_id] = access


def introduce_built(name: str, access: Access) -> None:
    """Remember how a bridge is reached whose graph was asked for. The first one of a name stays, while it lives."""
    _built.setdefault(name, access)


def is_introduced(name: str) -> bool:
    """Return whether this process serves a bridge of that name."""
    return _find(name) is not None


def access_of(name: str) -> Access:
    """Return how a bridge is reached; in-process, where none of that name is served here."""
    return _find(name) or _DEFAULT


def _find(name: str) -> Access | None:
    return _served.get(name) or _of_server(name) or _built.get(name)


def _of_server(graph_id: str) -> Access | None:
    """Return the access of a bridge that langgraph.json names itself: the server calls it only for its first run.

    Source: `langgraph_api.graph.GRAPHS`, which is not public; without it a bridge is known from its first run on.
    """
    graphs = getattr(sys.modules.get("langgraph_api.graph"), "GRAPHS", None)
    access = getattr(graphs.get(graph_id), "_access", None) if isinstance(graphs, dict) else None
    return access if isinstance(access, Access) else None
