"""Whose a thread is on a server: fixed when it first waits, whatever interrupts, later runs and commands say."""

import asyncio
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from fakes import FakeProvider, T, U, named
from hosted import HOUR, Hosted
from hypothesis import given, settings
from hypothesis import strategies as st
from langgraph.store.memory import InMemoryStore

from batch_bridge import Bridge
from batch_bridge._core.payload.interrupt_payload import Asked, interrupt_value, to_json
from batch_bridge._node.platform import identity_check as _vouch
from batch_bridge._node.platform.client import ON_BEHALF_OF, Access, bridge_thread, knows_users
from batch_bridge._node.platform.inbox import note_row
from batch_bridge._server import commands as command_log
from batch_bridge._server.users import Users
from batch_bridge.errors import BridgeUnreachableError, CommandError

USERS = ("ann", "bob")


def run_of(user: str, **more: Any) -> dict[str, Any]:
    """Return a run as the server tells of it."""
    return {"run_id": "r", "kwargs": {"config": {"configurable": {"langgraph_auth_user_id": user}}}, **more}


async def park(hosted: Hosted, thread: str, user: str, request: str, *, item: Any, claims: str) -> None:
    """Let a thread of a user park; its interrupt says that it is of somebody's."""
    await hosted.store.rows.abatch([note_row("bridge", thread, user, [request], idle=False)])
    hosted.server.put(thread, request)
    asked = [to_json(Asked(request, "bridge", item, tenant=claims))]
    hosted.server.rows[thread]["interrupts"] = {"task": [{"id": f"at {thread}", "value": interrupt_value(asked)}]}


@given(
    rounds=st.lists(
        st.lists(
            st.tuples(st.integers(0, 5), st.sampled_from("xy"), st.sampled_from(["", *USERS]), st.sampled_from(USERS)),
            min_size=1,
            max_size=6,
            unique_by=lambda each: each[0],
        ),
        min_size=1,
        max_size=4,
    )
)
@settings(max_examples=30, deadline=None)
def test_two_users_share_no_line_in_any_round_whatever_their_threads_say(rounds) -> None:
    """The first wait says whose a thread is; later runs may be another's, and interrupts may claim anything."""

    async def go() -> None:
        hosted = Hosted(provider=FakeProvider(), dedupe=True)
        owners: dict[str, str] = {}
        of: dict[str, str] = {}
        for number, parked in enumerate(rounds):
            for place, item, claims, runner in parked:
                thread = named(f"thread-{place}")
                request = f"{number:02x}{place:02x}" * 8
                of[request] = owners.setdefault(thread, runner)
                await park(hosted, thread, runner, request, item={"q": item}, claims=claims)
            for _ in range(3):
                await hosted.tick()
        for batch in hosted.provider.batches.values():
            for line in batch.requests:
                assert line.tenant == of[line.id]
        lines = [line for batch in hosted.provider.batches.values() for line in batch.requests]
        asked = {
            (number, of[f"{number:02x}{place:02x}" * 8], item)
            for number, parked in enumerate(rounds)
            for place, item, *_ in parked
        }
        assert len(lines) == len(asked)  # equal ones of one user are one line, those of two are two
        for run in hosted.server.created:
            if "command" in run:
                assert run["headers"] == {ON_BEHALF_OF: owners[run["thread"]]}
                assert run["metadata"]["batch_bridge_user"] == owners[run["thread"]]

    asyncio.run(go())


async def test_a_thread_that_nobody_told_of_is_the_user_s_whose_its_oldest_run_was() -> None:
    runs = [run_of("service", created_at="2026-01-02"), run_of("ann", created_at="2026-01-01")]

    async def listed(thread: str, **_: Any) -> list[Any]:
        return runs if thread == T else []

    client = SimpleNamespace(runs=SimpleNamespace(list=listed))
    users = Users(InMemoryStore(), Access(lambda: client))  # type: ignore[arg-type, return-value]
    assert await users.of([T, U]) == {T: "ann", U: ""}
    runs.clear()
    await users.note({T: "bob"})
    assert await users.of([T]) == {T: "ann"}


async def test_whose_a_thread_was_is_forgotten_once_it_is_gone() -> None:
    async def search(*, ids: list[str], **_: Any) -> list[Any]:
        return [{"thread_id": each} for each in ids if each != named("gone")]

    store, client = InMemoryStore(), SimpleNamespace(threads=SimpleNamespace(search=search))
    users = Users(store, Access(lambda: client))  # type: ignore[arg-type, return-value]
    await users.note({named("gone"): "ann", named("there"): "bob"})
    await users.forget_departed()
    assert [row.key for row in await store.asearch(("batch_bridge", "threads", "users"))] == [named("there")]


# -- commands --------------------------------------------------------------------------------------------------------


async def two_users() -> Hosted:
    hosted = Hosted(max_age=HOUR)
    for thread, user, request in ((T, "ann", "aa" * 16), (U, "bob", "bb" * 16)):
        await park(hosted, thread, user, request, item={"q": thread}, claims=user)
    await hosted.tick()
    await hosted.here.accept(hosted.store, "all", command_log.read({"flush": True}))
    await hosted.tick()
    return hosted


@pytest.mark.parametrize(
    ("what", "count"),
    [
        ({"thread_id": [T, U]}, 1),
        ({"request_id": ["aa" * 16, "bb" * 16]}, 1),
        ({"thread_id": T}, 0),
        ({"batch": "the batch"}, 1),
        ("all", 1),
    ],
)
async def test_a_users_cancellation_means_that_users_threads(what, count) -> None:
    hosted = await two_users()
    if what == {"batch": "the batch"}:
        what = {"batch": list(hosted.here._engine.batches)}
    await hosted.here.accept(hosted.store, "o", command_log.read({"cancel": what}), by="bob")
    await hosted.tick()
    assert hosted.counts()["o"] == count
    assert not hosted.provider.cancelled()  # ann waits for the batch still


async def test_a_users_replay_means_that_users_dead_letters() -> None:
    hosted = await two_users()
    records = hosted.here._records
    await records.outbox.add({"aa" * 16: T, "bb" * 16: U})
    await records.bury(["aa" * 16, "bb" * 16], "lost", hosted.here._began)
    await hosted.here.accept(hosted.store, "o", command_log.read({"replay": ["aa" * 16, "bb" * 16]}), by="bob")
    await hosted.tick()
    assert hosted.counts()["o"] == 1
    assert "aa" * 16 in records.dead


@pytest.mark.parametrize("given", [{"flush": True}, {"cancel": "all"}, {"replay": "all"}])
def test_orders_for_all_threads_are_the_services(given) -> None:
    with pytest.raises(CommandError, match="'bob' may not do this for the threads of all users"):
        command_log.check_limits(command_log.read(given), "bob")
    command_log.check_limits(command_log.read(given), "")


async def test_a_users_order_takes_the_place_of_nobody_elses() -> None:
    hosted = await two_users()
    for _ in range(2):
        await hosted.here.accept(hosted.store, "o", command_log.read({"cancel": {"thread_id": T}}), by="bob")
        await hosted.here.accept(hosted.store, "o", command_log.read({"cancel": {"thread_id": T}}))
        assert len(hosted.rows("commands")) == 2
    await hosted.tick()
    assert {each.get("by"): each["requests"] for each in hosted.shown if each["id"] == "o"} == {"bob": 0, None: 1}


async def test_only_the_service_and_a_bridge_without_users_give_orders_without_limits() -> None:
    hosted = Hosted()
    hosted.here._access.learn(run_of("service"))
    assert await hosted.here.limited_to(hosted.store, "service") == ""
    assert await hosted.here.limited_to(hosted.store, "bob") == "bob"
    assert await hosted.here.limited_to(hosted.store, "") == ""
    assert await hosted.host(as_user=True).limited_to(hosted.store, "bob") == ""


# -- in whose name -------------------------------------------------------------------------------------------------


async def test_processes_agree_on_the_thread_of_a_bridge_and_nobody_can_guess_it() -> None:
    store = InMemoryStore()
    found = await asyncio.gather(*(Access(lambda: None).thread_of("bridge", store) for _ in range(20)))  # type: ignore[arg-type, return-value]
    later = await Access(lambda: None).thread_of("bridge", store)  # type: ignore[arg-type, return-value]
    assert set(found) == {later}
    assert later != bridge_thread("bridge")
    assert await Access().thread_of("bridge", store) == bridge_thread("bridge")


async def test_a_client_is_made_for_the_user_or_told_of_the_user_in_a_header() -> None:
    made: list[str | None] = []

    def of(user: str | None) -> Any:
        made.append(user)
        return SimpleNamespace(user=user)

    access = Access(of)
    access.learn(run_of("service"))
    for user, expected in (("ann", "ann"), ("ann", "ann"), ("", None), ("service", None)):
        client, headers = access.acting(user)
        assert (client.user, headers) == (expected, None)  # type: ignore[attr-defined]
    assert made == ["ann", None]
    assert Access(lambda: "service").acting("Zoë\r\nx: y")[1] == {ON_BEHALF_OF: "Zo%C3%AB%0D%0Ax%3A%20y"}  # type: ignore[arg-type, return-value]


class Threads:
    """A server that takes every caller for the same user."""

    def __init__(self, takes_for: str | None) -> None:
        self.deleted: list[str] = []
        self._for = takes_for
        self.threads = SimpleNamespace(create=self._make, delete=self._delete)
        self.runs = SimpleNamespace(create=self._create)

    async def _make(self, **_: Any) -> dict[str, str]:
        return {"thread_id": "probe"}

    async def _delete(self, thread: str) -> None:
        self.deleted.append(thread)

    async def _create(self, *_: Any, **options: Any) -> dict[str, Any]:
        assert options["after_seconds"] > 3600
        return run_of(self._for) if self._for is not None else {}


@pytest.mark.parametrize(("takes_for", "refused"), [("ann", False), ("service", True), (None, False)])
async def test_it_is_checked_once_whose_run_the_server_takes_a_run_for(takes_for, refused) -> None:
    server = Threads(takes_for)
    access = Access(lambda: server)  # type: ignore[arg-type, return-value]
    for _ in range(2):
        if refused:
            with pytest.raises(BridgeUnreachableError, match=r"assigned it to 'service'.*client=lambda user"):
                await _vouch.vouch("bridge", access, "ann", "agent")
        else:
            await _vouch.vouch("bridge", access, "ann", "agent")
    assert server.deleted == ["probe"] * (2 if refused else 1)


@pytest.mark.parametrize(
    ("auth", "known"), [("", False), ("{}", False), ('{"path": "./a.py:auth"}', True), ("?", True)]
)
def test_a_deployment_knows_its_users_if_it_has_a_handler(monkeypatch, auth, known) -> None:
    monkeypatch.setenv("LANGGRAPH_AUTH", auth)
    assert knows_users() is known
    for user, service in (("", None), ("ann", lambda: None)):
        _vouch.check_configured("bridge", Access(service), user)
    if known:
        with pytest.raises(BridgeUnreachableError, match="bridge has no identity"):
            _vouch.check_configured("bridge", Access(), "ann")


async def test_a_thread_that_would_be_resumed_as_the_service_is_a_dead_letter_and_its_run_cancelled() -> None:
    hosted = Hosted(provider=FakeProvider())
    cancelled: list[tuple[str, str]] = []

    async def cancel(thread: str, run: str) -> None:
        cancelled.append((thread, run))

    async def create(*_: Any, **__: Any) -> dict[str, Any]:
        return run_of("service")

    hosted.server.runs.create, hosted.server.runs.cancel = create, cancel
    hosted.here._access.is_vouched = True
    await park(hosted, T, "ann", "aa" * 16, item="x", claims="ann")
    for _ in range(3):
        await hosted.tick()
    assert cancelled == [(T, "r")]
    assert "'ann'" in hosted.here.status()["dead_letters"][0]["reason"]


def test_a_bridge_takes_a_client_of_either_form() -> None:
    for client in (lambda: None, lambda user: None):
        Bridge(FakeProvider(), client=client)  # type: ignore[arg-type, return-value]
    with pytest.raises(TypeError, match="client=lambda user"):
        Bridge(FakeProvider(), client="http://x", poll_interval=timedelta(seconds=1))  # type: ignore[arg-type]
