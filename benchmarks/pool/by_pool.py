"""The same as `by_hand.py` with a bridge: a worker is `by_pool.py DSN`."""

import asyncio
import sys
from pathlib import Path

from batch_bridge import Bridge, wait
from batch_bridge.pool import Pool

sys.path.insert(0, str(Path(__file__).parent))
from questions import State, answer, graph_of, inputs


async def ask(question: str) -> str:
    """Wait for an answer."""
    return str(await wait(question))


def pool(dsn: str) -> Pool:
    """Return the pool, whose provider answers at once."""
    bridge = Bridge(submit=lambda items: items, poll=lambda items: [answer(each) for each in items], poll_interval=0.2)
    return Pool(graph_of(ask), bridge, dsn=dsn)


async def run(dsn: str, count: int) -> list[State]:
    """Run so many threads."""
    return await pool(dsn).abatch(inputs(count), run_id="run")


async def prepare(dsn: str) -> None:
    """Make the tables."""
    async with pool(dsn):
        pass


if __name__ == "__main__":
    asyncio.run(pool(sys.argv[1]).run())
