"""What the parts of a running server share."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field

from batch_bridge.testing._answers.answer import Answerer
from batch_bridge.testing._anthropic.prompt_cache import PromptCache
from batch_bridge.testing._batches.batches import Batches
from batch_bridge.testing._batches.database import Database
from batch_bridge.testing._batches.files import Files
from batch_bridge.testing._server.seeded_random import SeededRandom
from batch_bridge.testing._server.switches.settings import Settings

CHUNKS_IN_MEMORY = 4
"""Pieces of batches that are worked on at once, over all batches; bounds memory, and leaves time for HTTP."""


@dataclass(slots=True, kw_only=True)
class Context:
    """The running server's parts; `settings` is replaced as a whole when it is configured."""

    settings: Settings
    database: Database
    files: Files
    batches: Batches
    draws: SeededRandom
    answerer: Answerer
    prompt_cache: PromptCache = field(default_factory=PromptCache)
    flexible: int = 0
    """Calls of the flex tier that are being answered."""
    calls: Counter[str] = field(default_factory=Counter)
    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(CHUNKS_IN_MEMORY))
