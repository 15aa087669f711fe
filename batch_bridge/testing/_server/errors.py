"""What goes wrong: on the wire, in the provider's shape, and in the program that starts a server."""

from collections.abc import Mapping
from typing import Literal

from batch_bridge.errors import BatchBridgeError

ErrorType = Literal[
    "invalid_request_error", "authentication_error", "not_found_error", "rate_limit_error", "server_error"
]


class BatchServerError(BatchBridgeError):
    """The server cannot be started, reached, or set as asked."""


class WireError(BatchBridgeError):
    """One HTTP answer that is not 2xx, in the provider's shape.

    Attributes:
        status_code: The HTTP status.
        message: The sentence for people.
        type: The provider's class of error.
        param: The parameter that is wrong, as the caller wrote it.
        code: A short machine-readable cause.
        headers: Extra response headers, e.g. `Retry-After`.
    """

    def __init__(
        self,
        status_code: int,
        message: str,
        *,
        type: ErrorType = "invalid_request_error",  # noqa: A002 - the provider's name
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.message = message
        self.type = type
        self.param = param
        self.code = code
        self.headers = dict(headers or {})

    def body(self) -> dict[str, object]:
        """The JSON body: `{"error": {message, type, param, code}}`."""
        return error_body(self.message, type=self.type, param=self.param, code=self.code)


def error_body(
    message: str,
    *,
    type: str,  # noqa: A002 - the provider's name
    param: str | None = None,
    code: str | None = None,
) -> dict[str, object]:
    """An error as the provider writes it."""
    return {"error": {"message": message, "type": type, "param": param, "code": code}}


def not_found(what: str, id_: str) -> WireError:
    """404: `what` is "file" or "batch"; the same for what never was and for what belongs to another key."""
    return WireError(404, f"No such {what.capitalize()} object: {id_}", param="id", code="not_found")


def missing(param: str) -> WireError:
    """400: a required parameter is not there."""
    return WireError(400, f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter")


def invalid(param: str, why: str, *, code: str = "invalid_value") -> WireError:
    """400: a parameter is wrong."""
    return WireError(400, f"Invalid '{param}': {why}", param=param, code=code)
