"""What others write: mutated interrupts, notes, ledger rows, commands and envelopes, beside two honest tenants.

`BATCH_BRIDGE_FUZZ=50000` is the whole of it; by default a seeded sample is read.
"""

import copy
import json
import os
import random
import uuid
from datetime import UTC, datetime

import pytest
from fakes import FakeProvider, name_of, named
from hosted import Hosted
from langgraph.store.base import PutOp

from batch_bridge._core.models import Succeeded
from batch_bridge._core.payload.interrupt_payload import Asked, envelope, interrupt_value, read_envelope, to_json
from batch_bridge._core.payload.signature import Check, Keys, key_of
from batch_bridge._node.platform.inbox import note_row
from batch_bridge._node.platform.keys import read_keys
from batch_bridge._server import commands as command_log
from batch_bridge.errors import CommandError

CASES = int(os.environ.get("BATCH_BRIDGE_FUZZ", "400"))
IN_A_ROUND = 50
ODD = (
    *(None, True, False, 0, -1, 1, 1.5, -1e18, 1e18, 1e308, float("inf"), float("nan"), 2**70, "", "x", "../x", "\0"),
    *("a" * 5000, [], {}, ["x"], {"x": 1}, [[]], "ann", "bob", "service", "all", "bridge", "submitted", "00" * 16),
)
KINDS = ("queue", "outbox", "dead", "unclaimed", "tries", "members", "batches", "closed", "inbox", "commands", "obeyed")


def mutated(draws: random.Random, value, strange):
    """Return a copy of a JSON value with one to three places changed."""
    value = copy.deepcopy(value)
    for _ in range(draws.randint(1, 3)):
        places, left = [], [value]
        while left:
            held = left.pop()
            for key in list(held) if isinstance(held, dict) else range(len(held)):
                places.append((held, key))
                if isinstance(held[key], dict | list):
                    left.append(held[key])
        if not places:
            return value
        held, key = draws.choice(places)
        if draws.random() < 0.15:
            del held[key]
        elif isinstance(held, dict) and draws.random() < 0.1:
            held[str(draws.choice(ODD))[:50]] = copy.deepcopy(draws.choice(ODD))
        else:
            held[key] = copy.deepcopy(draws.choice((*ODD, *strange)))
    return value


def of_the_same_user(row, honest):
    """Return a row that makes no honest thread another user's: the store says whose it is, and is trusted with that."""
    if isinstance(row.get("thread"), str) and row["thread"] in honest:
        row.pop("user", None)
    return row


class World:
    """A bridge, two honest tenants, and somebody who writes what he likes."""

    def __init__(self) -> None:
        self.hosted = Hosted(provider=FakeProvider(), cache=None)
        self.keys: Keys | None = None
        self.rounds = 0

    def signed(self, thread: str, request_id: str, tenant: str):
        asked = to_json(Asked(request_id, "bridge", {"q": request_id}, tenant))
        value = interrupt_value([asked], by="here")
        return value | {"mac": self.keys.sign("interrupt", thread, value)}

    def park(self, thread: str, value) -> None:
        self.hosted.server.rows[thread] = {
            "thread_id": thread,
            "status": "interrupted",
            "interrupts": {"task": [{"id": uuid.uuid4().hex, "value": value}]},
            "metadata": {"assistant_id": "agent"},
            "updated_at": datetime.now(UTC).isoformat(),
        }

    async def round(self, draws: random.Random, cases: int) -> None:
        hosted, store = self.hosted, self.hosted.store.rows
        self.keys = self.keys or await read_keys(store)
        self.rounds += 1
        honest = {named(f"{who}-{self.rounds}"): f"{draws.getrandbits(128):032x}" for who in ("ann", "bob")}
        values = {each: self.signed(each, honest[each], name_of(each)[:3]) for each in honest}
        for thread, request_id in honest.items():
            self.park(thread, values[thread])
            await hosted.note(thread, request_id)
        strange = [*honest, *honest.values(), *values.values()]
        forged, junk = await self._attack(draws, cases, values, honest, strange)
        here = hosted.host()  # a process that reads all rows again
        for _ in range(4):
            await hosted.tick(here)
            for run in hosted.server.created:
                if run["thread"] in honest and "command" in run:
                    hosted.server.put(run["thread"])  # it goes on
        resumed = {run["thread"]: run for run in hosted.server.created if "command" in run}
        for thread, request_id in honest.items():
            (answer,) = resumed[thread]["command"]["resume"].values()
            assert read_envelope(answer) == {request_id: Succeeded({"q": request_id})}
            assert self.keys.check("envelope", thread, answer) is Check.VALID
            assert hosted.provider.executed[request_id] == 1
        assert not forged & resumed.keys(), "nothing crosses"
        await here._lease.end(datetime.now(UTC))
        hosted.server.created.clear()
        hosted.server.rows.clear()
        await store.abatch([PutOp(namespace, key, None) for namespace, key in junk])

    async def _attack(self, draws, cases, values, honest, strange):
        store = self.hosted.store.rows
        forged: set[str] = set()
        junk: list[tuple[tuple[str, ...], str]] = []
        rows = [row for row in store.search(("batch_bridge", "bridge"), limit=200) if row.namespace[2] in KINDS]
        for number in range(cases):
            thread = named(f"m-{self.rounds}-{number}")
            match draws.choice(("interrupt", "note", "row", "order", "envelope")):
                case "interrupt":
                    victim = draws.choice(list(values))
                    value = values[victim] if draws.random() < 0.3 else mutated(draws, values[victim], strange)
                    self.park(thread, value)
                    await store.abatch([note_row("bridge", thread, "mallory", [honest[victim]], idle=False)])
                    forged.add(thread)
                case "note":
                    op = note_row("bridge", draws.choice([*honest, thread]), "mallory", ["00" * 16], idle=False)
                    bad = mutated(draws, op.value, strange)
                    await store.abatch([op._replace(value=of_the_same_user(bad, honest))])
                case "row" if rows:
                    row = draws.choice(rows)
                    key = draws.choice((f"{10**8 + number:012d}", f"x{number}", f"{draws.getrandbits(128):032x}"))
                    junk.append((row.namespace, key))
                    bad = of_the_same_user(mutated(draws, row.value, strange), honest)
                    await store.abatch([PutOp(row.namespace, key, bad, index=False)])
                case "order":
                    given = {"id": "o", draws.choice(("cancel", "replay")): {"request_id": ["00" * 16]}}
                    try:
                        command_log.read(mutated(draws, given, [each for each in strange if isinstance(each, dict)]))
                    except CommandError as error:
                        assert len(str(error)) < 1000  # noqa: PT017
                    bad = {"id": "o", "verb": "cancel", "what": {"request_id": ["x"]}, "at": 1.0, "done": 0}
                    bad = mutated(draws, bad, [])
                    if bad.get("what") != "all":  # an order of the service
                        await store.abatch([PutOp(("batch_bridge", "bridge", "commands"), thread, bad, index=False)])
                case "envelope":
                    victim = draws.choice(list(values))
                    value = envelope({honest[victim]: Succeeded("mallory's")}, keys=self.keys, thread=victim)
                    bad = mutated(draws, value, strange)
                    read_envelope(bad)
                    if json.dumps(bad, sort_keys=True) != json.dumps(value, sort_keys=True):
                        changed = {each: bad.get(each) for each in ("batch_bridge", "outcomes", "by", "mac")}
                        same = {each: value.get(each) for each in changed}
                        is_valid = self.keys.check("envelope", victim, bad) is Check.VALID
                        assert not is_valid or json.dumps(changed, sort_keys=True) == json.dumps(same, sort_keys=True)
        return forged, junk


@pytest.mark.parametrize("seed", range(4))
async def test_honest_tenants_are_served_beside_anything(seed) -> None:
    world, draws = World(), random.Random(seed)
    for start in range(0, CASES // 4, IN_A_ROUND):
        await world.round(draws, min(IN_A_ROUND, CASES // 4 - start))


async def test_the_owner_of_a_thread_cannot_sign() -> None:
    hosted = Hosted()
    keys = await read_keys(hosted.store.rows)
    value = envelope({"r": Succeeded(1)})
    assert keys.check("envelope", "t", value) is Check.ABSENT
    assert keys.check("envelope", "t", value | {"mac": "1:00"}) is Check.FORGED
    other = Keys(key_of("another one"), (), keys.since)
    assert keys.check("envelope", "t", value | {"mac": other.sign("envelope", "t", value)}) is Check.UNKNOWN
    signed = envelope({"r": Succeeded(1)}, keys=keys, thread="t")
    assert keys.check("envelope", "t", json.loads(json.dumps(signed))) is Check.VALID
    assert keys.check("envelope", "u", signed) is Check.FORGED
    assert keys.check("interrupt", "t", signed) is Check.FORGED


@pytest.mark.parametrize(
    ("sent", "told"), [(1.0, 1), (1e16, 10**16), (-0.0, 0), (1.5e300, int("15" + "0" * 299)), ({"b": 1, "a": 2},) * 2]
)
def test_a_signature_outlives_stores_that_write_numbers_in_a_form_of_their_own(sent, told) -> None:
    keys = Keys(key_of("k"), (), datetime.now(UTC))
    value = interrupt_value([to_json(Asked("r", "b", sent))])
    signature = keys.sign("interrupt", "t", value)
    assert (
        keys.check("interrupt", "t", interrupt_value([to_json(Asked("r", "b", told))]) | {"mac": signature})
        is Check.VALID
    )


async def test_keys_are_rolled_and_what_an_old_one_has_signed_is_believed(monkeypatch) -> None:
    store = Hosted().store.rows
    made = await read_keys(store)
    assert (await read_keys(store)).signing == made.signing
    value = envelope({"r": Succeeded(1)}, keys=made, thread="t")
    monkeypatch.setenv("BATCH_BRIDGE_KEYS", "a key that is long enough, the one before that")
    rolled = await read_keys(store)
    assert rolled.signing == key_of("a key that is long enough")
    assert rolled.check("envelope", "t", value) is Check.VALID
    assert rolled.since == made.since


async def test_a_thread_that_parked_before_there_were_keys_is_served_and_one_since_then_is_not() -> None:
    hosted = Hosted(provider=FakeProvider())
    await hosted.park(named("old"), "aa" * 16)
    await hosted.park(named("new"), "bb" * 16)
    hosted.server.rows[named("new")]["updated_at"] = "2999-01-01T00:00:00Z"
    for _ in range(3):
        await hosted.tick()
    assert set(hosted.server.resumed) == {named("old")}
    assert "is ignored" in hosted.here.last_error
