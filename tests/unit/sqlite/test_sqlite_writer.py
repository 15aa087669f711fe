"""The writer thread: groups, errors, order, backpressure, closing."""

import asyncio
import os
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from batch_bridge._sqlite.insertion import ROWS_PER_STATEMENT, Insert
from batch_bridge._sqlite.writer import Writer
from batch_bridge.errors import RunFileError, RunnerStateError

NOTES = Insert("INSERT INTO notes (number, text) VALUES", "(?, ?)")


class Gate:
    """Holds commits back until it is opened, and says when the first one has arrived."""

    def __init__(self):
        self.arrived = threading.Event()
        self.open = threading.Event()

    def __call__(self):
        self.arrived.set()
        assert self.open.wait(timeout=30)


class Notes:
    def __init__(self, folder):
        self.path = str(folder / "notes.sqlite")
        self.writers = []

    def writer(self, **options):
        connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=0)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE IF NOT EXISTS notes (number INTEGER, text TEXT NOT NULL)")
        writer = Writer(connection, path=self.path, **options)
        self.writers.append(writer)
        return writer

    def read(self):
        connection = sqlite3.connect(self.path)
        try:
            return [number for (number,) in connection.execute("SELECT number FROM notes ORDER BY rowid")]
        finally:
            connection.close()


@pytest.fixture
def notes(tmp_path):
    notes = Notes(tmp_path)
    yield notes
    for writer in notes.writers:
        writer.close()


async def arrival(gate):
    assert await asyncio.to_thread(gate.arrived.wait, 30)


async def test_a_write_that_has_returned_is_committed(notes):
    writer = notes.writer()
    await writer.insert(NOTES, [(1, "a"), (2, "b")])
    assert notes.read() == [1, 2]


async def test_what_queues_up_during_a_commit_is_the_next_group(notes):
    gate = Gate()
    writer = notes.writer(before_commit=gate)
    first = asyncio.create_task(writer.insert(NOTES, [(0, "")]))
    await arrival(gate)
    others = [asyncio.create_task(writer.insert(NOTES, [(n, "")])) for n in range(1, 101)]
    await asyncio.sleep(0)
    assert notes.read() == []
    gate.open.set()
    await asyncio.gather(first, *others)
    assert (writer.groups, writer.writes) == (2, 101)
    assert notes.read() == list(range(101))


@pytest.mark.parametrize("count", [1, ROWS_PER_STATEMENT - 1, ROWS_PER_STATEMENT, ROWS_PER_STATEMENT * 2 + 5])
async def test_many_rows_of_one_insert_are_all_written_in_order(notes, count):
    await notes.writer().insert(NOTES, [(n, "") for n in range(count)])
    assert notes.read() == list(range(count))


async def test_a_failing_write_takes_only_itself_back(notes):
    gate = Gate()
    writer = notes.writer(before_commit=gate)

    def add_and_fail(connection):
        connection.execute("INSERT INTO notes VALUES (100, '')")
        raise LookupError("on purpose")

    writes = [asyncio.create_task(writer.insert(NOTES, [(0, "")]))]
    await arrival(gate)
    writes += [
        asyncio.create_task(writer.insert(NOTES, [(1, "")])),
        asyncio.create_task(writer.insert(NOTES, [(2, ""), (3, None)])),  # NOT NULL
        asyncio.create_task(writer.call(add_and_fail)),
        asyncio.create_task(writer.insert(NOTES, [(4, object())])),  # cannot be bound
        asyncio.create_task(writer.call(lambda connection: connection.execute("SELECT 5").fetchone())),
        asyncio.create_task(writer.insert(NOTES, [(6, "")])),
    ]
    await asyncio.sleep(0)
    gate.open.set()
    results = await asyncio.gather(*writes, return_exceptions=True)
    assert [type(result) for result in results] == [
        type(None),
        type(None),
        sqlite3.IntegrityError,
        LookupError,
        sqlite3.ProgrammingError,
        tuple,
        type(None),
    ]
    assert notes.read() == [0, 1, 6]


async def test_an_error_of_the_commit_is_everybodys(notes):
    gate = Gate()
    errors = [OSError("no space left on device")]

    def fail_the_second():
        if gate.arrived.is_set() and errors:
            raise errors.pop()
        gate()

    writer = notes.writer(before_commit=fail_the_second)
    first = asyncio.create_task(writer.insert(NOTES, [(0, "")]))
    await arrival(gate)
    others = [asyncio.create_task(writer.insert(NOTES, [(n, "")])) for n in range(1, 4)]
    await asyncio.sleep(0)
    gate.open.set()
    await first
    failures = await asyncio.gather(*others, return_exceptions=True)
    assert all(isinstance(failure, RunFileError) for failure in failures)
    assert all(word in str(failures[0]) for word in (notes.path, "3 writes", "no space left", "run again"))
    assert len({id(failure) for failure in failures}) == 3
    assert notes.read() == [0]
    await writer.insert(NOTES, [(9, "")])
    assert notes.read() == [0, 9]


async def test_a_file_that_another_program_locks_fails_the_group_and_recovers(notes):
    writer = notes.writer()
    other = sqlite3.connect(notes.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(RunFileError, match="locked"):
        await writer.insert(NOTES, [(1, "")])
    other.execute("ROLLBACK")
    other.close()
    await writer.insert(NOTES, [(2, "")])
    assert notes.read() == [2]


async def test_inserts_and_calls_keep_their_order(notes):
    gate = Gate()
    writer = notes.writer(before_commit=gate)
    writes = [asyncio.create_task(writer.insert(NOTES, [(0, "")]))]
    await arrival(gate)
    for n in range(1, 20):
        if n % 3:
            writes.append(asyncio.create_task(writer.insert(NOTES, [(n, "")])))
        else:
            writes.append(asyncio.create_task(writer.call(lambda connection, n=n: NOTES.run(connection, [(n, "")]))))
    await asyncio.sleep(0)
    gate.open.set()
    await asyncio.gather(*writes)
    assert writer.groups == 2
    assert notes.read() == list(range(20))


async def test_what_one_turn_of_the_loop_writes_is_queued_together(notes):
    """To wake the writer thread costs as much as a small write: once in a turn, not once for each write."""
    writer = notes.writer()
    handed_over = []
    queue = writer._queue
    writer._queue = SimpleNamespace(
        put=lambda jobs: (handed_over.append(jobs), queue.put(jobs)), get=queue.get, empty=queue.empty
    )
    writes = [asyncio.create_task(writer.insert(NOTES, [(n, "")])) for n in range(20)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    writer._queue = queue
    await asyncio.gather(*writes)
    assert [len(jobs) for jobs in handed_over] == [20]
    assert notes.read() == list(range(20))


async def test_callers_wait_for_a_place_in_a_full_queue(notes):
    gate = Gate()
    writer = notes.writer(before_commit=gate, queue_limit=3, group_limit=2)
    writes = [asyncio.create_task(writer.insert(NOTES, [(0, "")]))]
    await arrival(gate)
    writes += [asyncio.create_task(writer.insert(NOTES, [(n, "")])) for n in range(1, 50)]
    await asyncio.sleep(0)
    assert writer._queued == 3
    gate.open.set()
    with ThreadPoolExecutor(8) as pool:
        await asyncio.gather(
            *writes,
            *(
                asyncio.get_running_loop().run_in_executor(pool, writer.insert_blocking, NOTES, [(n, "")])
                for n in range(50, 90)
            ),
        )
    assert sorted(notes.read()) == list(range(90))
    assert writer.groups >= 45


async def test_closing_writes_what_is_queued_and_refuses_the_rest(notes):
    gate = Gate()
    writer = notes.writer(before_commit=gate, queue_limit=5)
    writes = [asyncio.create_task(writer.insert(NOTES, [(0, "")]))]
    await arrival(gate)
    writes += [asyncio.create_task(writer.insert(NOTES, [(n, "")])) for n in range(1, 10)]
    await asyncio.sleep(0)
    closing = threading.Thread(target=writer.close)
    closing.start()
    while not writer._closed:
        pass
    gate.open.set()
    results = await asyncio.gather(*writes, return_exceptions=True)
    closing.join()
    assert results[:6] == [None] * 6
    assert all(isinstance(result, RunnerStateError) for result in results[6:])
    assert notes.read() == list(range(6))
    writer.close()
    with pytest.raises(RunnerStateError, match="is closed"):
        await writer.insert(NOTES, [(1, "")])
    with pytest.raises(RunnerStateError, match="is closed"):
        writer.call_blocking(lambda connection: None)


async def test_blocking_callers_may_be_anywhere_even_on_the_loop(notes):
    writer = notes.writer()
    writer.insert_blocking(NOTES, [(1, "")])
    assert writer.call_blocking(lambda connection: connection.execute("SELECT 7").fetchone()) == (7,)
    await asyncio.to_thread(writer.insert_blocking, NOTES, [(2, "")])
    with pytest.raises(sqlite3.IntegrityError):
        writer.insert_blocking(NOTES, [(3, None)])
    assert notes.read() == [1, 2]


async def test_a_caller_that_goes_away_harms_nobody(notes):
    gate = Gate()
    writer = notes.writer(before_commit=gate)
    first = asyncio.create_task(writer.insert(NOTES, [(0, "")]))
    await arrival(gate)
    gone, stays = (asyncio.create_task(writer.insert(NOTES, [(n, "")])) for n in (1, 2))
    await asyncio.sleep(0)
    gone.cancel()
    gate.open.set()
    await asyncio.gather(first, stays)
    assert gone.cancelled()
    assert {0, 2} <= set(notes.read())


def test_several_event_loops_share_one_writer(notes):
    writer = notes.writer()

    def run(base):
        async def write():
            await asyncio.gather(*(writer.insert(NOTES, [(base + n, "")]) for n in range(50)))

        asyncio.run(write())

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(run, range(0, 200, 50)))
    assert sorted(notes.read()) == list(range(200))


def test_a_loop_that_was_closed_meanwhile_harms_nobody(notes):
    gate = Gate()
    writer = notes.writer(before_commit=gate)
    loop = asyncio.new_event_loop()
    write = loop.create_task(writer.insert(NOTES, [(1, "")]))
    loop.run_until_complete(asyncio.sleep(0))
    assert gate.arrived.wait(30)
    write.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(write)
    loop.close()
    gate.open.set()
    writer.insert_blocking(NOTES, [(2, "")])
    assert notes.read() == [1, 2]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_process_is_told_to_open_its_own(notes):
    writer = notes.writer()
    child = os.fork()
    if not child:
        try:
            writer.insert_blocking(NOTES, [(1, "")])
        except RunnerStateError as error:
            os._exit(7 if "forked" in str(error) else 8)
        os._exit(9)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


async def blocked_beside(writer, numbers):
    """Write in one turn of the loop: each number without blocking, then one more that blocks the loop's thread."""
    blocks = threading.Event()  # set when the blocking write has returned

    async def block():
        writer.insert_blocking(NOTES, [(-1, "")])
        blocks.set()

    def help_out():  # a write that hangs for good would hang the test too
        if not blocks.wait(timeout=5):
            for loop in list(writer._turns):
                writer._end_turn(loop)

    helper = threading.Thread(target=help_out)
    helper.start()
    try:
        tasks = [asyncio.create_task(writer.insert(NOTES, [(n, "")])) for n in numbers]
        await asyncio.gather(*tasks, asyncio.create_task(block()))
    finally:
        blocks.set()
        helper.join()


async def test_a_write_that_blocks_the_loop_finds_room_beside_a_turn_of_writes_that_fills_the_queue(notes, monkeypatch):
    writer = notes.writer(queue_limit=4)
    ends = []
    monkeypatch.setattr(writer, "_end_turn", lambda loop, end=writer._end_turn: (ends.append(loop), end(loop)))
    await blocked_beside(writer, range(4))
    assert len(ends) == 1  # the loop's own: the blocked write needed nobody's help
    assert notes.read() == [0, 1, 2, 3, -1]


async def test_a_write_that_blocks_does_not_overtake_what_was_written_before_it_in_the_same_turn(notes):
    writer = notes.writer()
    await blocked_beside(writer, [1, 2])
    assert notes.read() == [1, 2, -1]


def test_writes_go_on_in_a_loop_in_which_an_interrupt_came_as_one_was_offered(notes, monkeypatch):
    writer = notes.writer()
    loop = asyncio.new_event_loop()
    call_soon = loop.call_soon

    def interrupted(callback, *args, **options):
        if callback == writer._end_turn:
            monkeypatch.setattr(loop, "call_soon", call_soon)
            raise KeyboardInterrupt
        return call_soon(callback, *args, **options)

    monkeypatch.setattr(loop, "call_soon", interrupted)
    try:
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(writer.insert(NOTES, [(1, "")]))
        loop.run_until_complete(asyncio.wait_for(writer.insert(NOTES, [(2, "")]), 10))
    finally:
        loop.close()
    assert notes.read() == [2]
