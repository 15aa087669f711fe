"""A Batch API server in a process of its own."""

import asyncio
import http.client
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, Unpack
from urllib.parse import urlsplit

import orjson

from batch_bridge.testing._server.errors import BatchServerError
from batch_bridge.testing._server.process import ServerProcess
from batch_bridge.testing._server.serve import CONCURRENCY, new_token
from batch_bridge.testing._server.stats import Stats
from batch_bridge.testing._server.switches.options import ServerOptions
from batch_bridge.testing._server.switches.settings import Settings

CONTROL_SECONDS = 30.0


class BatchServer:
    """A local server with OpenAI's Files and Batches API, which runs for the duration of a `with` block.

    ::

        with BatchServer(latency=0.5) as server:
            client = AsyncOpenAI(base_url=server.base_url, api_key="test")

    It runs in its own process, which ends with this one, even after a crash. It also supports `async with`.
    A stopped or killed server can be started again with the same port, options and state. The state is
    in `state_dir` or, without it, in a temporary folder until the block ends.

    Args:
        state_dir: The folder for files, batches and counters, so that they outlive this object.
        answerer: `"module:function"` that answers `(url, body)` in place of the stand-in model.
        upstream: Base URL of an OpenAI-compatible server that answers instead.
        upstream_key: Its API key.
        concurrency: Concurrent requests of an upstream or an async answerer.
        port: The port; 0 chooses a free one.
        **options: `latency` and everything else in `Settings`, `Faults` and `Limits`.

    Raises:
        BatchServerError: An option is unknown or invalid.
    """

    def __init__(
        self,
        *,
        state_dir: str | Path | None = None,
        answerer: str | None = None,
        upstream: str | None = None,
        upstream_key: str | None = None,
        concurrency: int = CONCURRENCY,
        port: int = 0,
        **options: Unpack[ServerOptions],
    ) -> None:
        Settings().changed(options)
        self._options: dict[str, object] = dict(options)
        self._launch: dict[str, object] = {
            "answerer": answerer,
            "upstream": upstream,
            "upstream_key": upstream_key,
            "concurrency": concurrency,
            "control_token": new_token(),
        }
        self._state_dir = None if state_dir is None else Path(state_dir)
        self._temporary: Path | None = None
        self._port = port
        self._process: ServerProcess | None = None
        self._base_url: str | None = None

    @property
    def base_url(self) -> str:
        """The `base_url` for an OpenAI client, e.g. `http://127.0.0.1:49152/v1`."""
        if self._base_url is None:
            raise BatchServerError("the server has not been started; use it in a `with` block, or call start().")
        return self._base_url

    @property
    def root_url(self) -> str:
        """The same without `/v1`: the `base_url` for clients of Anthropic and Gemini."""
        return self.base_url.removesuffix("/v1")

    @property
    def control_token(self) -> str:
        """The token for the control routes: `Authorization: Bearer …`."""
        return str(self._launch["control_token"])

    @property
    def pid(self) -> int:
        """The id of the server's process."""
        if self._process is None:
            raise BatchServerError("the server is not running; call start().")
        return self._process.pid

    @property
    def stats(self) -> Stats:
        """The server's current counters."""
        return Stats.from_wire(self._control("GET", "stats"))

    def reset_stats(self) -> None:
        """Reset all counters, and the record of paid lines."""
        self._control("POST", "reset", {})

    def configure(self, **options: Unpack[ServerOptions]) -> None:
        """Change options while the server runs; they also apply after a restart.

        A `next_…` option restarts its counter.

        Raises:
            BatchServerError: An option is unknown or invalid; no option was changed.
        """
        Settings().changed(options)
        self._control("POST", "configure", dict(options))
        self._options |= {name: value for name, value in options.items() if not name.startswith("next_")}

    def paid_twice(self) -> list[tuple[str, str]]:
        """Return batch and `custom_id` of lines that were paid twice, oldest first, at most a thousand."""
        return [(each["batch_id"], each["custom_id"]) for each in self._control("GET", "paid_twice")["data"]]

    def start(self) -> None:
        """Start the process and wait until it answers.

        Raises:
            BatchServerError: It does not answer; the message says why.
        """
        if self._process is not None and self._process.running:
            return
        if self._state_dir is None and self._temporary is None:
            self._temporary = Path(tempfile.mkdtemp(prefix="batch-server-"))
        folder = self._state_dir or self._temporary
        launch = {
            **self._launch,
            "port": self._port,
            "state_dir": str(folder),
            "temporary": self._temporary is not None,
            "settings": self._options,
            "path": [str(Path(entry).resolve()) for entry in sys.path],
        }
        try:
            self._process = ServerProcess(launch)
        except BaseException:
            if self._base_url is None:  # it has never run: there is nothing to keep
                self._discard()
            raise
        self._base_url = self._process.base_url
        self._port = urlsplit(self._base_url).port or 0
        self._options = {name: value for name, value in self._options.items() if not name.startswith("next_")}

    def stop(self) -> None:
        """Stop the process; its work continues after the next start."""
        if self._process is not None:
            self._process.stop()
            self._process = None

    def kill(self) -> None:
        """Kill the process (SIGKILL), as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process = None

    def close(self) -> None:
        """Stop the process, and delete its temporary folder."""
        if self._temporary is None:
            self.stop()
        else:
            self.kill()  # there is nothing to leave in order
            self._discard()

    def _discard(self) -> None:
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)
            self._temporary = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.__enter__)

    async def __aexit__(self, *exc_info: object) -> None:
        await asyncio.to_thread(self.close)

    def _control(self, method: str, what: str, body: Mapping[str, object] | None = None) -> dict[str, Any]:
        where = urlsplit(self.base_url)
        connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=CONTROL_SECONDS)
        try:
            raw = None if body is None else orjson.dumps(body)
            headers = {"content-type": "application/json", "authorization": f"Bearer {self.control_token}"}
            connection.request(method, f"/_control/{what}", raw, headers)
            response = connection.getresponse()
            data: dict[str, Any] = orjson.loads(response.read())
        except (OSError, http.client.HTTPException, orjson.JSONDecodeError) as error:
            raise BatchServerError(
                f"the server at {self.base_url} does not answer: {error!r}. {self._said()}"
            ) from error
        finally:
            connection.close()
        if response.status >= 400:  # noqa: PLR2004
            raise BatchServerError(f"the server refused {what}: {data['error']['message']}")
        return data

    def _said(self) -> str:
        if self._process is None:
            return "It was stopped; call start()."
        state = "runs" if self._process.running else "has ended"
        return f"It {state}; it said: {self._process.said() or 'nothing'}"
