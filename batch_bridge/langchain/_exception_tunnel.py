"""A way for an exception through code that would catch it."""

from typing import NoReturn


class ExceptionTunnel(BaseException):
    """Carries an exception through `except Exception` of somebody else's: an SDK's retries, LangChain's fallbacks.

    Nobody outside of this package ever sees one: whoever called that code catches it, and calls `land`.
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
