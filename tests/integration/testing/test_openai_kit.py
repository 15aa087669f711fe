"""What the providers' integration tests share: clients, chats, and a scripted server."""

import asyncio
import json
import uuid
from collections import Counter

from openai import AsyncOpenAI

from batch_bridge.testing.conformance import requests


def key():
    return f"test-{uuid.uuid4().hex}"


def client_of(base_url, api_key=None, **options):
    return AsyncOpenAI(base_url=base_url, api_key=api_key or key(), **options)


def chats(count):
    return requests([{"role": "user", "content": f"question {i}"}] for i in range(count))


CUT, HANG = "cut", "hang"


class Script:
    """An HTTP server on this event loop, that answers what it is told to: for what no real server does.

    `routes` maps `"GET /v1/batches"` to `(status, body)` or `(status, body, headers)`, to `CUT` (the connection is
    closed without an answer) or `HANG`, or to a list of such, of which the last stays.
    """

    def __init__(self, routes):
        self.routes = routes
        self.calls = Counter()
        self.queries = []
        self.bodies = {}
        self._hung = asyncio.Event()

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.base_url = f"http://127.0.0.1:{port}/v1"
        return self

    async def __aexit__(self, *exc_info):
        self._hung.set()
        self._server.close()

    async def _serve(self, reader, writer):
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                method, target, _ = head.split(b" ", 2)
                length = next(
                    (h.split(b":")[1] for h in head.lower().split(b"\r\n") if h.startswith(b"content-length")),
                    0,
                )
                path, _, query = target.decode().partition("?")
                route = f"{method.decode()} {path}"
                self.bodies[route] = await reader.readexactly(int(length))
                self.calls[route] += 1
                self.queries.append(query)
                if not await self._answer(route, writer):
                    break
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    async def _answer(self, route, writer):
        answer = self.routes.get(route, (404, {"detail": f"no route {route}"}))
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        if answer == CUT:
            return False
        if answer == HANG:
            await self._hung.wait()
            return False
        status, body, *headers = answer
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        kind = "application/octet-stream" if isinstance(body, bytes) else "application/json"
        more = {"content-type": kind, "content-length": str(len(data)), **(headers[0] if headers else {})}
        lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in more.items())]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + data)
        await writer.drain()
        return int(more["content-length"]) == len(data)


def refusal(status, message="no", code=None, headers=None):
    return status, {"error": {"message": message, "type": "t", "code": code, "param": None}}, headers or {}
