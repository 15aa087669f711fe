"""What one writes without a bridge: jobs of procrastinate run a graph to its interrupt, and a script answers them all.

A worker is `by_hand.py DSN`. A thread's row says what it asks, or how it has ended; the jobs of a thread have its lock.
"""

import asyncio
import logging
import sys
from pathlib import Path
from typing import Any, Self

import procrastinate
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.types import Command, interrupt
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool

sys.path.insert(0, str(Path(__file__).parent))
from questions import State, answer, graph_of, inputs

CONCURRENCY = 16
LOOK = 0.5
TABLE = "CREATE TABLE asked (thread text PRIMARY KEY, place bigint, asks jsonb, result jsonb)"


async def ask(question: str) -> str:
    """Wait for an answer."""
    return str(interrupt(question))


class App:
    """A process of it."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        kwargs = {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}
        self.connections: AsyncConnectionPool[Any] = AsyncConnectionPool(
            dsn, min_size=1, max_size=CONCURRENCY + 4, open=False, kwargs=kwargs
        )
        self.jobs = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=dsn, min_size=1, max_size=6))
        self.go_on = self.jobs.task(name="go_on", queue="threads")(self._go_on)

    async def _go_on(self, thread: str, given: Any = None, resume: Any = None) -> None:
        value: Any = given if resume is None else Command(resume=resume)
        result = await self.graph.ainvoke(value, {"configurable": {"thread_id": thread}})
        asks = {each.id: each.value for each in result.pop("__interrupt__", ())}
        async with self.connections.connection() as connection:
            await connection.execute(
                "UPDATE asked SET asks = %s, result = %s WHERE thread = %s",
                (Jsonb(asks) if asks else None, None if asks else Jsonb(result), thread),
            )

    async def __aenter__(self) -> Self:
        await self.connections.open()
        await self.jobs.open_async()
        self.graph = graph_of(ask).compile(checkpointer=AsyncPostgresSaver(self.connections))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.jobs.close_async()
        await self.connections.close()

    async def make_tables(self) -> None:
        """Make the tables, once."""
        await self.jobs.schema_manager.apply_schema_async()
        await AsyncPostgresSaver(self.connections).setup()
        async with self.connections.connection() as connection:
            await connection.execute(TABLE.encode())

    async def work(self) -> None:
        """Run jobs until the process is ended."""
        await self.jobs.run_worker_async(queues=["threads"], concurrency=CONCURRENCY, delete_jobs="successful")

    async def abatch(self, given: list[State]) -> list[State]:
        """Run all threads to where they ask, answer them all, and again, until all have ended."""
        names = [f"thread {place}" for place in range(len(given))]
        async with self.connections.connection() as connection:
            cursor = connection.cursor()
            async with cursor.copy(b"COPY asked (thread, place) FROM STDIN") as rows:
                for place, name in enumerate(names):
                    await rows.write_row((name, place))
        await self._defer([{"thread": name, "given": each} for name, each in zip(names, given, strict=True)])
        while True:
            asking = await self._until_all_wait()
            if not asking:
                break
            answers = [
                {"thread": row["thread"], "resume": {key: answer(value) for key, value in row["asks"].items()}}
                for row in asking
            ]
            async with self.connections.connection() as connection:
                await connection.execute(b"UPDATE asked SET asks = NULL WHERE asks IS NOT NULL")
            await self._defer(answers)
        async with self.connections.connection() as connection:
            cursor = await connection.execute(b"SELECT result FROM asked ORDER BY place")
            return [row["result"] for row in await cursor.fetchall()]

    async def _defer(self, jobs: list[dict[str, Any]]) -> None:
        for start in range(0, len(jobs), 1000):
            for_these = jobs[start : start + 1000]
            deferred = [self.go_on.configure(lock=each["thread"]).job.evolve(task_kwargs=each) for each in for_these]
            await self.jobs.job_manager.batch_defer_jobs_async(jobs=deferred)

    async def _until_all_wait(self) -> list[dict[str, Any]]:
        async with self.connections.connection() as connection:
            while True:
                cursor = await connection.execute(
                    b"SELECT count(*) AS busy FROM asked WHERE asks IS NULL AND result IS NULL"
                )
                row = await cursor.fetchone()
                if row is not None and not row["busy"]:
                    break
                await asyncio.sleep(LOOK)
            cursor = await connection.execute(b"SELECT thread, asks FROM asked WHERE asks IS NOT NULL")
            return list(await cursor.fetchall())


async def run(dsn: str, count: int) -> list[State]:
    """Run so many threads."""
    async with App(dsn) as app:
        return await app.abatch(inputs(count))


async def prepare(dsn: str) -> None:
    """Make the tables."""
    async with App(dsn) as app:
        await app.make_tables()


async def main() -> None:
    """Work."""
    async with App(sys.argv[1]) as app:
        await app.work()


if __name__ == "__main__":
    logging.getLogger("procrastinate").setLevel(logging.ERROR)  # it warns that a task stands in the main program
    asyncio.run(main())
