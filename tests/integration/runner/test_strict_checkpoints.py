"""A run file that somebody has tampered with runs no code; the user's own types are read as before."""

import dataclasses
import sqlite3
from enum import Enum
from typing import Any, NamedTuple, TypedDict

import ormsgpack
import pytest
from langgraph.graph import START, StateGraph
from pydantic import BaseModel

from batch_bridge import Runner, wait
from batch_bridge._sqlite.serde import StrictSerializer
from batch_bridge.errors import RunFileError
from tests.integration.helpers import Desk


@dataclasses.dataclass
class Draft:
    text: str


class Review(BaseModel):
    score: int


class Mood(Enum):
    GOOD = "good"


class Place(NamedTuple):
    name: str


class Long(Draft):
    pass


@dataclasses.dataclass
class Hidden:
    text: str


class State(TypedDict, total=False):
    named: dict[str, Any]
    draft: Draft
    moods: list[Mood]
    place: Place | None
    anything: Any


async def make(state: State) -> State:
    return {
        "draft": Long("a"),
        "moods": [Mood.GOOD],
        "place": Place("Chad"),
        "anything": state.get("anything") or Review(score=1),
    }


async def ask(state: State) -> State:
    assert type(state["draft"]) is Long
    assert state["place"] == Place("Chad")
    return {"named": {"answer": await wait("q"), "anything": state["anything"], "mood": state["moods"][0]}}


def graph():
    return StateGraph(State).add_node(make).add_node(ask).add_edge(START, "make").add_edge("make", "ask")


class Call:
    """Encodes as a call of any function, as LangGraph encodes an object by its class."""

    def __init__(self, module, name, arg):
        self.call = ormsgpack.Ext(0, ormsgpack.packb((module, name, arg)))


def tamper(path, touched):
    """Put a call of `os.mkdir` in the place of each checkpoint."""
    blob = ormsgpack.packb({"x": Call("os", "mkdir", str(touched)).call}, default=None)
    with sqlite3.connect(path) as connection:
        assert connection.execute("UPDATE checkpoints SET type = 'msgpack', checkpoint = ?", (blob,)).rowcount
    connection.close()


async def test_a_tampered_checkpoint_runs_no_code(tmp_path):
    desk, touched = Desk(), tmp_path / "code-ran"
    async with Runner(graph(), desk.bridge(), path="run.db") as runner:
        await runner.abatch([{}], run_id="r")
    tamper("run.db", touched)
    async with Runner(graph(), desk.bridge(), path="run.db") as runner:
        with pytest.raises(RunFileError, match=r"os\.mkdir.*Runner\(…, types=\[mkdir\]\)"):
            await runner.abatch([{}], run_id="r")
    assert not touched.exists()


async def test_the_types_that_a_graph_names_are_read_back():
    desk = Desk()
    async with Runner(graph(), desk.bridge(), path="run.db") as runner:
        (result,) = await runner.abatch([{}], run_id="r")
    assert result["named"] == {"answer": "q!", "anything": Review(score=1), "mood": Mood.GOOD}


async def test_a_type_that_nothing_names_is_refused_with_the_cure_and_the_run_goes_on():
    desk = Desk()
    inputs = [{"anything": globals()["Hidden"]("h")}]
    async with Runner(graph(), desk.bridge(), path="run.db") as runner:
        with pytest.raises(RunFileError, match=r"types=\[Hidden\]"):
            await runner.abatch(inputs, run_id="r")
    async with Runner(graph(), desk.bridge(), path="run.db", types=[Hidden]) as runner:
        (result,) = await runner.abatch(inputs, run_id="r")
    assert result["named"]["anything"] == Hidden("h")
    assert desk.counts["q"] == 1


def test_a_class_that_cannot_be_built_anyway_is_its_data_as_before():
    @dataclasses.dataclass
    class Local:
        text: str

    serde = StrictSerializer()
    assert serde.loads_typed(serde.dumps_typed([Local("a")])) == [{"text": "a"}]
