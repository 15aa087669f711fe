"""A bridge on a server whose `poll` is the user's own: what it raises, and what of it makes no sense."""

from fakes import named
from hosted import Hosted

from batch_bridge import Bridge
from batch_bridge.events import PollFailed

A, B, C = "aa" * 16, "bb" * 16, "cc" * 16


class Vendor:
    """Answers at once, but for the batches of which it `says` something else."""

    def __init__(self):
        self.batches = []
        self.says = {}

    def submit(self, items):
        self.batches.append(items)
        return len(self.batches) - 1

    def poll(self, handle):
        said = self.says.get(handle)
        if isinstance(said, Exception):
            raise said
        return [item["q"] for item in self.batches[handle]] if said is None else said

    def hosted(self, **options):
        return Hosted(provider=Bridge(submit=self.submit, poll=self.poll).provider, poll_interval=0.001, **options)


async def test_a_result_of_the_wrong_form_is_said_and_the_bridge_goes_on():
    vendor, heard = Vendor(), []
    vendor.says[0] = "done"
    hosted = vendor.hosted(on_event=heard.append)
    await hosted.park(named("first"), A)
    await hosted.tick()
    await hosted.tick()
    assert "poll() returned a str" in hosted.here.status()["last_error"]
    assert "The batch stays in flight" in hosted.here.status()["last_error"]
    assert [each.batch for each in heard if isinstance(each, PollFailed)] == [*hosted.here._engine.bad_results]
    await hosted.park(named("second"), B)
    await hosted.tick()
    await hosted.tick()
    assert [*hosted.server.resumed] == [named("second")], "its neighbours are sent, and answered"
    assert hosted.here.status()["in_flight"] == 1
    vendor.says.clear()
    mended = hosted.host()  # the process of a new deployment
    await hosted.tick(mended)
    await hosted.tick(mended)
    assert {*hosted.server.resumed} == {named("first"), named("second")}
    assert [len(items) for items in vendor.batches] == [1, 1], "paid once"


async def test_a_poll_that_raises_is_asked_again_and_shown():
    vendor = Vendor()
    vendor.says[0] = KeyError("results")
    hosted = vendor.hosted()
    await hosted.park(named("first"), A)
    await hosted.tick()
    await hosted.tick()
    assert "KeyError: 'results'" in hosted.here.status()["last_error"]
    assert (hosted.here.status()["in_flight"], hosted.server.resumed) == (1, {})
    vendor.says.clear()
    await hosted.tick()
    assert [*hosted.server.resumed] == [named("first")]
    assert len(vendor.batches) == 1


async def test_a_submit_without_a_handle_ends_its_requests():
    vendor = Vendor()
    hosted = Hosted(provider=Bridge(submit=lambda items: None, poll=vendor.poll).provider)
    await hosted.park(named("first"), C)
    await hosted.tick()
    await hosted.tick()
    (outcome,) = hosted.server.resumed[named("first")].values()
    assert "submit() returned None" in str(outcome)
