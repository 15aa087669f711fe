"""A user's token is the user's name; the bridge's service may act for any of them."""

import os
from urllib.parse import unquote

from langgraph_sdk import Auth

auth = Auth()


@auth.authenticate
async def who(headers):
    token = headers.get("authorization", "").removeprefix("Bearer ")
    if token == os.environ.get("BRIDGE_TOKEN"):
        return {"identity": unquote(headers.get("batch-bridge-on-behalf-of", "")) or "bridge"}
    if token in ("ada", "bob"):
        return {"identity": token}
    raise Auth.exceptions.HTTPException(status_code=401, detail="give a token")
