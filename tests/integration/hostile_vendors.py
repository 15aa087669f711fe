"""The hostile server of `hostile_server.py` in the words of Anthropic, Gemini and Azure.

Run as `python hostile_vendors.py VENDOR MODE`; it prints its port. A mode that is not about one vendor's words is one
of `hostile_server.CONTENT`.
"""

import asyncio
import sys
from urllib.parse import parse_qs

import hostile_server as hostile

KEY = "my-very-own-key-17"
NASTY = "\x1b]0;owned\x07\x1b[2J\nERROR forged line, key " + KEY
LATER = "2999-01-01T00:00:00Z"
ERRORS = {
    "anthropic": {"type": "error", "error": {"type": "bad\nthing", "message": NASTY}},
    "gemini": {"error": {"code": 500, "message": NASTY, "status": "BAD\nTHING"}},
    "azure": {"error": {"message": NASTY, "code": "bad\nthing"}},
}


def anthropic_batch(port, mode, name="msgbatch_1", *, created=LATER, ended=True):
    host = "localhost" if mode == "results_elsewhere" else "127.0.0.1"
    path = "/v1/files/precious" if mode == "results_path" else f"/v1/messages/batches/{name}/results"
    return {
        "id": name,
        "type": "message_batch",
        "processing_status": "ended" if ended else "in_progress",
        "request_counts": {"processing": 0, "succeeded": 1, "errored": 0, "canceled": 0, "expired": 0},
        "created_at": created,
        "expires_at": LATER,
        "ended_at": created if ended else None,
        "archived_at": None,
        "cancel_initiated_at": None,
        "results_url": f"http://{host}:{port}{path}" if ended else None,
    }


def gemini_batch(mode, name="batches/b1"):
    file = "files/../batches/precious" if mode == "traversal" else "files/out"
    if mode == "other_kind":
        file = "http://localhost/elsewhere"
    return {
        "name": name,
        "metadata": {
            "state": "BATCH_STATE_SUCCEEDED",
            "displayName": "stranger",
            "createTime": "2026-01-01T00:00:00Z",
            "batchStats": {"requestCount": "1", "successfulRequestCount": "1"},
            "output": {"responsesFile": file},
        },
        "done": True,
    }


async def page(vendor, mode, port, query, writer):
    if vendor == "anthropic":
        start = int((query.get("after_id") or ["_0"])[0].rpartition("_")[2])
        many = [anthropic_batch(port, mode, f"msgbatch_{start + each}") for each in range(1, 101)]
        body = {"data": many, "has_more": True, "first_id": many[0]["id"], "last_id": many[-1]["id"]}
    elif vendor == "gemini":
        start = int((query.get("pageToken") or ["0"])[0])
        many = [gemini_batch(mode, f"batches/x{start + each}") for each in range(100)] if mode == "listing" else []
        body = {"operations": many, "nextPageToken": str(start + 100)}
    else:
        start = int((query.get("after") or ["batch_0"])[0].partition("_")[2])
        many = [
            {**hostile.BATCH, "id": f"batch_{start + each}", "created_at": 9_999_999_999, "status": "completed"}
            for each in range(1, 101)
        ]
        body = {"object": "list", "data": many, "has_more": True}
    await hostile.send(writer, body)


async def state(vendor, mode, port, writer):
    if mode == "poll_bomb":
        data = hostile.bomb()
        writer.write(hostile.head(len(data), content_encoding="gzip") + data)
    elif mode == "poll_drip":
        await hostile.drip(writer, port)
    elif mode == "poll_redirect":
        await hostile.redirect(writer, port)
    elif mode == "texts":
        await hostile.send(writer, ERRORS[vendor], status="500 Oops")
    elif vendor == "anthropic":
        await hostile.send(writer, anthropic_batch(port, mode))
    elif vendor == "gemini":
        await hostile.send(writer, gemini_batch(mode))
    else:
        file = "../files/precious?x=" if mode == "traversal" else "file-out"
        await hostile.send(writer, {**hostile.DONE, "output_file_id": file})


BATCHES = {"anthropic": "/v1/messages/batches", "gemini": "/v1beta/batches", "azure": "/openai/batches"}
STATES = {
    "anthropic": "/v1/messages/batches/msgbatch_1",
    "gemini": "/v1beta/batches/b1",
    "azure": "/openai/batches/batch_1",
}
RESULTS = {
    "anthropic": "/v1/messages/batches/msgbatch_1/results",
    "gemini": "/v1beta/files/out:download",
    "azure": "/openai/files/file-out/content",
}


async def answer(vendor, mode, port, method, target, writer):  # noqa: PLR0917
    path, _, query = target.partition("?")
    if vendor == "gemini":  # its newest SDK asks so
        path = path.replace("/v1/", "/v1beta/", 1)
    if path == "/seen":
        await hostile.send(writer, hostile.SEEN)
    elif path == BATCHES[vendor] and method == "GET":
        await page(vendor, mode, port, parse_qs(query), writer)
    elif path == STATES[vendor] and method == "GET":
        await state(vendor, mode, port, writer)
    elif path == RESULTS[vendor] and mode in hostile.CONTENT:
        await hostile.CONTENT[mode](writer, port)
    elif path == "/upload/v1beta/files" and mode == "upload_elsewhere":
        elsewhere = f"http://localhost:{port}/v1/elsewhere"
        await hostile.send(writer, {}, x_goog_upload_url=elsewhere, x_goog_upload_status="active")
    else:
        await hostile.send(writer, ERRORS[vendor], status="404 Not Found")


async def main(vendor, mode):
    async def serve(reader, writer):
        try:
            request = (await reader.readuntil(b"\r\n\r\n")).decode()
            method, target, _ = request.split(" ", 2)
            fields = dict(line.split(": ", 1) for line in request.split("\r\n")[1:] if ": " in line)
            fields = {name.lower(): value for name, value in fields.items()}
            await reader.readexactly(int(fields.get("content-length", 0)))
            if target != "/seen":
                hostile.SEEN.append([method, target, fields.get("host"), KEY in request])
            await answer(vendor, mode, port, method, target, writer)
            writer.close()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    print(port, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
