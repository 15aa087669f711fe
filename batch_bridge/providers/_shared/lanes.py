"""The lanes of a bundled provider: `provider.lane("flex")`."""

from batch_bridge._core.policy.lanes import no_lane
from batch_bridge._core.provider import Provider


class Lanes:
    """A provider whose lanes can be listed and opened."""

    @property
    def lanes(self) -> tuple[str, ...]:
        """The ways in which it answers, each at a price; see `lane`."""
        return ("batch", "realtime")

    def lane(self, name: str) -> Provider:
        """Return the provider that answers the same items in a lane.

        Args:
            name: One of `lanes`.

        Raises:
            ValueError: It has no such lane; the error lists those that it has.
        """
        if name not in self.lanes:
            raise no_lane(self, name)
        if name == "batch":
            return self  # type: ignore[return-value]  # it is a provider
        kind, *window = name.split(":")
        opened: Provider = getattr(self, kind)(*window)
        return opened
