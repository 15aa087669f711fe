"""Threads belong to users: nobody but the service sees another's."""

import os
from typing import Any
from urllib.parse import unquote

from langgraph_sdk import Auth

auth = Auth()
SERVICE = "service"


@auth.authenticate
async def who(headers: dict[bytes, bytes]) -> Auth.types.MinimalUserDict:
    """Take a user's word for it."""
    name = (headers.get(b"x-user") or b"").decode()
    if not name:
        raise Auth.exceptions.HTTPException(status_code=401, detail="who are you?")
    if name == SERVICE and not os.environ.get("DEAF"):
        name = unquote((headers.get(b"batch-bridge-on-behalf-of") or b"").decode()) or name
    return {"identity": name}


@auth.on
async def nothing_else(ctx: Auth.types.AuthContext, value: Any) -> bool:
    """Refuse what no other rule allows."""
    return ctx.user.identity == SERVICE


@auth.on.assistants
async def assistants(ctx: Auth.types.AuthContext, value: Any) -> bool:
    """Everybody may read and run assistants."""
    return True


@auth.on.threads
async def threads(ctx: Auth.types.AuthContext, value: Any) -> Any:
    """Who makes a thread owns it, and only the owner and the service see it."""
    if ctx.user.identity == SERVICE:
        return True
    if ctx.action in ("create", "create_run"):
        value.setdefault("metadata", {})["owner"] = ctx.user.identity
    return {"owner": ctx.user.identity}
