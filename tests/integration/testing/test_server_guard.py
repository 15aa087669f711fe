"""A web page in the developer's browser cannot use the Batch API server, and a program needs the token to control it."""

import http.client
from urllib.parse import urlsplit

import orjson
import pytest

from batch_bridge.testing import BatchServer
from batch_bridge.testing._server.guard import RequestGuard

CHAT = orjson.dumps({"model": "m", "messages": [{"role": "user", "content": "q"}]})
KEY = {"authorization": "Bearer any"}


@pytest.fixture(scope="module")
def server():
    with BatchServer() as server:
        yield server


def call(server, method, path, body=None, host=None, **headers):
    where = urlsplit(server.base_url)
    connection = http.client.HTTPConnection(where.hostname, where.port, timeout=60)
    try:
        connection.putrequest(method, path, skip_host=True)
        for name, value in {"host": host or where.netloc, "content-length": str(len(body or b"")), **headers}.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders(body)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def test_a_program_is_served(server):
    assert call(server, "POST", "/v1/chat/completions", CHAT, **KEY)[0] == 200
    port = urlsplit(server.base_url).port
    for host in (f"localhost:{port}", f"[::1]:{port}", "127.0.0.1", "LOCALHOST."):
        assert call(server, "GET", "/v1/batches", host=host, **KEY)[0] == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:3000"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
    ],
    ids=str,
)
def test_another_sites_page_spends_nothing_and_resets_nothing(server, headers):
    before = server.stats
    token = {"authorization": f"Bearer {server.control_token}"}
    assert call(server, "POST", "/v1/chat/completions", CHAT, **KEY, **headers)[0] == 403
    asked = "/v1beta/models/m:generateContent?key=any"
    assert call(server, "POST", asked, b'{"contents":[{"parts":[{"text":"q"}]}]}', **headers)[0] == 403
    assert call(server, "POST", "/_control/reset", b"", **token, **headers)[0] == 403
    assert call(server, "GET", "/", **headers)[0] == 403
    assert (server.stats.realtime, server.stats.paid) == (before.realtime, before.paid)


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "10.0.0.1", "[::2]", "[", ":"]
)
def test_a_name_that_was_made_to_lead_here_is_refused(server, host):
    status, text = call(server, "GET", "/v1/batches", host=host, **KEY)
    assert status == 421
    assert "--allow-host" in text


def test_the_page_of_the_server_itself_may_be_opened(server):
    assert call(server, "GET", "/", sec_fetch_site="none")[0] == 200
    assert call(server, "GET", "/", origin=server.root_url, sec_fetch_site="same-origin")[0] == 200


@pytest.mark.parametrize("route", ["GET stats", "GET paid_twice", "GET settings", "POST configure", "POST reset"])
def test_control_needs_the_token(server, route):
    method, what = route.split()
    for headers in ({}, KEY, {"authorization": "Bearer "}, {"authorization": "Bearer ÿ"}):
        status, text = call(server, method, f"/_control/{what}", b"{}", content_type="application/json", **headers)
        assert (status, "token that the server printed" in text) == (401, True)
    path = f"/_control/{what}?token={server.control_token}"
    assert call(server, method, path, b"{}", content_type="application/json")[0] == 401
    token = {"authorization": f"Bearer {server.control_token}"}
    assert call(server, method, f"/_control/{what}", b"{}", content_type="application/json", **token)[0] == 200


def test_no_key_in_a_query(server):
    status, text = call(server, "GET", "/v1beta/models?key=any")
    assert status in {401, 403}
    assert "x-goog-api-key" in text
    assert call(server, "GET", "/v1beta/models", x_goog_api_key="any")[0] == 200


@pytest.mark.parametrize(
    ("listens", "allowed", "host", "known"),
    [
        ("127.0.0.1", ("host.docker.internal",), "host.docker.internal", True),
        ("127.0.0.1", (), "host.docker.internal", False),
        ("0.0.0.0", (), "192.168.1.7", True),
        ("0.0.0.0", (), "evil.example", False),
        ("127.0.0.1", (), "192.168.1.7", False),
    ],
)
def test_which_names_are_known(listens, allowed, host, known):
    scope = {"type": "http", "headers": [(b"host", f"{host}:8000".encode())]}
    assert (RequestGuard(None, host=listens, allowed=allowed)._refusal(scope) is None) is known
