"""An HTTP server that speaks OpenAI's Batch API and misbehaves in a chosen way, in a process of its own.

Run as `python hostile_server.py MODE`; it prints its port. Modes are the functions' names below.
"""

import asyncio
import gzip
import json
import sys
import zlib

BATCH = {
    "id": "batch_1",
    "object": "batch",
    "created_at": 1,
    "endpoint": "/v1/chat/completions",
    "input_file_id": "file-in",
}
DONE = {
    **BATCH,
    "status": "completed",
    "output_file_id": "file-out",
    "request_counts": {"total": 1, "completed": 1, "failed": 0},
}
SEEN = []


def head(length=None, kind="application/json", status="200 OK", **more):
    lines = [f"HTTP/1.1 {status}", f"content-type: {kind}", "connection: close"]
    lines += [f"content-length: {length}"] if length is not None else []
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in more.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


async def send(writer, body, **more):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    writer.write(head(len(data), **more) + data)
    await writer.drain()


async def endless_line(writer, _):
    writer.write(head(kind="application/octet-stream"))
    writer.write(b'{"custom_id": "a", "response": {"status_code": 200, "body": {"x": "')
    for _ in range(700):  # 46 MB
        writer.write(b"x" * 65_536)
        await writer.drain()


async def endless_lines(writer, _):
    writer.write(head(kind="application/octet-stream"))
    while True:
        writer.write(b'{"custom_id": "stranger", "response": null}\n' * 1_000)
        await writer.drain()


def bomb(prefix=b""):
    """1.7 GB in 1.7 MB: one block of deflate, again and again. Nobody who is well reads as far as its checksum."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    start = packer.compress(prefix) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(b"0" * 1_000_000) + packer.flush(zlib.Z_FULL_FLUSH)
    return start + block * 1_700


async def gzip_bomb(writer, _):
    data = bomb(b'{"custom_id": "a", "response": {"status_code": 200, "body": "')
    writer.write(head(len(data), "application/octet-stream", content_encoding="gzip") + data)
    await writer.drain()


async def packed_twice(writer, _):
    data = gzip.compress(bomb())
    writer.write(head(len(data), "application/octet-stream", content_encoding="gzip, gzip") + data)
    await writer.drain()


async def drip(writer, _):
    writer.write(head(kind="application/octet-stream"))
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(1)


async def redirect(writer, port):
    await send(writer, b"", status="302 Found", location=f"http://localhost:{port}/v1/elsewhere")


CONTENT = {each.__name__: each for each in (endless_line, endless_lines, gzip_bomb, packed_twice, drip, redirect)}


async def answer(mode, port, method, target, writer):
    path, _, query = target.partition("?")
    if path == "/seen":
        await send(writer, SEEN)
    elif path == "/v1/files" and method == "POST":
        await send(
            writer,
            {"id": "file-in", "object": "file", "created_at": 1, "purpose": "batch", "bytes": 1, "filename": "x"},
        )
    elif path == "/v1/batches" and method == "POST":
        await send(writer, {**BATCH, "status": "in_progress"})
    elif path == "/v1/batches":
        start = int(query.partition("after=batch_")[2].partition("&")[0] or 0)
        many = [
            {**BATCH, "id": f"batch_{start + each}", "created_at": 9_999_999_999, "status": "completed"}
            for each in range(1, 101)
        ]
        await send(writer, {"object": "list", "data": many, "has_more": True})
    elif path == "/v1/batches/batch_1":
        if mode == "poll_bomb":
            data = bomb()
            writer.write(head(len(data), content_encoding="gzip") + data)
        elif mode == "poll_drip":
            await drip(writer, port)
        elif mode == "traversal":
            await send(writer, {**DONE, "output_file_id": "../files/precious?x="})
        elif mode == "texts":
            message = "\x1b]0;owned\x07\x1b[2J\nERROR forged line, key " + "my-very-own-key-17"
            await send(writer, {"error": {"message": message, "code": "bad\nthing"}}, status="500 Oops")
        else:
            await send(writer, DONE)
    elif path == "/v1/files/file-out/content" and mode in CONTENT:
        await CONTENT[mode](writer, port)
    else:
        await send(writer, {"error": {"message": f"no route {target}"}}, status="404 Not Found")


async def main(mode):
    async def serve(reader, writer):
        try:
            request = await reader.readuntil(b"\r\n\r\n")
            method, target, _ = request.decode().split(" ", 2)
            fields = dict(line.lower().split(": ", 1) for line in request.decode().split("\r\n")[1:] if ": " in line)
            await reader.readexactly(int(fields.get("content-length", 0)))
            if target != "/seen":
                SEEN.append([method, target, fields.get("host"), fields.get("authorization")])
            await answer(mode, port, method, target, writer)
            writer.close()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    print(port, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
