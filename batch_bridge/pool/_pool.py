"""A pool: many processes that run the threads of one graph, and share its bridges."""

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from types import TracebackType
from typing import Any, Final, Self
from uuid import uuid4

import procrastinate
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.types import Command

from batch_bridge._compat.langgraph import is_by_id
from batch_bridge._core.payload.interrupt_payload import Asked
from batch_bridge._core.wording import log_text as _logged
from batch_bridge._host.garbage_collector import relaxed
from batch_bridge._ledger.patience import Patience, PatientRows, is_transient, patient_saver
from batch_bridge._node.given_items import check_items
from batch_bridge._node.platform.inbox import note_row
from batch_bridge._server.port.postgres import connections
from batch_bridge._server.ticker import Ticker
from batch_bridge.bridge import Bridge
from batch_bridge.errors import LegLostError, RunnerStateError, SubmittedThreadError, UnknownThreadError
from batch_bridge.pool._grouped import GroupedRows
from batch_bridge.pool._job_manager import PatientJobs
from batch_bridge.pool._leg import PARKED, LegHost
from batch_bridge.pool._leg_saver import LegSaver, LegToken, LegWrites
from batch_bridge.pool._names import check_name, check_thread, queue_of
from batch_bridge.pool._postgres import make_tables
from batch_bridge.pool._server import PoolServer
from batch_bridge.pool._store_rows import StoreRows
from batch_bridge.pool._thread_table import TASK, Given, ThreadResult, ThreadRow, ThreadTable, handle_of
from batch_bridge.runner._options import full_config
from batch_bridge.runner._results import Failed
from batch_bridge.runner._threads.recovery import digest_of
from batch_bridge.runner._threads.thread import sort_interrupts

logger = logging.getLogger("batch_bridge")

_HEARTBEAT: Final = 3.0
"""Seconds between two signs of life of a worker."""
_DEAD: Final = 12.0
"""Seconds after which a silent worker is taken for dead, and other workers run its jobs."""
_RESCUE: Final = 3.0
_LOOK: Final = 0.5
"""Seconds between two looks whether a run has ended."""
_STORE_PATIENCE: Final = timedelta(minutes=1)
_GRACE: Final = 10.0
"""Seconds in which a worker that is stopped ends what it runs; the rest is run by others."""


class Pool:
    """Runs a graph in many processes of your own, which share bridges, over one Postgres database.

    ::

        pool = Pool(graph, bridge, dsn="postgresql://…")         # in every process
        await pool.run()                                         # a worker; one of them ticks
        results = await pool.abatch(inputs, run_id="eval-7")     # from any process

    Each thread is a job of procrastinate, with a lock of its own, so that one process runs it at a time. One process
    holds the queue of the bridges, and sends their batches; if it dies, another takes over within two seconds. All of
    a wave goes out in one batch as soon as no thread runs, unless `FlushPolicy` says otherwise.

    The same `run_id` again, from anywhere, continues the run, as in a `Runner`: threads that have ended are not run
    again, those that have failed are.

    Args:
        graph: A `StateGraph` builder, or a compiled graph. Its checkpoints are kept in the database, by
            `AsyncPostgresSaver`; a checkpointer of its own is not used.
        bridges: One or several bridges; nodes refer to them by name. The same ones in each process.
        dsn: The database. The tables are made where they are missing.
        name: Distinguishes pools of one database; 27 bytes at most. Their bridges have names of their own, too: a
            bridge's queue belongs to its name, whichever pool asks.
        concurrency: Threads that this process runs at the same time; parked ones do not count.
        relax_gc: While this process works, let Python's garbage collector run less often; see `Runner`.

    Raises:
        TypeError: `bridges` are not bridges.
        ValueError: No bridge was given, or two have the same name; or the pool's name is too long.
    """

    def __init__(
        self,
        graph: Any,
        bridges: Bridge | Sequence[Bridge],
        *,
        dsn: str,
        name: str = "pool",
        concurrency: int = 16,
        relax_gc: bool = True,
    ) -> None:
        held = [bridges] if isinstance(bridges, Bridge) else list(bridges)
        for bridge in held:
            if not isinstance(bridge, Bridge):
                raise TypeError(f"Pool got {bridge!r} instead of a Bridge; pass Pool(graph, Bridge(…), dsn=…)")
        names = [bridge.name for bridge in held]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"Pool got bridges named {names}; pass one or several, each with a name of its own")
        check_name(name)
        if hasattr(graph, "compile") and not hasattr(graph, "ainvoke"):
            graph = graph.compile()
        self._graph = graph
        self._bridges = {bridge.name: bridge for bridge in held}
        self._dsn = dsn
        self._name = name
        self._concurrency = concurrency
        self._relax_gc = relax_gc
        self._by = uuid4().hex[:16]
        self._patience = Patience("checkpointer", limit=_STORE_PATIENCE)
        self._ledger_patience = Patience("ledger", limit=_STORE_PATIENCE)
        self._ticker: Ticker | None = None
        self._stack: contextlib.AsyncExitStack | None = None
        self._users = 0
        self._opening = asyncio.Lock()

    # -- life ----------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Open the connections, and keep them open: calls inside need not open any."""
        async with self._opening:
            if self._stack is None:
                async with contextlib.AsyncExitStack() as stack:
                    await self._open(stack)
                    self._stack = stack.pop_all()
            self._users += 1
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        async with self._opening:
            self._users -= 1
            if not self._users and self._stack is not None:
                stack, self._stack = self._stack, None
                await stack.aclose()

    async def _open(self, stack: contextlib.AsyncExitStack) -> None:
        self._connections = await stack.enter_async_context(connections(self._dsn, min(self._concurrency, 16) + 4))
        connector = procrastinate.PsycopgConnector(conninfo=self._dsn, min_size=1, max_size=6)
        self._app = procrastinate.App(connector=connector)
        jobs = PatientJobs(connector, self._ledger_patience)
        self._app.job_manager = jobs
        retry = procrastinate.RetryStrategy(wait=2)  # what a leg raises is never the thread's own error
        self._app.task(name=TASK, queue=queue_of(self._name), retry=retry)(self._leg)
        await stack.enter_async_context(self._app.open_async())
        await make_tables(self._dsn, self._connections, self._app)
        self._saver = AsyncPostgresSaver(self._connections)
        rows = GroupedRows(StoreRows(self._connections))
        self._rows = PatientRows(rows, self._ledger_patience)
        writes = LegWrites(self._connections)
        saver = patient_saver(LegSaver(self._connections, writes), self._patience)
        self._leg_graph = self._graph.copy(update={"checkpointer": saver})
        self._threads = ThreadTable(self._connections, self._app, self._name, self._ledger_patience)
        for grouped in (rows, writes, self._threads, jobs):
            stack.push_async_callback(grouped.settle)

    async def run(self, *, signals: bool = True) -> None:
        """Work: run threads, and tick when it is this process's turn. Goes on until it is cancelled, or `SIGTERM`.

        What runs then is given a few seconds to end; what has not ended is run by another process.

        Args:
            signals: Whether SIGTERM and SIGINT end it. `False` where they are another's, as in a web server.
        """
        async with self:
            with relaxed() if self._relax_gc else contextlib.nullcontext():
                await self._run(signals=signals)

    async def _run(self, *, signals: bool) -> None:
        server = PoolServer(self._threads, self._connections, self._saver.serde)
        hosts = {name: bridge.host_in(name, server) for name, bridge in self._bridges.items()}
        store = StoreRows(self._connections)
        self._ticker = Ticker(self._dsn, self._name, hosts, store, self._is_idle)
        tasks = [
            asyncio.create_task(self._ticker.run(), name="batch_bridge ticker"),
            asyncio.create_task(self._rescue(), name="batch_bridge rescue"),
        ]
        worker = asyncio.create_task(self._work(signals=signals), name="batch_bridge worker")
        try:
            await asyncio.wait([worker, *tasks], return_when=asyncio.FIRST_COMPLETED)
            for task in (worker, *tasks):
                if task.done():
                    task.result()
        finally:
            self._ticker = None
            for task in (*tasks, worker):
                task.cancel()
            await asyncio.gather(*tasks, worker, return_exceptions=True)

    @property
    def is_ticking(self) -> bool:
        """Whether this process holds the bridges now."""
        return self._ticker is not None and self._ticker.is_holder

    # -- from any process ------------------------------------------------------------------------------------------

    async def abatch(
        self,
        inputs: Iterable[Any],
        config: RunnableConfig | Sequence[RunnableConfig] | None = None,
        *,
        run_id: str,
        return_exceptions: bool = False,
        context: Any = None,
    ) -> list[Any]:
        """Run the graph once for each input, in the workers, and return the results in order; see `Runner.abatch`.

        Args:
            inputs: Any iterable; it is read to its end.
            config: One config for all inputs, or a list with one for each: what a checkpointer can keep of them.
            run_id: Names the run. The thread of input `i` is `"<run_id>:<i>"`, unless its config names one.
            return_exceptions: Return the exception of a thread that failed in its place.
            context: The graph's run context, if a checkpointer can keep it.

        Raises:
            RunMismatchError: The run was started with other inputs, or a thread is another run's. Nothing was begun.
            RunnerStateError: A thread belongs to another pool of the database. Nothing was begun.
            SubmittedThreadError: A thread has failed; the same call runs it again.
            ValueError: Two inputs have one thread, or a thread's id is too long. Nothing was begun.
        """
        async with self:
            threads = await self._submit(inputs, config, run_id, context)
            ended: dict[str, ThreadResult] = {}
            while len(ended) < len(threads):
                if await self._threads.are_under_way(threads):
                    await asyncio.sleep(_LOOK)
                else:
                    ended = await self._threads.ended_of(threads)
        return self._results([ended[thread] for thread in threads], return_exceptions=return_exceptions)

    async def submit(
        self,
        inputs: Iterable[Any],
        config: RunnableConfig | Sequence[RunnableConfig] | None = None,
        *,
        run_id: str,
        context: Any = None,
    ) -> str:
        """Start a run, or continue it, and return its `run_id` at once. All its threads are in the database then.

        Idempotent, and safe from several processes at once. Args and errors are those of `abatch`.
        """
        await self._submit(inputs, config, run_id, context)
        return run_id

    async def _submit(self, inputs: Iterable[Any], config: Any, run_id: str, context: Any) -> list[str]:
        """Begin the threads of some inputs, and return their ids, in the inputs' order."""
        values = list(check_items(inputs, "submit()", "input"))
        given = [self._given(place, value, config, run_id, context) for place, value in enumerate(values)]
        if len({each.thread for each in given}) < len(given):
            raise ValueError("config= names one thread for several inputs; pass a list, one config for each input")
        async with self:
            await self._threads.begin(given)
        return [each.thread for each in given]

    async def results(self, run_id: str, *, return_exceptions: bool = False) -> list[Any]:
        """Wait until all threads of a run have ended, and return their results in order. Any process may ask.

        Raises:
            UnknownThreadError: There is no such run.
            SubmittedThreadError: A thread has failed, unless `return_exceptions` is set.
        """
        async with self:
            while True:
                counts = await self._threads.counts(run_id)
                if not counts:
                    raise UnknownThreadError(
                        f"this pool has no run {run_id!r}; start it with await pool.submit(inputs, run_id={run_id!r})"
                    )
                if not counts.get("ready") and not counts.get("parked"):
                    break
                await asyncio.sleep(_LOOK)
            ended = await self._threads.ended(run_id)
        return self._results(ended, return_exceptions=return_exceptions)

    def _results(self, ended: Sequence[ThreadResult], *, return_exceptions: bool) -> list[Any]:
        results = [self._result(each) for each in ended]
        failed = [each for each in results if isinstance(each, SubmittedThreadError)]
        if failed and not return_exceptions:
            if len(failed) > 1:
                failed[0].add_note(f"{len(failed)} threads failed, this is the first")
            raise failed[0]
        return results

    async def ainvoke(self, input: Any, config: RunnableConfig, *, context: Any = None) -> Any:  # noqa: A002
        """Run one thread, and return its result. `Command(resume=…)` answers a person's interrupt.

        Args:
            input: The input that the thread was begun with, or is begun with now; or a `Command`.
            config: Names the thread: `{"configurable": {"thread_id": …}}`.
            context: The graph's run context.

        Raises:
            RunMismatchError: The thread was begun with another input.
            RunnerStateError: A `Command` is for a thread that is under way or does not exist; or the thread belongs to
                another pool.
            ValueError: A `Command` has an `update` or a `goto`.
            SubmittedThreadError: It has failed.
        """
        given = self._given(0, input, config, "", context)
        async with self:
            if isinstance(input, Command):
                named = await self._named(given.thread, input)
                begun = await self._threads.go_on(self._given(0, named, config, "", context))
            else:
                await self._threads.begin([given])
                begun = True
            if not begun:
                raise RunnerStateError(
                    f"thread {given.thread!r} is under way, or does not exist; wait for it, and then continue it"
                )
            while not (ended := await self._threads.ended_of([given.thread])):  # noqa: ASYNC110  # others end it
                await asyncio.sleep(_LOOK)
        result = self._result(ended[given.thread])
        if isinstance(result, SubmittedThreadError):
            raise result
        return result

    async def status(self, run_id: str | None = None) -> dict[str, int]:
        """Count the threads of the pool, or of one run: `running`, `parked`, `asks`, `done`, `failed`."""
        async with self:
            counts = await self._threads.counts(run_id)
        names = {"ready": "running", "parked": "parked", "asks": "asks", "done": "done", "failed": "failed"}
        return {shown: counts.get(state, 0) for state, shown in names.items()}

    # -- inside --------------------------------------------------------------------------------------------------

    def _given(self, place: int, value: Any, config: Any, run_id: str, context: Any) -> Given:
        one: Any = config[place] if isinstance(config, Sequence) else config or {}
        own = full_config(one)
        named = own.get("configurable", {}).get("thread_id")
        thread = f"{run_id}:{place}" if named is None else str(named)
        check_thread(thread)
        is_command = isinstance(value, Command)
        if is_command and (value.update or value.goto):  # each leg would apply it again
            raise ValueError(
                f"a pool got {value!r} for thread {thread!r}; it takes Command(resume=…), and no update= or goto=. "
                "Nothing was begun"
            )
        digest = "" if is_command else digest_of(value)
        held = {"resume": value.resume} if is_command else value
        kind, data = AsyncPostgresSaver.serde.dumps_typed(
            {"input": held, "command": is_command, "config": dict(own), "context": context}
        )
        return Given(thread, run_id, place, digest, kind, data)

    async def _named(self, thread: str, command: Command[Any]) -> Command[Any]:
        """Return a command whose answer names its question: given twice after a crash, it answers no other one."""
        if command.resume is None or is_by_id(command.resume):
            return command
        graph = self._graph.copy(update={"checkpointer": self._saver})
        pending = (await graph.aget_state({"configurable": {"thread_id": thread}})).interrupts
        ours, _ = sort_interrupts(pending)
        questions = [each.id for each in pending if each.id not in ours]
        return replace(command, resume={questions[0]: command.resume}) if len(questions) == 1 else command

    def _result(self, ended: ThreadResult) -> Any:
        if ended.state == "failed":
            return SubmittedThreadError(
                f"thread {ended.thread!r} has failed: {ended.error}. Submit it again: it continues from there, and "
                "repeats the failed requests",
                thread_id=ended.thread,
            )
        return self._saver.serde.loads_typed((ended.kind or "null", ended.data or b""))

    async def _is_idle(self, bridge: str) -> bool:
        """Return whether no thread runs or could, for a bridge that sends then; see `FlushPolicy.when_idle`."""
        policy = self._bridges[bridge].flush
        return policy.when_idle is not False and policy.max_idle is None and await self._threads.is_idle()

    async def _work(self, *, signals: bool) -> None:
        while True:
            try:
                await self._app.run_worker_async(
                    queues=[queue_of(self._name)],
                    concurrency=self._concurrency,
                    delete_jobs="successful",
                    update_heartbeat_interval=_HEARTBEAT,
                    stalled_worker_timeout=_DEAD,
                    shutdown_graceful_timeout=_GRACE,
                    install_signal_handlers=signals,
                )
            except Exception as error:  # noqa: BLE001  # no graph runs here: the database was away
                logger.warning("a worker of %r begins again: %s", self._name, _logged.said(error))
                await asyncio.sleep(_LOOK)
            else:
                return  # a signal

    async def _rescue(self) -> None:
        """Have the jobs of workers that have died run by others, and give jobs to threads that have lost theirs."""
        while True:
            await asyncio.sleep(_RESCUE)
            try:
                stalled = await self._app.job_manager.get_stalled_jobs(
                    queue=queue_of(self._name), seconds_since_heartbeat=_DEAD
                )
                for job in stalled:
                    await self._app.job_manager.retry_job(job)
                if lost := await self._threads.give_jobs():
                    logger.warning("%d threads of %r had no job any more, and have one again", lost, self._name)
            except Exception as error:  # noqa: BLE001  # the next look tries again
                logger.warning("could not look for jobs of dead workers of %r: %s", self._name, _logged.said(error))

    async def _leg(self, thread: str) -> None:
        """Run a thread as far as it goes: procrastinate's task."""
        taken = await self._threads.take(thread)
        if taken is None:
            return
        row, token = taken
        asked: tuple[Asked, ...] = ()
        try:
            given: Mapping[str, Any] = self._saver.serde.loads_typed((row.kind, row.given))
        except Exception as error:  # noqa: BLE001  # of a class that is gone, say: the next try meets it again
            result: Any = Failed(error)
        else:
            try:
                result, asked = await self._go(row, token, given)
            except LegLostError as error:
                logger.warning("%s: %s", self._name, error)
                return
            except Exception as error:
                if is_transient(error):
                    raise
                result = Failed(error)
        if isinstance(result, Failed):
            logger.warning("thread %r of %r has failed: %s", thread, self._name, _logged.said(result.error))
        await self._leave(asked, thread, token, row.place, result)

    async def _go(self, row: ThreadRow, token: str, given: Mapping[str, Any]) -> tuple[Any, tuple[Asked, ...]]:
        """Run a thread; return its result, `Failed` or `PARKED`, and what it then asks for."""
        config: Any = dict(given["config"])
        config["configurable"] = {**config.get("configurable", {}), "thread_id": row.thread}
        leg = LegToken(row.thread, token)
        host = LegHost(
            self._leg_graph,
            frozenset(self._bridges),
            self._rows,
            by=self._by,
            patiences=(self._patience, self._ledger_patience),
            leg=leg,
            has_failed=row.has_failed,
        )
        options = {} if given["context"] is None else {"context": given["context"]}
        with leg.held():
            value = await _fresh(self._leg_graph, config, given)
            return await host.run(value, config, row.run, options), host.asked

    async def _leave(self, asked: Sequence[Asked], thread: str, token: str, place: int, result: Any) -> None:
        """Write how a leg has left its thread, with a note for each bridge that it waits for, in one transaction."""
        kind: str | None = None
        data: bytes | None = None
        error: str | None = None
        notes = []
        if result is PARKED:
            state = "parked"
            asks: dict[str, list[str]] = {}
            for each in asked:
                asks.setdefault(each.batcher, []).append(each.id)
            notes = [note_row(bridge, handle_of(thread), "", ids, idle=False) for bridge, ids in asks.items()]
        elif isinstance(result, Failed):
            state, error = "failed", _told(result.error)
        else:
            state = "asks" if isinstance(result, Mapping) and "__interrupt__" in result else "done"
            try:
                kind, data = self._saver.serde.dumps_typed(result)
            except Exception as failure:  # noqa: BLE001  # the next try meets it again
                state, error = "failed", _told(failure)
        await self._threads.leave(token, ThreadResult(thread, place, state, kind, data, error), notes)


def _told(error: Exception) -> str:
    """Return an error's text without characters that Postgres refuses: NUL, and halves of surrogate pairs."""
    said = f"{type(error).__name__}: {error}".replace("\0", "")
    return said.encode(errors="replace").decode()


async def _fresh(graph: Any, config: Any, given: Mapping[str, Any]) -> Any:
    """Return what a leg continues with. A person's answer that an earlier leg took is not given again."""
    if not given["command"]:
        return given["input"]
    command: Command[Any] = Command(**given["input"])
    resume: Any = command.resume
    if not is_by_id(resume):
        return command
    pending = {each.id for each in (await graph.aget_state(config)).interrupts}
    answers = {each: answer for each, answer in resume.items() if each in pending}
    return replace(command, resume=answers) if answers else None
