"""What a call that failed means to the engine: one law for all vendors. Pure: errors in, errors out."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from batch_bridge._core.models import Errored
from batch_bridge._core.wording import log_text as _logged
from batch_bridge.errors import (
    ProviderError,
    ProviderUnavailable,
    ResponseRejected,
    SubmissionRefused,
    SubmissionUnknown,
)
from batch_bridge.providers._shared.failures import failure as _failure
from batch_bridge.providers._shared.failures.failure import BAD_URL, UNSENT, is_one_of, is_transient
from batch_bridge.providers._shared.http.response_guard import rejection_in
from batch_bridge.providers._shared.results.reply import TryLater

INTERRUPTED: Final = "it may have been answered and billed all the same, so it was not sent again"
FILE_VISIBILITY: Final = 600.0
"""Seconds in which a file that was uploaded may not be found by the call that makes a batch of it."""
_NO_FILE: Final = re.compile(
    r"(?i)(no such|cannot find|can't find|could not find|couldn't find|unable to find|not find) [^.]{0,40}file"
    r"|file\b[^.;]{0,120}(not found|not exist|not be found|not visible|not available|not ready|is missing)"
    r"|file_?not_?found|not found[^.;]{0,40}\bfile"
)
"""What OpenAI ("No such File object: …"), Azure, gateways ("cannot find file …") and Gemini ("… or it may not exist")
say of such a file."""
_REFUSALS: Final = (400, 403, 404, 422)
_LOOKED_UP: Final = "whether the batch was created will be looked up"
_UNREACHABLE: Final = "unreachable"
"""The code of a request that could not be sent at all."""
_BAD_REQUEST, _NOT_FOUND, _CONFLICT, _TOO_MANY, _SERVER = 400, 404, 409, 429, 500
_NO_METHOD, _NOT_IMPLEMENTED = 405, 501


E = TypeVar("E", bound=ProviderError)


def _never(error: Exception) -> bool:  # noqa: ARG001
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorClassifier:
    """Judges the errors of a vendor's SDK.

    Attributes:
        told: Says what was tried and what went wrong, for a person, without keys.
        code: The vendor's own code for what it has answered.
        is_keyless: Whether there is no API key.
        is_callers: Whether it is an error of the code that calls, which is given back as it is.
        status_of: The HTTP status that the call was answered with, if it was.
        retry_after: Seconds that the vendor asked to be left alone, if it said so.
    """

    told: Callable[[str, Exception], str]
    code: Callable[[Exception], str]
    is_keyless: Callable[[Exception], bool]
    is_callers: Callable[[Exception], bool] = _never
    status_of: Callable[[Exception], int | None] = _failure.status_of
    retry_after: Callable[[Exception], float | None] = _failure.retry_after

    def is_ended(self, error: Exception) -> bool:
        """Return whether a cancellation was refused because there is nothing left to cancel."""
        return self.status_of(error) in (_BAD_REQUEST, _NOT_FOUND, _CONFLICT)

    def is_unsupported(self, error: Exception) -> bool:
        """Return whether the server does not know this call at all."""
        return self.status_of(error) in (_NO_METHOD, _NOT_IMPLEMENTED)

    def is_unseen(self, error: Exception, age: float | None) -> bool:
        """Return whether the API does not find a file that is new, and so may find it later."""
        if age is None or age > FILE_VISIBILITY or self.status_of(error) not in _REFUSALS:
            return False
        return _NO_FILE.search(f"{self.code(error)} {self.told('', error)}") is not None

    def unavailable(self, doing: str, error: Exception) -> ProviderError:
        """Return "later" for any failure of a call that changes nothing, and what was wrong with a response."""
        if (rejected := rejection_in(error)) is not None:
            return ResponseRejected(f"{doing} failed: {rejected}")
        is_full = self.status_of(error) == _TOO_MANY
        later = ProviderUnavailable(self.told(doing, error), retry_after=self.retry_after(error), is_full=is_full)
        return self._logged(later, doing, error)

    def _logged(self, judged: E, doing: str, error: Exception) -> E:
        """Return the log's text of an error, without the vendor's words, which may repeat the request."""
        status = self.status_of(error)
        if status is None:
            return _logged.logged_as(judged, f"{doing} failed: {_logged.said(_failure.below(error) or error)}")
        return _logged.logged_as(judged, f"{doing} was answered with {status} ({_logged.handle(self.code(error))})")

    def _refused(self, doing: str, error: Exception, code: str, advice: str = "") -> SubmissionRefused:
        text = self.told(doing, error) + advice
        refused = SubmissionRefused(text, code=code, status_code=self.status_of(error))
        return self._logged(refused, doing, error)

    def of_prepare(self, doing: str, error: Exception) -> Exception:
        """Judge a failure before anything was paid for: later, or never."""
        if (rejected := rejection_in(error)) is not None:  # nothing was paid for, and another one may be good
            return ProviderUnavailable(f"{doing} failed: {rejected}")
        if self.is_keyless(error):
            return self._refused(doing, error, "no_api_key")
        if (status := self.status_of(error)) is not None and not is_transient(status):
            return self._refused(doing, error, self.code(error))
        if is_one_of(BAD_URL, error):
            return self._refused(doing, error, "bad_base_url", "; check the client's base_url")
        return error if status is None and self.is_callers(error) else self.unavailable(doing, error)

    def of_create(
        self, doing: str, error: Exception, *, age: float | None = None, unknown: str = _LOOKED_UP
    ) -> Exception:
        """Judge a failure of the call that pays: what was answered, or never sent, is known; the rest is not.

        Args:
            doing: What was tried.
            error: The SDK's error.
            age: Seconds since the batch's input file was uploaded, if it has one: a new one may not be found yet.
            unknown: What follows where it is not known whether anything was created.
        """
        status = self.status_of(error)
        if self.is_unseen(error, age):
            return self.unavailable(f"{doing}, whose input file was just uploaded,", error)
        if status == _TOO_MANY or is_one_of(UNSENT, error):
            return self.unavailable(doing, error)
        if self.is_keyless(error):
            return self._refused(doing, error, "no_api_key")
        if status is not None and not is_transient(status) and _BAD_REQUEST <= status < _SERVER:
            return self._refused(doing, error, self.code(error))
        return self._logged(SubmissionUnknown(f"{self.told(doing, error)}; {unknown}"), doing, error)

    def of_call(
        self, doing: str, error: Exception, failed: Callable[[Exception, int], tuple[Errored, bool]]
    ) -> Errored:
        """Judge a failure of a call for one request: return what the request ends with.

        Args:
            doing: What was tried.
            error: The SDK's error.
            failed: Reads what was answered with an HTTP status, and whether it is the vendor's last word.

        Raises:
            TryLater: It may end otherwise if it is called again, and was not billed.
            Exception: The error itself, where it is the caller's.
        """
        status = self.status_of(error)
        if status is not None:
            errored, is_final = failed(error, status)
            if errored.retryable and not is_final:
                raise TryLater(errored, self.retry_after(error)) from error
            return errored
        told = self.told(doing, error)
        if self.is_keyless(error):
            return Errored(told, code="no_api_key")
        if is_one_of(BAD_URL, error):
            return Errored(f"{told}; check the client's base_url", code="bad_base_url")
        if is_one_of(UNSENT, error):
            raise TryLater(Errored(told, code=_UNREACHABLE, retryable=True)) from error
        if self.is_callers(error):
            raise error
        return Errored(f"{told}; {INTERRUPTED}", code="realtime_interrupted", retryable=True)
