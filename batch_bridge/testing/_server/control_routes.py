"""The control routes, and the page for people. The former require the token that the server printed at its start."""

import hmac
import html
from dataclasses import asdict
from ipaddress import ip_address

import orjson
from starlette.responses import HTMLResponse, Response

from batch_bridge.testing._server.dialect import bearer
from batch_bridge.testing._server.errors import WireError
from batch_bridge.testing._server.gate import HTTPCall, answer_json

_SECRET = ("webhook_secret",)


async def stats(call: HTTPCall) -> Response:
    """`GET /_control/stats`."""
    _check_caller(call)
    return answer_json(asdict(call.core.stats()))


async def repeats(call: HTTPCall) -> Response:
    """`GET /_control/paid_twice`: which lines were paid again."""
    _check_caller(call)
    return answer_json({"data": call.core.repeats()})


async def settings(call: HTTPCall) -> Response:
    """`GET /_control/settings`."""
    _check_caller(call)
    return answer_json(_shown(call))


async def configure(call: HTTPCall) -> Response:
    """`POST /_control/configure`, with a flat JSON object of options."""
    _check_caller(call)
    if not call.request.headers.get("content-type", "").startswith("application/json"):
        raise WireError(415, "The control routes take application/json.")  # keeps other web pages' forms out
    call.core.configure(await call.json())
    return answer_json(_shown(call))


async def reset(call: HTTPCall) -> Response:
    """`POST /_control/reset`."""
    _check_caller(call)
    await call.core.reset()
    return answer_json(asdict(call.core.stats()))


async def page(call: HTTPCall) -> Response:
    """`GET /`: the statistics for people."""
    data = asdict(call.core.stats())
    rows = "".join(_row(name, value) for name, value in data.items() if not isinstance(value, dict))
    tables = "".join(
        f"<h2>{_words(name)}</h2><table>{''.join(_row(*item) for item in sorted(value.items()))}</table>"
        for name, value in data.items()
        if isinstance(value, dict) and value
    )
    return HTMLResponse(_PAGE.format(rows=rows, tables=tables))


def _row(name: str, value: object) -> str:
    return f"<tr><td>{_words(name)}</td><td>{html.escape(str(value))}</td></tr>"


def _words(name: str) -> str:
    return html.escape(name if "/" in name else name.replace("_", " "))


def _shown(call: HTTPCall) -> dict[str, object]:
    options = call.core.context.settings.options()
    hidden = {name: "***" for name in _SECRET if options[name] is not None}
    return orjson.loads(orjson.dumps({**options, **hidden}))  # type: ignore[no-any-return]


def _check_caller(call: HTTPCall) -> None:
    client = call.request.client
    try:
        local = client is not None and ip_address(client.host).is_loopback
    except ValueError:
        local = False
    if not local:
        raise WireError(403, "The control routes answer to this machine only.")
    if not hmac.compare_digest(bearer(call.request).encode(), call.request.app.state.token.encode()):
        raise WireError(
            401,
            "The control routes take the token that the server printed when it was started, in the header "
            "Authorization, as 'Bearer TOKEN'.",
            type="authentication_error",
            code="invalid_control_token",
        )


_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta http-equiv="refresh" content="2"><title>Batch API server</title><style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 42rem; margin: 2rem auto; padding: 0 1rem; }}
table {{ border-collapse: collapse; width: 100%; }} td {{ border-bottom: 1px solid #ddd; padding: .2rem 0; }}
td:last-child {{ text-align: right; font-variant-numeric: tabular-nums; }}
@media (prefers-color-scheme: dark) {{ body {{ background: #16181c; color: #ddd; }} }}
</style></head><body><h1>Batch API server</h1>
<p>A local stand-in for a provider's Batch API. Point an OpenAI client at <code>/v1</code> here.</p>
<table>{rows}</table>{tables}</body></html>"""
