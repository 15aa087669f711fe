"""The process behind `BatchServer`: takes its launch from stdin, and ends when stdin does.

The first line on stdin is the launch as JSON, the first on stdout `{"base_url": …}` or `{"error": …}`.
"""

import os
import sys
import threading
from dataclasses import replace

import orjson

from batch_bridge.testing._errors import BatchServerError
from batch_bridge.testing._serve import Launch, serve
from batch_bridge.testing._settings import Settings

_GRACE_SECONDS = 5.0


def main() -> int:
    """Serve until the parent is gone."""
    told = orjson.loads(sys.stdin.buffer.readline())
    sys.path.extend(entry for entry in told.pop("path") if entry not in sys.path)
    stop = threading.Event()
    threading.Thread(target=_watch_parent, args=(stop,), daemon=True).start()
    try:
        launch = Launch(**{**told, "settings": Settings().changed(told["settings"])})
        serve(replace(launch), lambda base_url: _say({"base_url": base_url}), stop)
    except BatchServerError as error:
        _say({"error": str(error)})
        return 1
    return 0


def _watch_parent(stop: threading.Event) -> None:
    """Stdin ends when the parent closes it or dies, however it dies."""
    while os.read(sys.stdin.fileno(), 4096):
        pass
    stop.set()
    threading.Event().wait(_GRACE_SECONDS)
    os._exit(1)  # something blocks; an orphan would be worse


def _say(what: dict[str, str]) -> None:
    sys.stdout.buffer.write(orjson.dumps(what, option=orjson.OPT_APPEND_NEWLINE))
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    sys.exit(main())
