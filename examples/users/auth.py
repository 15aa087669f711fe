"""Who may do what in a deployment with a bridge. Everything that no rule allows is refused.

- A user makes threads, sees those alone, and runs on them the graphs that `USERS_GRAPHS` lists.
- The bridge's service may do everything, and may act for a user: it resumes that user's threads as that user.
- Users get neither the store, in which the requests and answers of all users lie, nor assistants, crons, the bridge
  or its thread.

Set `BRIDGE_TOKEN` to a long random secret that no user has, and keep the bridge's graph out of `USERS_GRAPHS`. In
`langgraph.json` leave `disable_studio_auth` on: Studio's own login would pass by this file.
"""

import hmac
import json
import os
from typing import Any
from urllib.parse import unquote
from uuid import UUID, uuid5

from langgraph_sdk import Auth

auth = Auth()

SERVICE = "batch-bridge-service"
"""Whom the service is known as. No user has this name."""
USERS_GRAPHS = ("adviser",)
"""What users may run: graph ids of `langgraph.json`."""

_ON_BEHALF_OF = b"batch-bridge-on-behalf-of"
"""Names the user whose thread the service resumes. Nobody else is believed."""
_GRAPHS = UUID("6ba7b821-9dad-11d1-80b4-00c04fd430c8")
"""Source: the server names the assistant of a graph `uuid5` of this and the graph's id (`langgraph_api.graph`)."""
_ALLOWED = frozenset(str(uuid5(_GRAPHS, graph)) for graph in USERS_GRAPHS)
_BRIDGE_TOKEN = os.environ["BRIDGE_TOKEN"]
_USERS: dict[str, str] = json.loads(os.environ.get("USER_TOKENS", "{}"))
"""Token -> user. Put your identity provider in its place: check the signature of a JWT, say."""

if len(_BRIDGE_TOKEN) < 16 or _BRIDGE_TOKEN in _USERS or SERVICE in _USERS.values():
    raise ValueError("BRIDGE_TOKEN must be a secret of the bridge alone, of 16 characters or more")


@auth.authenticate
async def who(headers: dict[bytes, bytes]) -> Auth.types.MinimalUserDict:
    token = (headers.get(b"authorization") or b"").removeprefix(b"Bearer ")
    if hmac.compare_digest(token, _BRIDGE_TOKEN.encode()):
        return {"identity": unquote((headers.get(_ON_BEHALF_OF) or b"").decode("ascii")) or SERVICE}
    for known, user in _USERS.items():
        if hmac.compare_digest(token, known.encode()):
            return {"identity": user}
    raise Auth.exceptions.HTTPException(status_code=401, detail="give a token: Authorization: Bearer …")


@auth.on
async def nothing_else(ctx: Auth.types.AuthContext, value: Any) -> bool:  # noqa: ARG001  # the server's form
    return ctx.user.identity == SERVICE


@auth.on.assistants.read
async def read_assistant(ctx: Auth.types.AuthContext, value: Any) -> bool:
    return ctx.user.identity == SERVICE or str(value.get("assistant_id")) in _ALLOWED


@auth.on.threads
async def threads(ctx: Auth.types.AuthContext, value: Any) -> Any:
    user = ctx.user.identity
    if user == SERVICE:
        return True
    if ctx.action == "create_run" and str(value.get("assistant_id")) not in _ALLOWED:
        return False
    if ctx.action in {"create", "create_run", "update"}:
        value.setdefault("metadata", {})["owner"] = user  # in place: the server keeps its own reference
    return {"owner": user}
