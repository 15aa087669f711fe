"""The conformance kit itself: who behaves passes, who does not is found out, and who cannot is excused."""

import asyncio

import pytest

from batch_bridge import Errored
from batch_bridge._core.models import Ended, InProgress
from batch_bridge.errors import RequestRefused
from batch_bridge.providers._callables import CallableProvider
from batch_bridge.testing import Stats
from batch_bridge.testing.conformance import BEHAVIOURS, Nonconforming, Subject, requests

BY_NAME = {behaviour.name: behaviour for behaviour in BEHAVIOURS}


class Far:
    """Answers batches from memory; what an account has submitted another provider of it can poll."""

    def __init__(self):
        self.batches = []

    async def submit(self, items):
        self.batches.append(items)
        return len(self.batches) - 1

    async def poll(self, handle):
        return [f"answer to {item}" for item in self.batches[handle]]


class Plain(CallableProvider):
    """A pair that refuses what is no string."""

    def measure(self, request):
        if not isinstance(request.item, str):
            raise RequestRefused("it is no string")
        return super().measure(request)


def subject(kind=Plain, far=None, **options):
    far = far or Far()
    fields = {
        "open": lambda account: kind(far.submit, far.poll),
        "item": lambda n: f"question {n}.",
        "answers": lambda n, answer: answer == f"answer to question {n}.",
        "forms": ["any string"],
        "bad": 3,
    }
    return Subject(**{**fields, **options})


PLAIN = [behaviour for behaviour in BEHAVIOURS if not behaviour.needs]


@pytest.mark.parametrize("behaviour", PLAIN, ids=str)
async def test_a_provider_of_ones_own_conforms(behaviour):
    assert behaviour.excuse(subject()) is None
    await behaviour.check(subject())


def test_without_a_server_the_rest_is_excused():
    rest = [behaviour for behaviour in BEHAVIOURS if behaviour.needs]
    assert len(rest) > len(PLAIN)
    assert all("no server" in behaviour.excuse(subject()) for behaviour in rest)


class Server:
    """Counts, and notes what it is told."""

    def __init__(self):
        self.told = []
        self.stats = Stats()

    def reset_stats(self):
        self.told.append("reset")

    def configure(self, **options):
        self.told.append(options)


def test_what_a_provider_lacks_excuses_it():
    lame = subject(server=Server(), lacks={"find": "it keeps no key"})
    assert BY_NAME["a_create_whose_answer_was_lost_is_adopted"].excuse(lame) == "find: it keeps no key"
    assert BY_NAME["a_create_whose_answer_was_lost_is_not_repeated"].excuse(lame) is None


def test_a_lane_lacks_what_its_kind_lacks_by_its_nature():
    in_window, in_flex = (subject(server=Server()).in_lane(name, usage="none") for name in ("window:8h", "flex"))
    adopted, many, process = (
        BY_NAME[name]
        for name in (
            "a_create_whose_answer_was_lost_is_adopted",
            "one_flush_may_be_many_batches",
            "another_process_polls_by_the_handle",
        )
    )
    assert adopted.excuse(in_window) == "find: responses cannot be listed"
    assert many.excuse(in_window) == "many: each request is a batch of its own"
    assert process.excuse(in_window) is None
    assert process.excuse(in_flex) == "process: a call belongs to the process that made it"
    assert many.excuse(subject()) is process.excuse(subject()) is None
    assert BY_NAME["what_was_billed_is_summed"].excuse(in_window) == "usage: none"


def test_a_behaviour_of_some_lanes_is_not_asked_of_others():
    refused = BY_NAME["a_tier_without_room_is_asked_again"]
    assert refused.excuse(subject(server=Server())) == "it is about flex, and the subject's lane is batch"
    assert refused.excuse(subject(server=Server()).in_lane("flex")) is None


def test_a_lane_that_the_provider_lacks_is_an_error_that_names_it():
    with pytest.raises(ValueError, match="has no lane 'flex'"):
        subject().in_lane("flex").open("any")


def test_faults_are_taken_back():
    server = Server()
    with pytest.raises(ZeroDivisionError), subject(server=server).faults(latency=3.0, line_failure_status=429):
        raise ZeroDivisionError
    assert server.told == [
        {"latency": 3.0, "line_failure_status": 429},
        {"latency": 0.0, "line_failure_status": (500,)},
    ]


def test_names_are_told_apart():
    assert len(BY_NAME) == len(BEHAVIOURS)
    assert [str(behaviour) for behaviour in BEHAVIOURS] == list(BY_NAME)


# -- those that do not conform -------------------------------------------------------------------------------------


class Shifting(Far):
    async def poll(self, handle):
        answers = await super().poll(handle)
        return [*answers[1:], answers[0]]


class Losing(Far):
    async def poll(self, handle):
        answers = await super().poll(handle)
        return {place: answer for place, answer in enumerate(answers) if place}


class Lax(CallableProvider):
    """Takes anything."""


class Careless(Plain):
    """One bad item fails its batch: it is found out too late."""

    def measure(self, request):
        return CallableProvider.measure(self, request)

    async def submit(self, key, requests, prepared):
        for request in requests:
            Plain.measure(self, request)
        return await super().submit(key, requests, prepared)


class Forgetful(Plain):
    """Remembers in the process what its handle should say."""

    def __init__(self, *functions):
        super().__init__(*functions)
        self.known = set()

    async def submit(self, key, requests, prepared):
        handle = await super().submit(key, requests, prepared)
        self.known.add(handle)
        return handle

    async def poll(self, handle, requests):
        if handle not in self.known:
            return Ended(_none(), missing=Errored("who is that?"))
        return await super().poll(handle, requests)


async def _none():
    for pair in ():
        yield pair


class Once(Plain):
    """Cannot be released twice."""

    def __init__(self, *functions):
        super().__init__(*functions)
        self.released = False

    async def release(self, handle):
        if self.released:
            raise RuntimeError("released already")
        self.released = True


class AtHome(Plain):
    """Belongs to the first event loop that it meets."""

    def __init__(self, *functions):
        super().__init__(*functions)
        self.loop = None

    async def submit(self, key, requests, prepared):
        self.loop = self.loop or asyncio.get_running_loop()
        if self.loop is not asyncio.get_running_loop():
            raise RuntimeError("attached to a different loop")
        return await super().submit(key, requests, prepared)


class Closed(Plain):
    """Does not open again."""

    def __init__(self, *functions):
        super().__init__(*functions)
        self.closed = False

    async def submit(self, key, requests, prepared):
        if self.closed:
            raise RuntimeError("closed")
        return await super().submit(key, requests, prepared)

    async def aclose(self):
        self.closed = True


class TupleHandle(Plain):
    """Its handle is not what JSON makes of it."""

    async def submit(self, key, requests, prepared):
        return (await super().submit(key, requests, prepared),)

    async def poll(self, handle, requests):
        return InProgress() if isinstance(handle, tuple) else await super().poll(handle[0], requests)


@pytest.mark.parametrize(
    ("behaviour", "kind", "far"),
    [
        ("every_request_gets_its_own_answer", Plain, Shifting),
        ("every_request_gets_its_own_answer", Plain, Losing),
        ("every_item_form_is_answered", Plain, Losing),
        ("a_bad_item_harms_no_neighbour", Lax, Far),
        ("a_bad_item_harms_no_neighbour", Careless, Far),
        ("one_flush_may_be_many_batches", Plain, Losing),
        ("another_process_polls_by_the_handle", Forgetful, Far),
        ("another_process_polls_by_the_handle", TupleHandle, Far),
        ("release_may_be_repeated", Once, Far),
        ("it_meets_one_event_loop_after_another", AtHome, Far),
        ("it_works_again_after_aclose", Closed, Far),
    ],
)
async def test_who_does_not_conform_is_found_out(behaviour, kind, far):
    with pytest.raises(Nonconforming):
        await BY_NAME[behaviour].check(subject(kind, far()))


def test_requests_have_ids_of_their_own():
    made = requests(["a", "a"])
    assert len({each.id for each in made}) == 2
