"""Answers by rule for the demo: no model is asked, and what is answered is drawn from the text that was sent.

The first sentence is the summary, the most frequent words are the keywords, and the audience follows from a few words.
"""

import re
from collections import Counter
from typing import Any

_SENTENCE = re.compile(r"(.+?[.!?])(?:\s|$)", re.DOTALL)
_WORD = re.compile(r"[A-Za-z][a-z]{3,}")
_COMMON = frozenset(
    re.findall(
        r"\w+",
        """
about after also argument arguments because been before between call called class default does each
false first from function given have instance into like method more must name names none number
object only other return returned returns same should some such than that then there they this true
type types used uses using value values what when where whether which will with would
""",
    )
)
_AUTHOR = ("subclass", "override", "internal", "metaclass", "descriptor", "abstract", "hook", "private", "protocol")
_BEGINNER = ("print", "list of", "string", "convert", "copy", "open a", "simple", "example", "count")


def answer(url: str, body: dict[str, Any]) -> str:
    """Answer one request of the demo."""
    del url
    question, text = (str(message["content"]) for message in body["messages"][-2:])
    if question.startswith("Say in one sentence"):
        return summary(text)
    if question.startswith("Who needs this"):
        return audience(text)
    if question.startswith("Give three keywords"):
        return keywords(text)
    return entry(text)


def summary(text: str) -> str:
    """Return the first sentence."""
    plain = " ".join(text.split())
    found = _SENTENCE.match(plain)
    return (found[1] if found else plain)[:300]


def audience(text: str) -> str:
    """Return whom the words of a text are for."""
    lower = text.lower()
    if any(word in lower for word in _AUTHOR):
        return "library author"
    return "beginner" if any(word in lower for word in _BEGINNER) and len(text) < 600 else "application programmer"


def keywords(text: str) -> str:
    """Return the three most frequent words that say something."""
    words = Counter(word.lower() for word in _WORD.findall(text) if word.lower() not in _COMMON)
    return ", ".join(word for word, _ in words.most_common(3)) or "none"


def entry(notes: str) -> str:
    """Return a catalogue entry from notes of the other three answers."""
    said = dict(line.split(": ", 1) for line in notes.splitlines() if ": " in line)
    return f"{said.get('summary', '')} For: {said.get('audience', '?')}. Keywords: {said.get('keywords', 'none')}."
