"""How many tokens a text has, by tiktoken: where it is installed, and has what it needs on this machine."""

import hashlib
import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final, Protocol

_FILES: Final = "https://openaipublic.blob.core.windows.net/encodings"
"""Where tiktoken has its encodings from; it keeps a copy of each on the disk. Source: `tiktoken_ext.openai_public`."""
_FILE_OF: Final = {"o200k_base": "o200k_base", "o200k_harmony": "o200k_base", "cl100k_base": "cl100k_base"}
_LONGEST: Final = 20_000
"""Characters of a text that are counted; what follows is taken to be like them."""


class Encoding(Protocol):
    """What is used of tiktoken's."""

    def encode_ordinary(self, text: str) -> list[int]:
        """Return a text's tokens."""
        ...


class Tokenizer:
    """Counts tokens, once a model's encoding has been read: in a thread, and never over the network.

    Args:
        load: Returns a model's encoding, or `None` for an unknown model. It may block.
    """

    def __init__(self, load: Callable[[str], Encoding | None] | None = None) -> None:
        self._load = load or _load
        self._encodings: dict[str, Encoding | None] = {}
        self._lock = threading.Lock()

    def count(self, model: str, body: object) -> int | None:
        """Return how many tokens the texts in a request's body have; `None` where that is not known (yet)."""
        with self._lock:
            if model not in self._encodings:
                self._encodings[model] = None
                threading.Thread(target=self._read, args=(model,), name="batch-bridge-tokens", daemon=True).start()
            encoding = self._encodings[model]
        if encoding is None:
            return None
        text = "\n".join(_texts(body))
        counted = len(encoding.encode_ordinary(text[:_LONGEST]))
        return round(counted * max(len(text) / _LONGEST, 1.0))

    def _read(self, model: str) -> None:
        encoding = self._load(model)
        with self._lock:
            self._encodings[model] = encoding


def _texts(body: object) -> Iterator[str]:
    """Yield all texts of a body, names left out."""
    match body:
        case str():
            yield body
        case Mapping():
            for value in body.values():
                yield from _texts(value)
        case list():
            for value in body:
                yield from _texts(value)


def _load(model: str) -> Encoding | None:
    try:
        import tiktoken  # noqa: PLC0415  # slow, and not everybody has it
    except ImportError:
        return None
    try:
        name = tiktoken.encoding_name_for_model(model)
    except KeyError:  # another vendor's model
        return None
    return tiktoken.get_encoding(name) if _is_here(name) else None


def _is_here(name: str) -> bool:
    """Return whether tiktoken has an encoding on the disk; it would fetch it else."""
    folder = os.environ.get("TIKTOKEN_CACHE_DIR", os.environ.get("DATA_GYM_CACHE_DIR"))
    if name not in _FILE_OF or folder == "":
        return False
    file = hashlib.sha1(f"{_FILES}/{_FILE_OF[name]}.tiktoken".encode(), usedforsecurity=False).hexdigest()
    return (Path(folder or Path(tempfile.gettempdir()) / "data-gym-cache") / file).is_file()


TOKENIZER: Final = Tokenizer()
"""The process's own: an encoding takes a second to read, and some ten megabytes."""
