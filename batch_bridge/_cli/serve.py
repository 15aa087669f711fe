"""`batch-bridge serve`: the Batch API server on this machine."""

import ipaddress
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from batch_bridge._cli.option_groups import flat

if TYPE_CHECKING:
    from batch_bridge.testing._server.serve import Launch

_FAULTS = "Faults (shares from 0 to 1)"


def _share(what: str) -> Any:
    """Return the option of a fault's probability."""
    return typer.Option(min=0.0, max=1.0, metavar="SHARE", show_default=False, rich_help_panel=_FAULTS, help=what)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenOptions:
    """Where the server listens, who may call it, and where it keeps its state."""

    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1"
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 chooses a free one.")] = 8000
    expose: Annotated[bool, typer.Option("--expose", help="Allow an address that other machines can reach.")] = False
    allow_host: Annotated[
        list[str] | None, typer.Option(help="An additional host name, e.g. host.docker.internal.")
    ] = None
    control_token: Annotated[
        str | None, typer.Option(envvar="BATCH_BRIDGE_CONTROL_TOKEN", help="The token for the control routes.")
    ] = None
    state_dir: Annotated[
        Path | None, typer.Option(help="Folder for files and batches; without it they are temporary.")
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerOptions:
    """What answers the requests."""

    answerer: Annotated[str | None, typer.Option(help="'module:function' that answers (url, body).")] = None
    upstream: Annotated[
        str | None, typer.Option(help="Base URL of an OpenAI-compatible server that answers, with its /v1.")
    ] = None
    upstream_key: Annotated[
        str | None, typer.Option(envvar="BATCH_BRIDGE_UPSTREAM_KEY", help="The upstream's API key.")
    ] = None
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Concurrent requests to the upstream.", show_default="16")
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TimingOptions:
    """How long batches take, and who is told of their ends. The fields are those of `Settings`."""

    latency: Annotated[float, typer.Option(min=0.0, help="Seconds from a batch's creation to its end.")] = 0.0
    webhook_url: Annotated[str | None, typer.Option(help="Where to send webhooks when batches end.")] = None
    webhook_secret: Annotated[
        str | None, typer.Option(envvar="OPENAI_WEBHOOK_SECRET", help="The key that signs the webhooks.")
    ] = None
    seed: Annotated[int, typer.Option(help="The seed of all random choices.")] = 0
    shuffle: Annotated[bool, typer.Option(help="Whether to shuffle the output's lines.")] = True
    cancel_seconds: Annotated[float, typer.Option(min=0.0, help="Seconds that a cancellation takes.")] = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultOptions:
    """What goes wrong, and how often. The fields are those of `Settings`."""

    line_failure: Annotated[float, _share("Lines that fail.")] = 0.0
    missing_line: Annotated[float, _share("Lines that are lost.")] = 0.0
    doubled_line: Annotated[float, _share("Lines that appear twice.")] = 0.0
    garbled_line: Annotated[float, _share("Lines that are not valid JSON.")] = 0.0
    batch_failure: Annotated[float, _share("Batches that fail.")] = 0.0
    expiry: Annotated[float, _share("Batches that expire half way.")] = 0.0
    stuck: Annotated[float, _share("Batches that never end.")] = 0.0
    poll_error: Annotated[float, _share("Retrievals that get a 502.")] = 0.0
    create_error: Annotated[float, _share("Create calls that get a 500.")] = 0.0
    create_rate_limit: Annotated[float, _share("Create calls that get a 429.")] = 0.0
    drop_create_response: Annotated[float, _share("Create calls whose response is lost.")] = 0.0
    upload_error: Annotated[float, _share("Uploads that get a 500.")] = 0.0
    visible_after: Annotated[
        float,
        typer.Option(min=0.0, rich_help_panel=_FAULTS, help="Seconds until a new batch is visible."),
    ] = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FurtherOptions:
    """Settings that have no option of their own."""

    option: Annotated[
        list[str] | None,
        typer.Option("--option", "-o", help="Any other option as NAME=VALUE, e.g. max_lines=100."),
    ] = None


@flat
def serve(
    *,
    listen: ListenOptions,
    answers: AnswerOptions,
    timing: TimingOptions,
    faults: FaultOptions,
    further: FurtherOptions,
) -> None:
    """Serve OpenAI's Files and Batches API from this machine, until Ctrl-C."""
    from batch_bridge.testing._server.errors import BatchServerError  # noqa: PLC0415  # only for this command
    from batch_bridge.testing._server.serve import CONCURRENCY, Launch, new_token  # noqa: PLC0415
    from batch_bridge.testing._server.serve import serve as serve_forever  # noqa: PLC0415
    from batch_bridge.testing._server.switches.settings import Settings  # noqa: PLC0415

    _check_host(listen.host, expose=listen.expose)
    sys.path.insert(0, os.getcwd())  # noqa: PTH109 - where `python -m` would look for the answerer too
    try:
        named = dict(map(_named, further.option or []))
        launch = Launch(
            host=listen.host,
            port=listen.port,
            state_dir=None if listen.state_dir is None else str(listen.state_dir),
            answerer=answers.answerer,
            upstream=answers.upstream,
            upstream_key=answers.upstream_key,
            concurrency=answers.concurrency or CONCURRENCY,
            allow_hosts=tuple(listen.allow_host or ()),
            control_token=listen.control_token or new_token(),
            settings=Settings().changed(asdict(timing) | asdict(faults) | named),
        )
        serve_forever(launch, lambda base_url: _greet(base_url, launch))
    except BatchServerError as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        typer.echo("Stopped.", err=True)


def _check_host(host: str, *, expose: bool) -> None:
    try:
        local = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = False
    if local:
        return
    if not expose:
        raise typer.BadParameter(
            f"other machines could reach {host}, and this server accepts any key; add --expose to allow this.",
            param_hint="--host",
        )
    typer.echo(f"Warning: other machines can reach this server on {host}; it accepts any API key.", err=True)


def _named(text: str) -> tuple[str, object]:
    """Return the parts of `NAME=VALUE`; the value is parsed if it is JSON."""
    import orjson  # noqa: PLC0415 - only for this option

    name, equals, value = text.partition("=")
    if not equals:
        raise typer.BadParameter(f"{text!r} is not of the form NAME=VALUE.", param_hint="--option")
    try:
        return name.strip().replace("-", "_"), orjson.loads(value)
    except orjson.JSONDecodeError:
        return name.strip().replace("-", "_"), value


def _greet(base_url: str, launch: "Launch") -> None:
    answers = launch.upstream or launch.answerer or "the stand-in (no model is called, and nothing costs money)"
    typer.echo(f"Batch API server on {base_url}")
    typer.echo(f"  answers    {answers}")
    typer.echo(f"  state      {launch.state_dir or 'temporary; --state-dir keeps it'}")
    typer.echo(f"  statistics {base_url.removesuffix('/v1')}/")
    typer.echo(
        f"  control    {base_url.removesuffix('/v1')}/_control/…, with Authorization: Bearer {launch.control_token}"
    )
    typer.echo(f'  client     OpenAI(base_url="{base_url}", api_key="any")')
    typer.echo(f"  or         export OPENAI_BASE_URL={base_url} OPENAI_API_KEY=any")
    sys.stdout.flush()
