"""A LangSmith that counts: it takes what the real client sends over HTTP, and keeps the runs as it is told of them."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from uuid import UUID

from langsmith import Client


class LangSmith:
    """Serves on loopback. Use it as a context manager; `client` is the real client of it."""

    def __init__(self):
        self.runs = {}
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                self._answer({})

            def do_POST(self):
                run = json.loads(self.rfile.read(int(self.headers["content-length"])))
                outer.note({"id": self.path.rsplit("/", 1)[-1], **run})
                self._answer({})

            do_PATCH = do_POST  # noqa: N815  # the name that http.server calls

            def _answer(self, value):
                body = json.dumps(value).encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{self._server.server_port}"
        self.client = Client(api_url=url, api_key="test", auto_batch_tracing=False)  # each run is told at once
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    def note(self, run):
        with self._lock:
            known = self.runs.setdefault(UUID(run["id"]), {})
            known.update({name: value for name, value in run.items() if value is not None})

    def calls(self):
        """The runs of models, in their order."""
        with self._lock:
            models = [run for run in self.runs.values() if run.get("run_type") == "llm"]
        return sorted(models, key=lambda run: run["dotted_order"])

    def usages(self):
        """What each run of a model is told to have used and cost."""
        return [run["extra"]["metadata"].get("usage_metadata") for run in self.calls()]
