"""A graph behind a web API: a POST starts a thread, and a GET tells what has become of it. Nobody need stay for it.

Requests that come close together share a batch. Stop the service whenever you like, also with SIGTERM: what was
accepted goes on when it starts again. Start it in this directory, here against the Batch API server::

    batch-bridge serve
    OPENAI_BASE_URL=http://127.0.0.1:8000/v1 OPENAI_API_KEY=any \\
        uvicorn service:app --port 8080 --timeout-graceful-shutdown 5
    curl -X POST localhost:8080/summaries/a1 -H 'content-type: application/json' -d '{"text": "What a day."}'
    curl localhost:8080/summaries/a1?wait=20
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypedDict

from fastapi import FastAPI, HTTPException, Request, Response
from langgraph.graph import START, StateGraph
from pydantic import BaseModel

from batch_bridge import Bridge, FlushPolicy, Pending, Runner, wait
from batch_bridge.errors import RunMismatchError, SubmittedThreadError, UnknownThreadError
from batch_bridge.providers.openai import OpenAIBatch


class State(TypedDict, total=False):
    text: str
    summary: str


async def summarise(state: State) -> State:
    answer = await wait([{"role": "user", "content": f"Summarise: {state['text']}"}])
    return {"summary": answer["choices"][0]["message"]["content"]}


graph = StateGraph(State).add_node(summarise).add_edge(START, "summarise")


def number(variable: str, default: float) -> float:
    return float(os.environ.get(variable, default))


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """The Runner is open as long as the service; opened again, it goes on with what was accepted before."""
    bridge = Bridge(
        OpenAIBatch(model="gpt-4o-mini"),
        flush=FlushPolicy(max_idle=number("MAX_IDLE", 1), max_age=number("MAX_AGE", 60)),
        poll_interval=number("POLL_INTERVAL", 30),
    )
    async with Runner(graph, bridge, path=os.environ.get("RUN_DB", "service.db"), progress=False) as runner:
        app.state.runner = runner
        yield


app = FastAPI(lifespan=lifespan)


class Text(BaseModel):
    text: str


@app.post("/summaries/{name}", status_code=202)
async def start(name: str, body: Text, request: Request) -> dict[str, str]:
    """Accept a text. It is on disk when this returns; the same again is the same thread."""
    try:
        await request.app.state.runner.submit({"text": body.text}, thread_id=name)
    except RunMismatchError as error:
        raise HTTPException(409, f"{name} was begun with another text") from error
    return {"name": name}


@app.get("/summaries/{name}")
async def look(name: str, request: Request, response: Response, wait: float = 0) -> dict[str, Any]:
    """Return the summary; 202 while it is not there yet, after `wait` seconds at the latest."""
    runner: Runner = request.app.state.runner
    try:
        async with asyncio.timeout(wait or None):
            result = await runner.result(name, on_pending="wait" if wait else "return")
    except TimeoutError:
        result = await runner.result(name, on_pending="return")
    except UnknownThreadError as error:
        raise HTTPException(404, f"there is no {name}") from error
    except SubmittedThreadError as error:
        raise HTTPException(502, str(error)) from error
    if isinstance(result, Pending):
        response.status_code = 202
        return {"name": name, "queued": result.queued, "batches": [batch.handle for batch in result.batches]}
    return {"name": name, "summary": result["summary"]}
