"""Users of a deployment take turns: in what goes into batches, and in whose threads are resumed. Counted, not timed."""

from collections import Counter

from fakes import FakeProvider, name_of, named
from hosted import Hosted, StuckProvider

from batch_bridge import TenantLimits
from batch_bridge._core.models import Limits
from batch_bridge._node.platform.inbox import note_row
from batch_bridge._server.delivery import DeliveryLimits

MANY, FEW = 200, 5


def request_of(number: int) -> str:
    return f"{number:032x}"


def hosted_by(provider: FakeProvider, **options: TenantLimits) -> Hosted:
    hosted = Hosted(provider=provider, **options)
    hosted.here._access.is_vouched = True  # the server in memory makes no thread to try it with
    return hosted


async def park(hosted: Hosted, user: str, numbers: range) -> None:
    """Let a thread of a user park at each of these requests."""
    for number in numbers:
        thread, request = named(f"{user}-{number}"), request_of(number)
        await hosted.store.rows.abatch([note_row("bridge", thread, user, [request], idle=False)])
        hosted.server.put(thread, request)


async def test_the_few_threads_of_one_user_are_resumed_next_though_many_of_another_are_due() -> None:
    hosted = hosted_by(FakeProvider())
    hosted.here = hosted.host(delivery=DeliveryLimits(at_once=20, seconds=-1.0))  # as many as are looked at together
    hosted.here._access.is_vouched = True
    await park(hosted, "many", range(MANY))
    await hosted.tick()
    await park(hosted, "few", range(MANY, MANY + FEW))
    for resumed in ({"many": 20}, {"many": 20 - FEW, "few": FEW}, {"many": 20}):
        hosted.server.created.clear()
        await hosted.tick()
        assert (
            Counter(name_of(run["thread"]).partition("-")[0] for run in hosted.server.created if "command" in run)
            == resumed
        )


async def test_a_process_after_this_one_takes_turns_too() -> None:
    """Whose a request is that waits is written down with it."""
    provider = StuckProvider(limits=Limits(batches=1, requests=20))
    hosted = hosted_by(provider)
    await park(hosted, "many", range(MANY))
    await hosted.tick()
    await park(hosted, "few", range(MANY, MANY + FEW))
    await hosted.tick()
    provider.stuck = False
    after = hosted.host()
    after._access.is_vouched = True
    await hosted.tick(after)
    assert [Counter(each.tenant for each in batch.requests) for batch in provider.batches.values()] == [
        {"many": 20},
        {"many": 20 - FEW, "few": FEW},
    ]


async def test_a_user_over_the_limit_is_told_so_and_another_is_served() -> None:
    hosted = hosted_by(FakeProvider(), per_tenant=TenantLimits(requests=10))
    await park(hosted, "many", range(30))
    await park(hosted, "few", range(30, 35))
    for _ in range(3):
        await hosted.tick()
    told = Counter(
        (name_of(thread).partition("-")[0], type(each).__name__, getattr(each, "code", ""))
        for thread, answers in hosted.server.resumed.items()
        for each in answers.values()
    )
    assert told == {
        ("many", "Succeeded", ""): 10,
        ("many", "Errored", "tenant_limit"): 20,
        ("few", "Succeeded", ""): FEW,
    }
