"""The label of a request on receipts: the author's, else the name of its node. Pure."""

from typing import Final

_LONGEST: Final = 200
"""Characters of a label."""


def check_label(given: object, namespace: str) -> str:
    """Return a request's label.

    Args:
        given: As the user gave it; `None`: the node's name.
        namespace: Where the node runs, as LangGraph names it: `outer:<task>|inner:<task>`, which is `outer/inner`.

    Raises:
        TypeError: It is no string.
        ValueError: It is empty, or too long.
    """
    if given is None:
        return "/".join(part.partition(":")[0] for part in namespace.split("|"))[:_LONGEST].replace("\0", "")
    if not isinstance(given, str):
        raise TypeError(f"wait(…, label={given!r}) is no string; give a name that receipts show")
    if not given or len(given) > _LONGEST or "\0" in given:
        raise ValueError(f"wait(…, label={given[:50]!r}): give a name of 1 to {_LONGEST} characters")
    return given
