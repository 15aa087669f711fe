"""An open Runner: what it holds is opened in order, and closed in reverse."""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from batch_bridge._core.closing import Closing, note_others
from batch_bridge._host.callbacks import Callbacks, Listeners, listen
from batch_bridge._host.file_commands import FileCommands
from batch_bridge._host.garbage_collector import relaxed
from batch_bridge._host.notify import Board, Notifier
from batch_bridge._sqlite.store import SqliteRows
from batch_bridge._status.journal import Journal
from batch_bridge.bridge import Bridge
from batch_bridge.runner._calls import Calls
from batch_bridge.runner._display.notices import RunNotices
from batch_bridge.runner._session.session import Session
from batch_bridge.runner._settings import SessionSettings
from batch_bridge.runner._storage import Storage, is_volatile
from batch_bridge.runner._submissions import Submissions


class Opened:
    """Opens a Runner's file, its session and all that looks at it; closed, it can be opened again.

    Args:
        graph: As `Runner` was given it.
        bridges: Its bridges.
        storage: Its checkpointer and its store.
        settings: What it decided about sessions.
        calls: Its calls.
        callbacks: What its user wants to be told.
        notifier: Sends notices of its runs.
        relax_gc: Relax the garbage collector meanwhile.

    Attributes:
        session: Its session, while it is open.
    """

    def __init__(
        self,
        graph: Any,
        bridges: Sequence[Bridge],
        storage: Storage,
        settings: SessionSettings,
        calls: Calls,
        *,
        callbacks: Callbacks,
        notifier: Notifier | None,
        relax_gc: bool,
    ) -> None:
        self._graph = graph
        self._bridges = bridges
        self._storage = storage
        self._settings = settings
        self._calls = calls
        self._callbacks = callbacks
        own = [each.notifier for each in bridges] + [notifier]
        self._notifiers = [each for each in own if each is not None]
        self._relax_gc = relax_gc
        self._stack: contextlib.AsyncExitStack | None = None
        self.session: Session | None = None
        self._submissions: Submissions | None = None

    @property
    def submissions(self) -> Submissions:
        """Its submitted threads.

        Raises:
            RunnerStateError: It is not open.
        """
        _ = self._calls.session
        assert self._submissions is not None  # noqa: S101  # it is open as long as the session
        return self._submissions

    async def open(self, runner: object) -> None:
        """Open all, for a Runner that the session holds.

        Raises:
            RunFileError: The file is damaged, open elsewhere, or unreachable.
            StoreInUseError: Another Runner owns one of the bridges.
        """
        async with contextlib.AsyncExitStack() as stack:
            if self._relax_gc:
                stack.enter_context(relaxed())
            session, notices = await self._open_session(stack)
            names = ",".join(sorted(bridge.name for bridge in self._bridges))
            submissions = Submissions(session.rows, names, session.graph.checkpointer, self._calls)
            stack.push_async_exit(Closing((submissions.close,)))
            self._submissions = submissions
            self.session = session
            self._calls.open(session, notices)
            session.runner = runner
            try:
                await submissions.open()
            except BaseException:
                self.session = None
                self._calls.forget()
                raise
            self._stack = stack.pop_all()

    async def _open_session(self, stack: contextlib.AsyncExitStack) -> tuple[Session, RunNotices | None]:
        saver, store = await self._storage.open(stack)
        listeners, heard = self._listen(stack)
        self._calls.reset()
        session = Session(
            self._graph,
            self._bridges,
            None if self._storage.has_own_saver else saver,
            store,
            self._settings,
            listeners=listeners,
            heard=heard,
            volatile=is_volatile(saver, store),
            is_heard=bool(self._notifiers),
        )
        journal = None
        if isinstance(store, SqliteRows):
            journal = Journal(store, "runner", session.look, FileCommands(store, session.hands))
            stack.push_async_exit(Closing((journal.close,)))  # after the session: it says how that was left
        notices: RunNotices | None = None
        if self._notifiers:
            notices = RunNotices(Board(self._notifiers, session.rows), session, self._storage.file)
            stack.push_async_exit(Closing((notices.close,)))
        stack.push_async_exit(Closing((session.close,)))
        await session.open()
        if journal is not None:
            await journal.open()
        return session, notices

    def _listen(self, stack: contextlib.AsyncExitStack) -> tuple[Listeners | None, Mapping[str, Listeners]]:
        """Return who is told what happens, in all bridges and in one."""
        listeners = listen(self._callbacks, self._calls.look)
        if listeners is not None:
            stack.push_async_exit(Closing((listeners.close,)))
        heard = {bridge.name: own for bridge in self._bridges if (own := bridge.listen()) is not None}
        for own in heard.values():
            stack.push_async_exit(Closing((own.close,)))
        return listeners, heard

    async def close(self, error: BaseException | None = None) -> None:
        """Take no more calls, and close all. Idempotent.

        Args:
            error: What has ended the block. It passes, and what cannot be closed is noted on it.
        """
        stack, self._stack, self.session = self._stack, None, None
        self._calls.close()
        if stack is None:
            return
        try:
            await stack.aclose()  # callbacks that are still to be called are called here, and look at the session
        except Exception as failed:
            if error is None:
                raise
            note_others(error, (failed,))  # the caller receives the error that ended the block
        finally:
            self._calls.forget()
