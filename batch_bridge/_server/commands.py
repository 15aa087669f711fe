"""A command to a bridge, from the input of a run of its graph. The store keeps it until it is carried out.

Rows, below `("batch_bridge", <bridge>)`: `commands`, key -> verb, what, when, to how many requests so far; and
`obeyed`, key -> when, so that a run that the server repeats does not do again, to what was asked since, what it did.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias, TypeGuard

from langgraph.store.base import GetOp, Op, PutOp, SearchOp

from batch_bridge._ledger.rows import Rows
from batch_bridge._server.unreadable import UNREADABLE, is_text, report, time_of
from batch_bridge.errors import CommandError

Verb: TypeAlias = Literal["flush", "replay", "cancel", "erase"]
VERBS: Final[tuple[Verb, ...]] = ("flush", "replay", "cancel", "erase")
NAMES: Final = ("thread_id", "request_id", "batch")
"""What a cancellation may name."""
ERASED: Final = ("user", "thread_id")
"""What an erasure may name."""
KNOWN: Final = frozenset({"wake", "id", "poll", *VERBS})
"""The keys of an input."""
_MOST: Final = 1000
"""Orders that are read at once; the rest in the next pass."""
_MOST_IDS: Final = 100_000
"""Ids in one command."""
_SHOWN: Final = 200
_SHOWN_NAMES: Final = 3
_MOST_OBEYED: Final = 10_000
_HOW: Final = (
    'cancel={"thread_id": "…"}, {"request_id": "…"} or {"batch": "bb-…"}, with one id or a list of them, or "all"'
)
_HOW_ERASED: Final = 'erase={"user": "…"} or {"thread_id": "…"}, with one or a list of them'


@dataclass(frozen=True, slots=True)
class ServerCommand:
    """One thing to do.

    Attributes:
        key: Its unique key.
        id: The id that its sender knows it by.
        verb: What to do.
        what: To what, as `read` gives it.
        at: When it was taken.
        done: To how many requests it was done so far.
        by: The user to whose threads it is limited; empty if it is not.
    """

    key: str
    id: str
    verb: Verb
    what: Any
    at: datetime
    done: int = 0
    by: str = ""


def read(given: Mapping[str, Any]) -> dict[Verb, Any]:
    """Return the commands of an input.

    `{"flush": True}`, `{"replay": "all" | ids}`, `{"cancel": "all" | {name: ids}}`, `{"erase": {name: ids}}`.

    Raises:
        CommandError: No such command exists; nothing of the input is done.
    """
    if unknown := sorted(map(str, given.keys() - KNOWN)):
        raise CommandError(
            f"a bridge has no command {', '.join(map(_cut, unknown[:_SHOWN_NAMES]))}; an input may contain "
            f"{', '.join(sorted(KNOWN))}, or be empty"
        )
    if given.get("id") and not is_text(given["id"]):
        raise CommandError(
            f"id={_cut(given['id'])} is not a valid command id; pass a string of up to 1,000 characters, or omit it"
        )
    commands: dict[Verb, Any] = {}
    if given.get("flush"):
        commands["flush"] = True
    if (replay := given.get("replay")) not in (None, []):
        commands["replay"] = replay if replay == "all" else _ids(replay, 'replay="all", or a list of request ids')
    if (cancel := given.get("cancel")) is not None:
        commands["cancel"] = _cancel(cancel)
    if (erase := given.get("erase")) is not None:
        commands["erase"] = _named("erase", erase, ERASED, _HOW_ERASED)
    return commands


def read_poll(given: Mapping[str, Any]) -> Sequence[str] | Literal["all"] | None:
    """Return which batches an input has looked at at once, by their provider's ids; `None`: none in particular.

    It is not a command: it does nothing that the next tick would not do, so it is not stored.

    Raises:
        CommandError: It names no batches.
    """
    poll = given.get("poll")
    if poll in (None, []):
        return None
    return "all" if poll == "all" else _ids(poll, 'poll="all", or a list of the provider\'s ids of batches')


def _cancel(given: object) -> Any:
    return given if given == "all" else _named("cancel", given, NAMES, _HOW)


def _named(verb: Verb, given: object, names: Sequence[str], how: str) -> dict[str, list[str]]:
    if not isinstance(given, Mapping) or len(given) != 1:
        raise CommandError(f"{verb}={_cut(given)} does not say one thing; give {how}")
    ((name, ids),) = given.items()
    if name not in names:
        raise CommandError(f"{verb}={_cut(given)}: there is no {_cut(name)}; give {how}")
    return {name: _ids(ids, how)}


def _ids(given: object, how: str) -> list[str]:
    ids = [given] if isinstance(given, str) else given
    if not _are_ids(ids):
        raise CommandError(f"{_cut(given)} is not a list of ids; pass {how}")
    return list(dict.fromkeys(ids))


def _are_ids(ids: object) -> TypeGuard[list[str]]:
    return isinstance(ids, list) and 0 < len(ids) <= _MOST_IDS and all(is_text(each) for each in ids)


def _cut(given: object) -> str:
    text = repr(given)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def check_limits(commands: Mapping[Verb, Any], by: str) -> None:
    """Check that commands name their targets, if they are limited to the threads of a user.

    Raises:
        CommandError: One of them is for all threads; nothing of the input is done.
    """
    if by and (verbs := sorted(verb for verb, what in commands.items() if verb == "erase" or what in (True, "all"))):
        raise CommandError(
            f"{', '.join(verbs)}: the user {by!r} may not do this for the threads of all users; name threads or "
            "requests of that user, or run the bridge as its service"
        )


async def leave(
    store: Rows, bridge: str, command_id: str, commands: Mapping[Verb, Any], now: datetime, *, by: str = ""
) -> None:
    """Store commands, unless they have been carried out already. Idempotent; needs no lease."""
    whose = f"{by}\n" if by else ""  # an id of one user's is no id of another's, nor of the service's
    keys = {verb: f"{whose}{command_id} {verb}" for verb in commands}
    known = await store.abatch([GetOp(_obeyed(bridge), key) for key in keys.values()])
    left = [
        _put(bridge, ServerCommand(key, command_id, verb, commands[verb], now, by=by))
        for (verb, key), row in zip(keys.items(), known, strict=True)
        if row is None
    ]
    if left:
        await store.abatch(left)


async def listed(store: Rows, bridge: str) -> list[ServerCommand]:
    """Return the commands that are not carried out yet, oldest first."""
    (rows,) = await store.abatch([SearchOp(_namespace(bridge), limit=_MOST)])
    commands: list[ServerCommand] = []
    for row in rows:
        if (command := _command_of(row.key, row.value)) is not None:
            commands.append(command)
        else:
            report(bridge, "the commands", row.key)
            await store.abatch([PutOp(_namespace(bridge), row.key, None)])
    return sorted(commands, key=lambda command: command.at)


def _command_of(key: str, row: Mapping[str, Any]) -> ServerCommand | None:
    """Return a stored command; `None` if the row is not one."""
    verb, what, done, by = row.get("verb"), row.get("what"), row.get("done"), row.get("by", "")
    if not isinstance(row.get("id"), str) or type(done) is not int or verb not in VERBS or not isinstance(by, str):
        return None
    if by and verb == "erase":
        return None  # it is the service's alone
    try:
        at, commands = time_of(row.get("at")), read({verb: what})
    except (CommandError, *UNREADABLE):
        return None
    return ServerCommand(key, row["id"], verb, commands[verb], at, done, by) if verb in commands else None


async def keep(store: Rows, bridge: str, command: ServerCommand) -> None:
    """Store what is left of a command."""
    await store.abatch([_put(bridge, command)])


async def obeyed(store: Rows, bridge: str, commands: Iterable[ServerCommand], now: datetime) -> None:
    """Note that commands have been carried out."""
    held = list(commands)
    ops: list[Op] = [PutOp(_obeyed(bridge), each.key, {"at": now.timestamp()}, index=False) for each in held]
    if ops:
        await store.abatch([*ops, *(PutOp(_namespace(bridge), each.key, None) for each in held)])


async def erase_of(store: Rows, bridge: str, user: str) -> None:
    """Delete the commands of a user, and the notes that they were carried out."""
    for namespace in (_namespace(bridge), _obeyed(bridge)):
        (rows,) = await store.abatch([SearchOp(namespace, limit=_MOST_OBEYED)])
        if gone := [row.key for row in rows if row.value.get("by") == user or row.key.startswith(f"{user}\n")]:
            await store.abatch([PutOp(namespace, key, None) for key in gone])


async def forget_obeyed(store: Rows, bridge: str, before: datetime) -> None:
    """Forget which commands were carried out before a time."""
    (rows,) = await store.abatch([SearchOp(_obeyed(bridge), limit=_MOST_OBEYED)])
    if old := [row.key for row in rows if _is_before(row.value, before)]:
        await store.abatch([PutOp(_obeyed(bridge), key, None) for key in old])


def _is_before(row: Mapping[str, Any], before: datetime) -> bool:
    try:
        return time_of(row.get("at")) < before
    except ValueError:
        return True


def _put(bridge: str, command: ServerCommand) -> PutOp:
    row: dict[str, Any] = {
        "id": command.id,
        "verb": command.verb,
        "what": command.what,
        "at": command.at.timestamp(),
        "done": command.done,
    }
    if command.by:
        row["by"] = command.by
    return PutOp(_namespace(bridge), command.key, row, index=False)


def _namespace(bridge: str) -> tuple[str, ...]:
    return ("batch_bridge", bridge, "commands")


def _obeyed(bridge: str) -> tuple[str, ...]:
    return ("batch_bridge", bridge, "obeyed")
