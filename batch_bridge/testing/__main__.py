"""The process behind `BatchServer`: takes its launch from stdin, and ends when stdin does.

The first line on stdin is the launch as JSON, the first on stdout `{"base_url": …}` or `{"error": …}`. `STOP`
on stdin says that the parent lives and wants the state kept; without it the parent has died, and a temporary
folder is deleted.
"""

import os
import shutil
import sys
import threading
from pathlib import Path

import orjson

from batch_bridge.testing._server.errors import BatchServerError
from batch_bridge.testing._server.process import STOP
from batch_bridge.testing._server.serve import Launch, serve
from batch_bridge.testing._server.switches.settings import Settings

_GRACE_SECONDS = 5.0


def main() -> int:
    """Serve until the parent is gone."""
    told = orjson.loads(sys.stdin.buffer.readline())
    sys.path.extend(entry for entry in told.pop("path") if entry not in sys.path)
    temporary = Path(told["state_dir"]) if told.pop("temporary") else None
    stop, orphaned = threading.Event(), threading.Event()
    threading.Thread(target=_watch_parent, args=(stop, orphaned), daemon=True).start()
    try:
        launch = Launch(**{**told, "settings": Settings().changed(told["settings"])})
        serve(launch, lambda base_url: _say({"base_url": base_url}), stop)
    except BatchServerError as error:
        _say({"error": str(error)})
        return 1
    if orphaned.is_set() and temporary is not None:
        shutil.rmtree(temporary, ignore_errors=True)
    return 0


def _watch_parent(stop: threading.Event, orphaned: threading.Event) -> None:
    """Stdin ends when the parent closes it or dies, however it dies."""
    last = b""
    while piece := os.read(sys.stdin.fileno(), 4096):
        last = piece
    if STOP not in last:
        orphaned.set()
    stop.set()
    threading.Event().wait(_GRACE_SECONDS)
    os._exit(1)  # something blocks; an orphan would be worse


def _say(what: dict[str, str]) -> None:
    sys.stdout.buffer.write(orjson.dumps(what, option=orjson.OPT_APPEND_NEWLINE))
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    sys.exit(main())
