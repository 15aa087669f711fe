"""The queue: order and sums."""

from fakes import T0, at
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from batch_bridge._core.policy.batching import Waiting
from batch_bridge._engine.waiting.queue import Queue

IDS = st.integers(0, 9).map(str)


def take(queue, count, now):
    """Begin batches with the oldest requests."""
    taken = queue.pick(count)
    queue.flushed(now)
    assert all(queue.discard(each.id) for each in taken)
    return taken


class QueueMachine(RuleBasedStateMachine):
    """The queue beside a plain list."""

    def __init__(self):
        super().__init__()
        self.queue = Queue(T0)
        self.model = []
        self.taken = []
        self.clock = 0

    @rule(request_id=IDS, group=st.sampled_from("ab"), size=st.integers(0, 9))
    def add(self, request_id, group, size):
        self.clock += 1
        waiting = Waiting(request_id, group, size, at(self.clock))
        self.queue.add(waiting)
        if all(each.id != request_id for each in self.model):
            self.model.append(waiting)

    @rule(count=st.integers(0, 12))
    def take(self, count):
        taken = take(self.queue, count, at(self.clock))
        assert list(taken) == self.model[:count]
        self.model = self.model[count:]
        self.taken = [*taken]

    @rule()
    def put_back(self):
        back = [each for each in self.taken if all(each.id != other.id for other in self.model)]
        self.queue.put_back(back)
        self.model = sorted([*back, *self.model], key=lambda each: each.queued_at)
        self.taken = []

    @rule(request_id=IDS)
    def discard(self, request_id):
        held = [each for each in self.model if each.id == request_id]
        assert self.queue.discard(request_id) == bool(held)
        self.model = [each for each in self.model if each not in held]

    @invariant()
    def sums_are_right(self):
        summary = self.queue.summary(at(self.clock))
        assert summary.requests == len(self.queue) == len(self.model)
        assert summary.bytes == sum(each.bytes for each in self.model)
        assert summary.oldest == (self.model[0].queued_at if self.model else None)
        assert summary.newest == (self.model[-1].queued_at if self.model else None)
        assert list(self.queue) == [each.id for each in self.model]
        assert all((str(n) in self.queue) == any(each.id == str(n) for each in self.model) for n in range(10))


TestQueue = QueueMachine.TestCase


def test_a_request_queued_again_stays_where_it_is():
    queue = Queue(T0)
    for request_id, size, second in (("1", 5, 0), ("2", 1, 1), ("1", 9, 2)):
        queue.add(Waiting(request_id, "", size, at(second)))
    assert [(each.id, each.bytes) for each in queue.pick(2)] == [("1", 5), ("2", 1)]


def test_a_flush_leaves_its_requests_in_the_queue_and_the_summary_says_when_it_was():
    queue = Queue(T0)
    assert queue.summary(at(1)).last_flushed == T0
    queue.flushed(at(5))
    assert queue.summary(at(6)).last_flushed == at(5)
    assert queue.summary(at(6)).now == at(6)


def test_what_is_flushed_stays_until_it_is_begun():
    queue = Queue(T0)
    queue.add(Waiting("1", "", 5, at(0)))
    assert queue.pick(1) == queue.pick(1) == [Waiting("1", "", 5, at(0))]
    assert "1" in queue


@given(st.permutations(range(6)), st.integers(0, 6))
def test_requests_that_are_put_back_are_the_oldest_again(order, count):
    queue = Queue(T0)
    for second in range(6):
        queue.add(Waiting(str(second), "", 1, at(second)))
    taken = take(queue, count, at(9))
    queue.put_back(sorted(taken, key=lambda each: order[each.queued_at.second]))
    assert [each.id for each in queue.pick(6)] == ["0", "1", "2", "3", "4", "5"]
