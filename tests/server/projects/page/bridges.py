"""A bridge that calls the server as a service."""

import os

import desk
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient


def client_of(user: str | None) -> LangGraphClient:
    """Return a client of a user, or one that may do everything."""
    return get_client(url=os.environ["LANGGRAPH_API_URL"], headers={"x-user": user or "service"})


bridge = desk.bridge(max_age=0, client=client_of)
