"""What the providers of vendors' batch APIs share: looks in the background, cancellation, deletion, and the end."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Generic, TypeVar

from batch_bridge._core.closing import close_all
from batch_bridge._core.models import JSON, Ended, InProgress, Limits
from batch_bridge.providers._shared.background import Background
from batch_bridge.providers._shared.failures.error_classifier import ErrorClassifier
from batch_bridge.providers._shared.http.clients import Clients

C = TypeVar("C", bound=Clients[Any])


class BatchAPIProvider(ABC, Generic[C]):
    """The base of a provider whose batches are known by an id, and end with results that are downloaded.

    Args:
        clients: Make the calls.
        limits: The limits of one batch.
        deletes: Whether a batch, or its files, are deleted once its outcomes are stored.
    """

    limits: Limits
    _errors: ClassVar[ErrorClassifier]
    """What an error of a call means."""
    _is_gone: Callable[[Exception], bool]
    """Whether the API itself says that the object does not exist."""

    def __init__(self, clients: C, limits: Limits, *, deletes: bool) -> None:
        self.limits = limits
        self._deletes = deletes
        self._background = Background()
        self._clients = clients

    @property
    def calls(self) -> Counter[str]:
        """The number of API calls by name."""
        return self._clients.calls

    async def poll(self, handle: JSON, requests: Sequence[str]) -> InProgress | Ended:
        """Retrieve the batch; if it has ended, fetch its results, from which its outcomes are read.

        A slow poll continues in the background, so that it does not delay other batches.

        Raises:
            ProviderUnavailable: The API is unreachable, or refused the key; the paid answers are still there.
            ResponseRejected: The response was rejected; the paid answers are still there.
        """
        return await self._background.look(self._id(handle), lambda: self._look(handle, requests))

    async def cancel(self, handle: JSON) -> None:
        """Cancel the batch. A batch that has ended, or no longer exists, is not an error."""
        batch = self._id(handle)
        try:
            await self._cancel(batch)
        except Exception as error:
            if not self._errors.is_ended(error):
                raise self._errors.unavailable(f"cancelling {self._titled(batch)}", error) from error

    async def release(self, handle: JSON) -> None:
        """Forget the batch, and delete it, or its files, if that was requested."""
        batch = self._id(handle)
        self._forget(batch)
        self._background.forget(batch)
        if not self._deletes:
            return
        try:
            await self._delete_batch(handle)
        except Exception as error:
            if not self._is_gone(error):
                raise self._errors.unavailable(f"cleaning up after {self._titled(batch)}", error) from error

    async def aclose(self) -> None:
        """Close this event loop's own client, but never the caller's."""
        await close_all((self._background.close, self._clients.aclose))

    # -- what a vendor adds ----------------------------------------------------------------------------------------

    @abstractmethod
    def _id(self, handle: JSON) -> str:
        """Return the API's id of a batch, once it is known to be one."""

    def _titled(self, batch: str) -> str:
        """Return what an error calls a batch."""
        return f"batch {batch}"

    @abstractmethod
    async def _look(self, handle: JSON, requests: Sequence[str]) -> InProgress | Ended:
        """Do what `poll` is to do, however long it takes."""

    @abstractmethod
    async def _cancel(self, batch: str) -> None:
        """Make the call that cancels a batch."""

    @abstractmethod
    async def _delete_batch(self, handle: JSON) -> None:
        """Make the calls that delete a batch, or its files."""

    @abstractmethod
    def _forget(self, batch: str) -> None:
        """Forget what polls have shown of a batch."""
