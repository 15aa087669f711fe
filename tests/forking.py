"""Runs what was collected in several processes, each forked off the one that collected it: `--jobs N`.

So the tests and all that they import are loaded once, and not once in each worker. A worker is given one file after the
other, in the order and the lanes of `scheduling.py`; its reports travel back, and pytest shows them as its own. A worker that
dies fails the test that it was at, and another one does the rest of its file. One that ends without a goodbye has died, and
what goes wrong at a worker's end, such as in a fixture of the session, is an error of its last test.
"""

import gc
import os
import random
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from typing import Any, Final, NoReturn

import pytest
from _pytest.terminal import TerminalReporter
from _pytest.threadexception import collect_thread_exception, thread_exceptions
from _pytest.unraisableexception import collect_unraisable, unraisable_exceptions
from _pytest.warnings import catch_warnings_for_item
from scheduling import Lanes

before: list[Callable[[], None]] = []
"""What is done before the first worker is forked, for all of them."""
GRACE: Final = 5.0
"""Seconds within which a worker ends that is to end; then it is killed."""
LONGEST: Final = 120.0
"""Seconds within which the fixtures of the session end in a worker: no test's timeout watches over them."""


class Worker:
    """A worker, as the process that collected sees it.

    Attributes:
        connection: Where it reports, and is told what is next.
        left: The places of the tests that it has been given and has not ended, in their order.
        last: The place of the test that it has ended last, if any.
    """

    def __init__(self, session: pytest.Session, number: int, others: list["Worker"]) -> None:
        self.number, self.left = number, list[int]()
        self.last: int | None = None
        self.connection, theirs = Pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if not self.pid:
            for each in (self, *others):
                each.connection.close()  # a pipe ends with the one process that holds its end
            _work(session, number, theirs)
        theirs.close()

    def give(self, places: list[int]) -> None:
        """Give it the tests of a file; none ends it."""
        self.left = list(places)
        with suppress(BrokenPipeError, ConnectionResetError):  # it has died: that is what is heard next
            self.connection.send(places)

    def ended(self, place: int) -> None:
        """Note that it has ended a test."""
        self.left.remove(place)
        self.last = place

    def stop(self) -> None:
        """Tell it to end at once."""
        os.kill(self.pid, signal.SIGTERM)

    def end(self) -> int:
        """Wait for its end, but not for long, and return how it ended."""
        self.connection.close()
        until = time.monotonic() + GRACE
        while (ended := os.waitpid(self.pid, os.WNOHANG)) == (0, 0):
            if time.monotonic() > until:
                os.kill(self.pid, signal.SIGKILL)
                ended = os.waitpid(self.pid, 0)
                break
            time.sleep(0.005)
        return os.waitstatus_to_exitcode(ended[1])


class Forking:
    """The plugin that runs the tests in so many workers."""

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        if session.config.option.collectonly or session.testsfailed:
            return None  # pytest does it, or says why not
        session.config._tmp_path_factory.getbasetemp()  # of all; it is deleted at the end
        run = _Run(session, self._jobs)
        try:
            run.start()
            while run.workers:
                run.hear()
                if session.shouldfail:
                    raise session.Failed(str(session.shouldfail))
                if session.shouldstop:
                    raise session.Interrupted(str(session.shouldstop))
            run.check()
        finally:
            for each in run.workers:
                each.stop()
            for each in run.workers:
                each.end()
        return True


class _Run:
    """One run of the tests.

    Attributes:
        workers: Those that have not ended.
    """

    def __init__(self, session: pytest.Session, jobs: int) -> None:
        self._session, self._hook = session, session.config.hook
        self._files: dict[str, list[int]] = {}
        for place, item in enumerate(session.items):
            self._files.setdefault(item.nodeid.partition("::")[0], []).append(place)
        self._open = set(range(len(session.items)))
        self._broken_off: list[list[int]] = []
        self._lanes = Lanes(list(self._files), min(jobs, len(self._files)))
        self.workers: list[Worker] = []

    def start(self) -> None:
        for each in before:
            each()
        for number in range(self._lanes.workers):
            self._fork(number)

    def hear(self) -> None:
        """Take a message of each worker that has one."""
        for ready in wait([each.connection for each in self.workers]):
            worker = next(each for each in self.workers if each.connection is ready)
            try:
                kind, what = worker.connection.recv()
            except (EOFError, ConnectionResetError):
                kind, what = "gone", None
            match kind:
                case "free":
                    worker.give(self._next(worker))
                case "report":
                    report = self._hook.pytest_report_from_serializable(config=self._session.config, data=what)
                    self._hook.pytest_runtest_logreport(report=report)
                case "ended":
                    worker.ended(what)
                    self._open.discard(what)
                case "warning":
                    self._hook.pytest_warning_recorded.call_historic(kwargs=what)
                case "failed":
                    raise RuntimeError(f"a worker failed:\n{what}")
                case "goodbye":
                    self.workers.remove(worker)
                    worker.end()
                case "gone":
                    self._bury(worker)

    def check(self) -> None:
        """See that each test has ended, or was reported as one at which a worker died."""
        if self._open:
            first = self._session.items[min(self._open)].nodeid
            raise RuntimeError(f"{len(self._open)} tests have not been run, such as {first}: all workers have ended")

    def _fork(self, number: int) -> None:
        self.workers.append(Worker(self._session, number, self.workers))

    def _next(self, worker: Worker) -> list[int]:
        if self._broken_off:
            return self._broken_off.pop()
        file = self._lanes.take(worker.number)
        return [] if file is None else self._files[file]

    def _bury(self, worker: Worker) -> None:
        self.workers.remove(worker)
        code = worker.end()
        at, rest = (worker.left[0], worker.left[1:]) if worker.left else (worker.last, [])
        if at is None:
            raise RuntimeError(f"a worker ended with {code} before it ran a test")
        item = self._session.items[at]
        when, said = ("call", "while it ran") if worker.left else ("teardown", "after its last test,")
        report = pytest.TestReport(
            item.nodeid,
            item.location,
            {},
            "failed",
            f"the worker ended with {code} {said} {item.nodeid}",
            when,
        )
        self._hook.pytest_runtest_logreport(report=report)
        self._open.discard(at)
        if rest:
            self._broken_off.append(rest)
        self._fork(worker.number)


# -- in the worker -------------------------------------------------------------------------------------------------


class _Reporting:
    """Sends what is reported to the process that collected."""

    def __init__(self, config: pytest.Config, connection: Connection) -> None:
        self._config, self._connection = config, connection
        self.are_warnings_new = False  # pytest tells a new plugin of old ones

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        data = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        self._connection.send(("report", data))

    def pytest_warning_recorded(self, warning_message: Any, when: str, nodeid: str, location: Any) -> None:
        if not self.are_warnings_new:
            return
        said = warnings.WarningMessage(
            f"{warning_message.category.__name__}: {warning_message.message}",
            UserWarning,
            warning_message.filename,
            warning_message.lineno,
        )
        self._connection.send(
            ("warning", {"warning_message": said, "when": when, "nodeid": nodeid, "location": location})
        )


def _work(session: pytest.Session, number: int, connection: Connection) -> NoReturn:
    """Run what one is given, until that is nothing; then end, without what the other process is to do at its end."""
    code, item = 1, None
    os.register_at_fork(after_in_child=connection.close)  # a child that a test forgets is no second worker
    try:
        random.seed()
        folders = session.config._tmp_path_factory
        folders._basetemp = folders.getbasetemp() / f"worker-{number}"
        folders._basetemp.mkdir(exist_ok=True)
        with _quiet(session.config), open(os.devnull, "w") as nowhere:
            reporter = session.config.pluginmanager.getplugin("terminalreporter")
            assert isinstance(reporter, TerminalReporter)
            reporter._tw._file = nowhere
            reporting = _Reporting(session.config, connection)
            session.config.pluginmanager.register(reporting)
            reporting.are_warnings_new = True
            connection.send(("free", None))
            while places := connection.recv():
                items = [session.items[each] for each in places]
                # What belongs to the session lasts until the worker ends, hence the session is what comes next.
                for place, item, after in zip(places, items, [*items[1:], session], strict=True):
                    session.config.hook.pytest_runtest_protocol(item=item, nextitem=after)
                    connection.send(("ended", place))
                connection.send(("free", None))
            if item is not None:
                _finish(session, item)
            connection.send(("goodbye", None))
        code = 0
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        pass  # the other process is gone, or goes
    except BaseException:
        connection.send(("failed", traceback.format_exc()))
    finally:
        os._exit(code)


def _finish(session: pytest.Session, last: pytest.Item) -> None:
    """End what belongs to the session, and report what pytest would notice only when it ends, as errors of the last test."""
    config = session.config

    def too_long(*_: object) -> NoReturn:
        raise TimeoutError(f"the fixtures of the session have not ended within {LONGEST:g} seconds")

    def end_fixtures() -> None:
        signal.signal(signal.SIGALRM, too_long)
        signal.setitimer(signal.ITIMER_REAL, LONGEST)
        try:
            session._setupstate.teardown_exact(None)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)

    def collect_garbage() -> None:
        for _ in range(3):
            gc.collect()  # an object's end may end others
        if unraisable_exceptions in config.stash:
            collect_unraisable(config)

    def collect_threads() -> None:
        if thread_exceptions in config.stash:
            collect_thread_exception(config)

    with catch_warnings_for_item(config, config.hook, "config", None):
        for end in (end_fixtures, collect_threads, collect_garbage):
            call = pytest.CallInfo.from_call(end, when="teardown")
            if call.excinfo is not None:
                report = pytest.TestReport.from_item_and_call(last, call)  # without what a mark of the test excuses
                config.hook.pytest_runtest_logreport(report=report)


@contextmanager
def _quiet(config: pytest.Config) -> Iterator[None]:
    """Capture into files of one's own; those that were open are shared with the other workers."""
    manager = config.pluginmanager.getplugin("capturemanager")
    manager.stop_global_capturing()
    manager.start_global_capturing()
    manager.suspend_global_capture()
    yield
    manager.stop_global_capturing()
