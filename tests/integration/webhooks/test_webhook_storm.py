"""Ten thousand deliveries, genuine, forged, late, doubled and reordered: nothing wrong, and the bridge goes on."""

import asyncio
import random
import tracemalloc

from sampling import many
from test_webhooks import SELDOM, SOON, Counted, client_of, post

from batch_bridge import Batcher, FlushPolicy

FORGED = "whsec_Zm9yZ2VkIGJ5IHNvbWVib2R5"
ASKED = 20
AT_A_TIME = 50


async def test_a_storm_of_deliveries_leaves_answers_memory_and_the_bridge_as_they_are():
    drawn = random.Random(20)
    desk = Counted().hold()
    deliveries = [
        (name, options)
        for each in range(many(10_000, 300) // 6)
        for name, options in (
            (f"batch_{each % ASKED}", {}),
            (f"batch_{each % ASKED}", {}),
            (f"batch_{each % ASKED}", {"secret": FORGED}),
            (f"batch_{each % ASKED}", {"age": 301}),
            (f"batch_of_another_program_{each}", {}),
            (f"batch_{each % ASKED}", {"kind": "eval.run.succeeded"}),
        )
    ]
    drawn.shuffle(deliveries)
    rounds = [deliveries[start : start + AT_A_TIME] for start in range(0, len(deliveries), AT_A_TIME)]
    alone = FlushPolicy(max_requests=1)
    owner = Batcher(submit_func=desk.submit, poll_func=desk.poll, poll_interval=SELDOM, flush=alone)
    async with owner as batcher, client_of(batcher, period=0.05) as client:
        asking = [asyncio.create_task(batcher.asubmit(f"q{each}")) for each in range(ASKED)]
        turns, sizes = [0], []

        async def beat():
            while True:
                turns[-1] += 1
                await asyncio.sleep(0)

        beating = asyncio.create_task(beat())
        tracemalloc.start()
        try:
            for number, each in enumerate(rounds):
                if number == len(rounds) // 2:
                    desk.let_go()
                turns.append(0)
                statuses = await asyncio.gather(*(post(client, name, **options) for name, options in each))
                refused = [("secret" in options or "age" in options) for _, options in each]
                assert [status == 400 for status in statuses] == refused
                assert {*statuses} <= {204, 400}
                sizes.append(tracemalloc.get_traced_memory()[0])
        finally:
            tracemalloc.stop()
            beating.cancel()
        assert await asyncio.wait_for(asyncio.gather(*asking), SOON) == [f"q{each}!" for each in range(ASKED)]
    assert desk.sizes == [1] * ASKED, "each was sent once"
    assert sizes[-1] - sizes[len(sizes) // 4] < 1_000_000
    assert min(turns[1:]) > 5, "between deliveries the loop goes on"
