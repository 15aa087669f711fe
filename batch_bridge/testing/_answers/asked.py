"""What the stand-in answerer knows of a request."""

from typing import Any

BYTES_PER_TOKEN = 4
STREAM_FIELDS = ("stream", "stream_options")
"""Of a request's body: they say how it is answered, and not what with."""
QUOTED = 60
"""So many characters of the question stand in the answer."""


class Question:
    """A request, and what every shape of answer needs to know of it.

    Attributes:
        body: The request's body.
        digest: Hexadecimal, of the body alone.
        tokens: About how many tokens the request has.
    """

    __slots__ = ("body", "digest", "text", "tokens")

    def __init__(self, body: dict[str, Any], digest: str, tokens: int, text: str | None) -> None:
        self.body = body
        self.digest = digest
        self.tokens = tokens
        self.text = text

    @property
    def model(self) -> str:
        """The model that was asked."""
        return str(self.body.get("model") or "stand-in")

    def say(self, question: str) -> str:
        """The answer's text."""
        if self.text is not None:
            return self.text
        short = " ".join(question[: QUOTED * 4].split())[:QUOTED]
        return f"[stand-in answer {self.digest[:6]}] You asked: {short}"


def token_count(text: str) -> int:
    """About how many tokens a text has; at least one."""
    return max(1, len(text.encode(errors="replace")) // BYTES_PER_TOKEN)
