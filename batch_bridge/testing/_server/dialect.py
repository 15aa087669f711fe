"""How an API speaks where its calls differ from OpenAI's in more than their bodies: keys, errors, headers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request

from batch_bridge.testing._server.errors import WireError


@dataclass(frozen=True, slots=True)
class Dialect:
    """One API's manners.

    Attributes:
        name: Keeps the files and batches of one key apart from those of the same key in another API.
        key: The API key in a request's headers, or an empty string.
        error: The body of a response that is no success.
        request_id: The header that names a response.
        advice: What a request without a key is told.
    """

    name: str
    key: Callable[[Request], str]
    error: Callable[[WireError], Mapping[str, object]]
    request_id: str
    advice: str


def bearer(request: Request) -> str:
    """The key in an `Authorization` header, or an empty string."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


OPENAI: Final = Dialect(
    name="",
    key=lambda request: bearer(request) or request.headers.get("api-key", ""),
    error=WireError.body,
    request_id="x-request-id",
    advice="Provide one in the Authorization header, as 'Bearer YOUR_KEY'",
)
