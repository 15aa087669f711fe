"""A lane is a way to be answered at a price. Which ones a provider has, and in which one a batch was sent. Pure."""

from typing import Final, Literal, TypeAlias, get_args

from batch_bridge._core.models import JSON
from batch_bridge._core.provider import Provider, has_realtime

LaneName: TypeAlias = Literal["batch", "window:8h", "window:2h", "flex", "realtime"]
LANES: Final[tuple[LaneName, ...]] = get_args(LaneName)
"""All lanes, in the order of their patience: what may take longest comes first."""
LANE: Final = "batch_bridge_lane"
"""The key of a handle that names its batch's lane; a handle without it was sent as a batch."""
REALTIME: Final = "batch_bridge_realtime"
"""Where a handle of a call in this process has its id; without `LANE` it was made at the full price."""


def lanes_of(provider: Provider) -> tuple[str, ...]:
    """Return the lanes that a provider has."""
    lanes: tuple[str, ...] | None = getattr(provider, "lanes", None)
    if lanes is not None:
        return lanes
    return ("batch", "realtime") if has_realtime(provider) else ("batch",)


def open_lane(provider: Provider, name: str) -> Provider:
    """Return the provider that answers in a lane of a provider.

    Raises:
        ValueError: It has no such lane; the error lists those that it has.
    """
    if name not in lanes_of(provider):
        raise no_lane(provider, name)
    if name == "batch":
        return provider
    if name == "realtime" and has_realtime(provider):
        return provider.realtime()
    opened: Provider = provider.lane(name)  # type: ignore[attr-defined]  # a provider that lists lanes opens them
    return opened


def no_lane(provider: object, name: object) -> ValueError:
    """Return what is raised where a provider has no such lane."""
    known = ", ".join(map(repr, lanes_of(provider)))  # type: ignore[arg-type]  # it only asks for attributes
    return ValueError(f"{type(provider).__name__} has no lane {name!r}; its lanes are {known}")


def lane_in(left: JSON) -> str:
    """Return the lane of a batch, by its handle or by what was prepared for it."""
    if not isinstance(left, dict):
        return "batch"
    lane = left.get(LANE)
    if isinstance(lane, str):
        return lane
    return "realtime" if REALTIME in left else "batch"
