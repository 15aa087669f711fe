"""Bytes as they arrive, as lines. Pure."""


class LineSplitter:
    r"""Splits a stream at `b"\n"`, wherever its chunks begin and end; holds the line that is incomplete yet.

    A line may be megabytes long: its pieces are joined once, when its end has come.
    """

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take a chunk, and return the lines that it completes, without their ends."""
        first, *others = chunk.split(b"\n")
        self._pieces.append(first)
        if not others:
            return []
        lines = [b"".join(self._pieces), *others[:-1]]
        self._pieces = [others[-1]]
        return lines

    def end(self) -> list[bytes]:
        """Return the last line, if the stream did not end with a line's end."""
        rest = b"".join(self._pieces)
        self._pieces = []
        return [rest] if rest else []
