"""Which event loop runs on the calling thread, if any: blocking calls must not stop it."""

import asyncio


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the event loop that runs on this thread; `None` if none does."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def is_on_loop() -> bool:
    """Return whether an event loop runs on this thread."""
    return running_loop() is not None
