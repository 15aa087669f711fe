"""Jobs are kept apart, and a provider's quota counts them together."""

from fakes import at
from test_jobs_session import World

from batch_bridge import Limits
from batch_bridge._core.models import Measure


async def test_jobs_share_one_quota():
    world = World(limits=Limits(enqueued_tokens=10), measure=lambda _: Measure("", 40))  # 10 tokens
    session = await world.session()
    for job in "abcd":
        await session.submit(f"job_{job}", [(None, {"job": job})], at(world.now))
    await session.look(at(world.now))
    live = [each for each in world.provider.batches.values() if each.state == "live"]
    assert len(live) == 1
    for job in "abcd":
        assert (await world.ended(f"job_{job}", looks=30)).outcomes == {"succeeded": 1}
    assert len(world.provider.batches) == 4
