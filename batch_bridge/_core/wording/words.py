"""Figures in words, for people."""

from typing import Final

_UNITS: Final = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))


def span(seconds: float) -> str:
    """Return a duration in its two largest units: `2h 5m`."""
    left = max(round(seconds), 0)
    parts: list[str] = []
    for size, unit in _UNITS:
        count, rest = divmod(left, size)
        if count or (unit == "s" and not parts):
            parts.append(f"{count}{unit}")
            left = rest
            if len(parts) == 2:  # noqa: PLR2004
                break
        elif parts:
            break
    return " ".join(parts)
