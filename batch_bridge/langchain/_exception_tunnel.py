"""A way for an exception through code that would catch it."""

from typing import NoReturn


class ExceptionTunnel(BaseException):
    """Carries an exception through another library's `except Exception`: an SDK's retries, LangChain's fallbacks.

    It never leaves this package: the caller of that code catches it, and calls `land`.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self._error: Exception | None = error

    def land(self) -> NoReturn:
        """Raise what was carried. It can be called once: nothing is left here that would keep a run alive."""
        error, self._error, self.args = self._error, None, ()
        assert error is not None  # noqa: S101  # landed twice
        try:
            raise error from error.__cause__
        finally:
            del error
