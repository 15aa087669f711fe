"""The rows of a real file, beside LangGraph's own store and its store in memory."""

import asyncio
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from langgraph.store.base import (
    GetOp,
    InvalidNamespaceError,
    ListNamespacesOp,
    MatchCondition,
    PutOp,
    SearchOp,
)
from langgraph.store.memory import InMemoryStore
from langgraph.store.sqlite import SqliteStore
from langgraph.store.sqlite.aio import AsyncSqliteStore

from batch_bridge._sqlite.file import open_file

# Few labels, so that they meet, and each that SQL or a namespace's encoding could trip over.
LABELS = st.sampled_from(["a", "A", "ab", "a_", "a%", "%", "_", "[a]", "*", "?", "b", "é", "a b", "'"])
NAMESPACES = st.lists(LABELS, min_size=1, max_size=3).map(tuple)
PREFIXES = st.lists(LABELS, max_size=2).map(tuple)
KEYS = st.sampled_from(["k", "K", "k%", "k.1", "é", ""])
VALUES = st.fixed_dictionaries(
    {"n": st.integers(-3, 3), "s": st.sampled_from(["x", "y", "é", ""])},
    optional={"deep": st.dictionaries(st.sampled_from("pq"), st.lists(st.none() | st.booleans(), max_size=2))},
)
PUTS = st.builds(PutOp, NAMESPACES, KEYS, st.none() | VALUES, st.sampled_from([None, False]), st.none())
GETS = st.builds(GetOp, NAMESPACES, KEYS)
SEARCHES = st.builds(SearchOp, PREFIXES, st.none(), st.just(1000), st.just(0), st.none())
LISTINGS = st.builds(
    ListNamespacesOp,
    st.none()
    | st.builds(
        lambda path: (MatchCondition("prefix", path),),
        st.lists(LABELS.filter(lambda label: label != "*"), min_size=1, max_size=2).map(tuple),
    ),
    st.none() | st.integers(1, 3),
    st.just(1000),
    st.just(0),
)


def plain(answer):
    """An answer without its times, and without the order of a search."""
    if isinstance(answer, list):
        return sorted(map(plain, answer), key=repr)
    if hasattr(answer, "key"):
        return (answer.namespace, answer.key, answer.value)
    return answer


class Parity(RuleBasedStateMachine):
    """Whatever is done to our store and to LangGraph's two has the same answers."""

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.runner = asyncio.Runner()
        self.file = open_file(self.folder / "run.sqlite")
        _, self.store = self.runner.run(self.file.__aenter__())
        self.memory = InMemoryStore()
        self.stock = SqliteStore.from_conn_string(str(self.folder / "stock.sqlite"))
        self.sql = self.stock.__enter__()
        self.sql.setup()

    def teardown(self):
        self.runner.run(self.file.__aexit__(None, None, None))
        self.runner.close()
        self.stock.__exit__(None, None, None)
        shutil.rmtree(self.folder)

    @rule(ops=st.lists(PUTS | GETS | SEARCHES, min_size=1, max_size=12))
    def do(self, ops):
        answers = self.runner.run(self.store.abatch(ops))
        expected, stock = self.memory.batch(ops), self.sql.batch(ops)
        assert plain_all(answers) == plain_all(expected)
        assert plain_all(answers) == plain_all(stock)

    @rule(ops=st.lists(LISTINGS | GETS, min_size=1, max_size=4))
    def list_namespaces(self, ops):
        answers = self.runner.run(self.store.abatch(ops))
        assert plain_all(answers) == plain_all(self.sql.batch(ops))

    @rule(prefix=PREFIXES, limit=st.integers(0, 3), offset=st.integers(0, 3))
    def page(self, prefix, limit, offset):
        everything, page = SearchOp(prefix, None, 1000), SearchOp(prefix, None, limit, offset)
        found, some = self.runner.run(self.store.abatch([everything, page]))
        assert some == found[offset : offset + limit]

    @invariant()
    def all_is_the_same(self):
        everything = [SearchOp((), None, 1000)]
        found = self.runner.run(self.store.abatch(everything))
        assert plain_all(found) == plain_all(self.memory.batch(everything))
        assert {type(item.updated_at) for item in found[0]} == {
            type(item.updated_at) for item in self.sql.batch(everything)[0]
        }


def plain_all(answers):
    return [plain(answer) for answer in answers]


TestParity = Parity.TestCase
TestParity.settings = settings(max_examples=60, stateful_step_count=12, deadline=None)


@pytest.fixture
async def store(tmp_path):
    async with open_file(tmp_path / "run.sqlite") as (_, store):
        yield store


async def put(store, namespace, key, value):
    await store.abatch([PutOp(namespace, key, value)])


async def got(store, namespace, key):
    (item,) = await store.abatch([GetOp(namespace, key)])
    return item


async def found_below(store, *prefix, limit=10):
    (found,) = await store.abatch([SearchOp(prefix, limit=limit)])
    return found


async def test_reads_of_a_batch_see_the_state_before_its_puts(store):
    await put(store, ("a",), "k", {"n": 1})
    ops = [
        PutOp(("a",), "k", {"n": 2}),
        GetOp(("a",), "k"),
        PutOp(("a",), "new", {"n": 3}),
        PutOp(("a",), "k", {"n": 4}),
        SearchOp(("a",)),
        ListNamespacesOp(),
    ]
    done, item, *_, found, namespaces = await store.abatch(ops)
    assert done is None
    assert item.value == {"n": 1}
    assert [item.key for item in found] == ["k"]
    assert namespaces == [("a",)]
    assert (await got(store, ("a",), "k")).value == {"n": 4}


async def test_a_prefix_ends_at_the_border_of_a_label(store):
    for namespace in (("run", "1"), ("run", "10"), ("run%", "1"), ("Run", "1"), ("run", "1", "x")):
        await put(store, namespace, "k", {})
    assert {item.namespace for item in await found_below(store, "run", "1")} == {("run", "1"), ("run", "1", "x")}
    assert {item.namespace for item in await found_below(store, "run%")} == {("run%", "1")}


async def test_many_items_at_once(store):
    count = 3000
    await store.abatch([PutOp(("many",), f"{n}", {"n": n}) for n in range(count)])
    items = await store.abatch([GetOp(("many",), f"{n}") for n in range(count)])
    assert [item.value["n"] for item in items] == list(range(count))
    await store.abatch([PutOp(("many",), f"{n}", None) for n in range(0, count, 2)])
    assert len(await found_below(store, "many", limit=count)) == count // 2


async def test_writes_side_by_side_share_commits(store):
    writer = store._writer
    groups, writes = writer.groups, writer.writes
    await asyncio.gather(*(put(store, ("a",), f"{n}", {"n": n}) for n in range(500)))
    assert writer.writes - writes == 500
    assert writer.groups - groups < 50


async def test_what_it_cannot_do_is_refused_and_nothing_of_the_batch_is_stored(store):
    fine = PutOp(("a",), "fine", {})
    for bad, error in (
        (PutOp(("a",), "k", {}, index=["text"]), TypeError),
        (PutOp(("a",), "k", {}, ttl=5), TypeError),
        (PutOp(("a.b",), "k", {}), InvalidNamespaceError),
        (PutOp(("a", ""), "k", {}), InvalidNamespaceError),
        (PutOp(("a",), "k", {"not JSON": object()}), TypeError),
        (SearchOp(("a",), {"n": 1}), TypeError),
        (SearchOp(("a",), query="like this"), TypeError),
        (ListNamespacesOp((MatchCondition("suffix", ("a",)),)), TypeError),
    ):
        with pytest.raises(error):
            await store.abatch([fine, bad])
    assert await found_below(store) == []


async def test_langgraphs_store_continues_our_file_and_the_other_way_round(tmp_path):
    path = tmp_path / "run.sqlite"
    async with AsyncSqliteStore.from_conn_string(str(path)) as stock:
        await stock.setup()
        await stock.aput(("a", "b"), "theirs", {"é": [1, None]})
    async with open_file(path) as (_, store):
        theirs = await got(store, ("a", "b"), "theirs")
        assert theirs.value == {"é": [1, None]}
        await put(store, ("a", "b"), "ours", {"é": [2.5, True], "n": 2})
        ours = await got(store, ("a", "b"), "ours")
    async with AsyncSqliteStore.from_conn_string(str(path)) as stock:
        await stock.setup()
        assert await stock.aget(("a", "b"), "ours") == ours
        assert await stock.aget(("a", "b"), "theirs") == theirs
        found = await stock.asearch(("a",), filter={"n": {"$gt": 1}})
        assert [item.key for item in found] == ["ours"]
        await stock.adelete(("a", "b"), "ours")
    async with open_file(path) as (_, store):
        assert await got(store, ("a", "b"), "ours") is None
