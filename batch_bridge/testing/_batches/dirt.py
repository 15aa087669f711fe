"""What strict JSON refuses in a line, and how such a line is put into another shape. Pure."""

from typing import Any, Final

_NAME: Final = "dirt"
_DIRT: Final = (b"NaN", b'"\xff"', b'"a raw \x01 control character"', rb'"a bad \x escape"', b"-Infinity")
_MARKS: Final = tuple(b'"~dirt-%d~"' % number for number in range(len(_DIRT)))


def marked(body: Any, draw: float) -> Any:
    """Return a body with a mark in it, where the dirt will be; one that is no object stays clean.

    Args:
        body: An answer.
        draw: Which dirt, from 0 to 1.
    """
    mark = _MARKS[int(draw * len(_MARKS))]
    return {**body, _NAME: mark[1:-1].decode()} if isinstance(body, dict) else body


def dirty(line: bytes) -> bytes:
    """Put the dirt where its mark is."""
    for mark, dirt in zip(_MARKS, _DIRT, strict=True):
        line = line.replace(mark, dirt)
    return line


def clean(line: bytes) -> bytes:
    """Put the mark where its dirt is."""
    for mark, dirt in zip(_MARKS, _DIRT, strict=True):
        line = line.replace(b'"%s":%s' % (_NAME.encode(), dirt), b'"%s":%s' % (_NAME.encode(), mark))
    return line
