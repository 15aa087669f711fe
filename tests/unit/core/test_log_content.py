"""What the log has of errors and handles: their kinds and places, and no word of a prompt or an answer."""

import logging
from datetime import timedelta

import pytest
from fakes import T0, FakeProvider, FakeStore, T, request
from hosted import Hosted

from batch_bridge._core.models import InProgress
from batch_bridge._core.policy.flush_policy import FlushPolicy
from batch_bridge._core.wording import log_text as _logged
from batch_bridge._engine import Engine, EngineSettings
from batch_bridge._engine.flights.notices import Notices
from batch_bridge._ledger.ledger import Ledger
from batch_bridge._server import tick as _host
from batch_bridge.errors import (
    BadPollResultError,
    BatchFailed,
    ProviderUnavailable,
    RequestFailed,
    SubmissionRefused,
    SubmissionUnknown,
)

SECRET = "SECRET words of a prompt"


def raised(error):
    try:
        raise error  # noqa: TRY301  # that is what is asked for
    except Exception as caught:  # it has a traceback now
        return caught


@pytest.mark.parametrize(
    "error",
    [
        ValueError(SECRET),
        KeyError(SECRET),
        OSError(SECRET),
        ConnectionError(SECRET),
        BatchFailed(SECRET),
        RequestFailed(SECRET),
        BadPollResultError(SECRET),
        type("ValidationError", (ValueError,), {})(SECRET),
    ],
    ids=lambda each: type(each).__name__,
)
def test_an_error_is_told_by_its_kind_and_its_place(error):
    told = _logged.said(raised(error))
    assert told.startswith(type(error).__name__)
    assert "test_log_content.py" in told
    assert "SECRET" not in told


def test_what_speaks_of_a_network_or_a_file_keeps_its_text():
    connect = type("ConnectError", (Exception,), {})
    database = type("OperationalError", (Exception,), {})
    assert _logged.said(connect("All connection attempts failed")) == "ConnectError: All connection attempts failed"
    assert (
        _logged.said(FileNotFoundError(2, SECRET, SECRET)) == "FileNotFoundError: [Errno 2] No such file or directory"
    )
    assert _logged.said(database(f"the server closed\nDETAIL: {SECRET}")) == "OperationalError: the server closed"
    assert _logged.said(ProviderUnavailable("503")) == "503"


def test_a_status_is_told_and_not_what_came_with_it():
    error = type("UnprocessableEntityError", (Exception,), {"status_code": 422})(SECRET)
    assert _logged.said(error) == "UnprocessableEntityError: HTTP 422"


def test_a_traceback_has_the_frames_and_the_causes_and_no_texts(caplog):
    error = raised(ValueError(SECRET))
    error.__cause__ = raised(KeyError(SECRET))
    logging.getLogger("batch_bridge").error("it failed", exc_info=_logged.trace(error))
    assert caplog.records[0].exc_info[0] is ValueError
    assert "in raised" in caplog.text
    assert "KeyError" in caplog.text
    assert "SECRET words" not in caplog.text


@pytest.mark.parametrize(
    ("handle", "shown"),
    [
        ("batch_68a-1", "batch_68a-1"),
        (17, 17),
        (None, None),
        (SECRET, "…"),
        ([SECRET], "a list of 1"),
        ({"id": "b1", "items": [SECRET], SECRET: 1}, {"id": "b1", "items": "…", "…": "…"}),
    ],
)
def test_a_handle_shows_names_and_numbers(handle, shown):
    assert _logged.handle(handle) == shown


def test_who_asks_for_content_has_it(monkeypatch, caplog):
    monkeypatch.setenv(_logged.VARIABLE, "1")
    error = raised(ValueError(SECRET))
    assert _logged.said(error) == f"ValueError: {SECRET}"
    assert _logged.handle([SECRET]) == [SECRET]
    assert _logged.trace(error)[1] is error


# -- how often ---------------------------------------------------------------------------------------------------------


async def day(caplog, provider, *, batches=1, interval=30, hours=24):
    """Tick for a day, and return the lines of the log at WARNING and above."""
    caplog.set_level(logging.WARNING, logger="batch_bridge")
    engine = Engine(
        "bridge",
        provider,
        FlushPolicy(max_age=0, max_requests=1),
        Ledger(FakeStore(), "bridge"),
        EngineSettings(poll_interval=timedelta(seconds=interval)),
    )
    await engine.open(T0)
    await engine.collect([request(number) for number in range(batches)], T0)
    now, ticks = T0, 0
    while now < T0 + timedelta(hours=hours):
        try:
            wake_at = (await engine.tick(now)).wake_at
        except BadPollResultError:
            wake_at = engine.tell(now).wake_at
        ticks += 1
        now = max(wake_at or now, now + timedelta(seconds=1))
    assert ticks > hours * 3600 / interval / 2
    return [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]


class Failing(FakeProvider):
    """Each of some calls fails, for ever."""

    def __init__(self, **errors):
        super().__init__()
        self.errors = errors

    async def _reply(self, verb, about, act):
        if verb in self.errors:
            raise self.errors[verb].with_traceback(None)
        if verb == "poll":
            return InProgress()
        return await super()._reply(verb, about, act)


FAILURES = {
    "a misspelt URL": {"prepare": ProviderUnavailable("uploading failed: ConnectError: no such host")},
    "it may have been sent": {"submit": SubmissionUnknown("creating failed: ReadTimeout")},
    "a status": {"poll": ProviderUnavailable("polling was answered with 404")},
    "a bug": {"poll": KeyError("batch")},
    "poll returns nonsense": {"poll": BadPollResultError("an empty dict")},
}


@pytest.mark.parametrize("name", FAILURES)
@pytest.mark.parametrize("batches", [1, 5])
async def test_a_day_of_failures_is_a_few_lines(name, batches, caplog):
    lines = await day(caplog, Failing(**FAILURES[name]), batches=batches, hours=24 / batches)
    assert 5 <= len(lines) <= 25 * (batches if "nonsense" in name else 1), lines
    assert any("failures of this kind since" in each for each in lines)


async def test_what_fails_after_a_quiet_time_is_told_at_once(caplog):
    notices, now = Notices(), T0
    assert notices.again("a", "X", now) == ""
    assert notices.again("b", "X", now) == "", "another bridge"
    assert notices.again("a", "X", now + timedelta(seconds=30)) is None
    assert "3 failures" in notices.again("a", "X", now + timedelta(seconds=60))
    assert notices.again("a", "X", now + timedelta(hours=3)) == ""


# -- the whole engine, and a bridge on a server ------------------------------------------------------------------------


async def test_nothing_that_a_provider_raises_is_in_the_log_of_an_engine(caplog):
    caplog.set_level(logging.DEBUG)
    for errors in (
        {"submit": ValueError(SECRET)},
        {"prepare": KeyError(SECRET)},
        {"poll": BatchFailed(SECRET)},
        {"poll": RuntimeError(SECRET)},
        {"submit": _logged.logged_as(SubmissionRefused(SECRET), "HTTP 400")},
    ):
        await day(caplog, Failing(**errors), hours=0.1)
    assert caplog.records
    assert "SECRET" not in caplog.text


async def test_nothing_that_a_server_or_a_callback_raises_is_in_the_log_of_a_host(caplog):
    caplog.set_level(logging.DEBUG)

    def fail(event):
        raise ValueError(SECRET)

    hosted = Hosted(on_event=fail)
    hosted.provider.stuck = False
    await hosted.park(T, "aa" * 16)
    await hosted.tick()

    async def refuse(*_, **options):
        if "command" in options:
            raise RuntimeError(f"422: {SECRET}")

    hosted.server.runs.create = refuse
    for _ in range(3):
        await hosted.tick()
    await hosted.here.fail(raised(ValueError(SECRET)))
    said = caplog.text
    for part in ("on_event failed", f"could not resume thread {T}", "a tick failed"):
        assert part in said
    assert "SECRET words" not in said


async def test_ticks_that_fail_for_a_day_are_a_few_lines(caplog, monkeypatch):
    hosted = Hosted()
    await hosted.tick()
    now = T0
    monkeypatch.setattr(_host._clock, "now", lambda: now)
    monkeypatch.setattr(hosted.here._timer, "set_stubbornly", hosted.here._timer.set)
    for _ in range(1_440):
        now += timedelta(minutes=1)
        await hosted.here.fail(raised(ConnectionError("gone")))
    assert 5 <= len([each for each in caplog.records if "a tick failed" in each.getMessage()]) <= 20
