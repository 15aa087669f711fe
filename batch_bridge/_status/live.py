"""What is seen of a file, live in a terminal."""

from collections.abc import Callable
from time import sleep
from typing import Final

from rich.console import Console
from rich.live import Live
from rich.text import Text

from batch_bridge._status.models import Status
from batch_bridge._status.text import to_text

PERIOD: Final = 1.0
"""Seconds between two looks."""
_ENDED: Final = frozenset({"done", "failed"})
_COLOURS: Final = {"done": "green", "running": "blue", "parked": "blue", "failed": "red", "stuck": "bold red"}


def show(look: Callable[[], Status], console: Console | None = None, wait: Callable[[float], None] = sleep) -> Status:
    """Show what is seen until all has ended, or Ctrl-C; return what was seen last.

    Args:
        look: Returns how the file is.
        console: Where to; standard output, if left out.
        wait: Waits between two looks.
    """
    status = look()
    with Live(_shown(status), console=console, auto_refresh=False, vertical_overflow="crop") as live:
        try:
            while status.state not in _ENDED or status.owner.alive:
                wait(PERIOD)
                status = look()
                live.update(_shown(status), refresh=True)
        except KeyboardInterrupt:
            pass
    return status


def _shown(status: Status) -> Text:
    text = Text(to_text(status))
    text.highlight_words([f": {status.state};"], style=_COLOURS[status.state])
    text.highlight_regex(r"(?m)^  (stuck|!).*$", style="red")
    return text
