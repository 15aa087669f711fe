"""What a behaviour works with: a subject, and an account of its own there."""

import math
import uuid
from collections.abc import Sequence
from typing import Self

from batch_bridge._core.models import Outcome, Request
from batch_bridge._core.policy.flush_policy import FlushPolicy
from batch_bridge._core.provider import Provider
from batch_bridge._ledger.ledger import Ledger
from batch_bridge.testing.conformance._drive import Drive, ask, requests
from batch_bridge.testing.conformance._subject import Subject


class Bench:
    """What a behaviour works with: a subject, and an account of its own there.

    Attributes:
        subject: Who is tested.
        provider: A provider of the account.
    """

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self._account = f"test-{uuid.uuid4().hex}"
        self.provider = subject.open(self._account)
        self._others: list[Provider] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        for provider in (self.provider, *self._others):
            await provider.aclose()

    def another(self) -> Provider:
        """Open the account a second time, as another process would."""
        self._others.append(self.subject.open(self._account))
        return self._others[-1]

    @property
    def made(self) -> int:
        """Batches and responses that the server was made to create."""
        return self.subject.stats.batches + self.subject.stats.responses

    @property
    def paid(self) -> int:
        """What the server has billed, however it was asked."""
        return self.subject.stats.paid + self.subject.stats.realtime

    def batches(self, count: int) -> int:
        """Return in how many batches so many requests are sent."""
        return math.ceil(count / (self.provider.limits.requests or count))

    def asked(self, count: int) -> list[Request]:
        """Return the first questions as requests."""
        return requests(self.subject.item(n) for n in range(count))

    async def drive(
        self, asked: Sequence[Request], *, policy: FlushPolicy | None = None, ledger: type[Ledger] = Ledger
    ) -> Drive:
        """Return an engine that has collected requests."""
        return await Drive(self.provider, policy=policy, ledger=ledger).start(asked)

    async def ask(self, asked: Sequence[Request]) -> list[Outcome]:
        """Send requests through an engine of their own, and return their outcomes."""
        return await ask(self.provider, asked)
