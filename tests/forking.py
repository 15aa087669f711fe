"""Runs what was collected in several processes, each forked off the one that collected it: `--jobs N`.

So the tests and all that they import are loaded once, and not once in each worker. A worker is given one file after the
other, in the order and the lanes of `scheduling.py`; its reports travel back, and pytest shows them as its own. A worker that
dies fails the test that it was at, and another one does the rest of its file.
"""

import os
import random
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from typing import Any, NoReturn

import pytest
from _pytest.terminal import TerminalReporter
from scheduling import Lanes

before: list[Callable[[], None]] = []
"""What is done before the first worker is forked, for all of them."""


class Worker:
    """A worker, as the process that collected sees it.

    Attributes:
        connection: Where it reports, and is told what is next.
        left: The places of the tests that it has been given and has not ended, in their order.
    """

    def __init__(self, session: pytest.Session, number: int, others: list["Worker"]) -> None:
        self.number, self.left = number, list[int]()
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
        self.connection.send(places)

    def end(self, *, at_once: bool = False) -> int:
        """Wait for its end, and return how it ended."""
        if at_once:
            os.kill(self.pid, signal.SIGTERM)
        self.connection.close()
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


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
                if why := session.shouldfail or session.shouldstop:
                    raise session.Interrupted(str(why))
        finally:
            for each in run.workers:
                each.end(at_once=True)
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
                    worker.left.remove(what)
                case "warning":
                    self._hook.pytest_warning_recorded.call_historic(kwargs=what)
                case "failed":
                    raise RuntimeError(f"a worker failed:\n{what}")
                case "gone":
                    self._bury(worker)

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
        if not worker.left:
            if code:
                raise RuntimeError(f"a worker ended with {code}")
            return
        at, *rest = worker.left
        item = self._session.items[at]
        said = f"the worker ended with {code} while it ran {item.nodeid}"
        report = pytest.TestReport(item.nodeid, item.location, {}, "failed", said, "call")
        self._hook.pytest_runtest_logreport(report=report)
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
    code = 1
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
            session._setupstate.teardown_exact(None)
        code = 0
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        pass  # the other process is gone, or goes
    except BaseException:
        connection.send(("failed", traceback.format_exc()))
    finally:
        os._exit(code)


@contextmanager
def _quiet(config: pytest.Config) -> Iterator[None]:
    """Capture into files of one's own; those that were open are shared with the other workers."""
    manager = config.pluginmanager.getplugin("capturemanager")
    manager.stop_global_capturing()
    manager.start_global_capturing()
    manager.suspend_global_capture()
    yield
    manager.stop_global_capturing()
