"""Threads belong to users: nobody but the service sees another's."""

from typing import Any
from urllib.parse import unquote

from langgraph_sdk import Auth

auth = Auth()
SERVICE = "service"


@auth.authenticate
async def who(headers: dict[bytes, bytes]) -> Auth.types.MinimalUserDict:
    """Take a caller's word for it, and the service's for whom it acts."""
    name = (headers.get(b"x-user") or b"nobody").decode()
    if name == SERVICE:
        name = unquote((headers.get(b"batch-bridge-on-behalf-of") or b"").decode()) or name
    return {"identity": name}


@auth.on.threads
async def threads(ctx: Auth.types.AuthContext, value: Any) -> Any:
    """Who makes a thread owns it, and only the owner and the service see it."""
    if ctx.user.identity == SERVICE:
        return True
    if ctx.action in ("create", "create_run"):
        value.setdefault("metadata", {})["owner"] = ctx.user.identity
    return {"owner": ctx.user.identity}
