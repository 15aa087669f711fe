"""An answer that its provider no longer has."""

from typing import Final

from batch_bridge.errors import ProviderError

CODE: Final = "response_not_found"
"""What a request ends with whose answer has not been found for as long as the patience goes."""


class AnswerGone(ProviderError):
    """A provider does not have what was created there; it may be found again, so the patience decides."""
