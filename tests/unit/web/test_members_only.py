"""Who may see the page of a deployment: whom its auth has let in, and nobody where its auth is not asked."""

import httpx
import pytest
from starlette.authentication import SimpleUser, UnauthenticatedUser
from starlette.responses import PlainTextResponse

from batch_bridge import Bridge
from batch_bridge.web import app as page_of
from batch_bridge.web._members_only import MembersOnly

OWN = {"Sec-Fetch-Site": "same-origin"}


def called(may=None, user=None):
    guarded = MembersOnly(PlainTextResponse("in"), may)

    async def app(scope, receive, send):
        await guarded({**scope, **({} if user is None else {"user": user})}, receive, send)

    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here")


@pytest.mark.parametrize(
    ("auth", "user", "status"),
    [
        ("", None, 200),
        ("{}", None, 200),
        ('{"path": "./auth.py:auth"}', None, 403),
        ('{"path": "./auth.py:auth"}', UnauthenticatedUser(), 403),
        ('{"path": "./auth.py:auth"}', SimpleUser("ann"), 200),
    ],
)
async def test_where_the_auth_handler_is_not_asked_nobody_is_let_in(monkeypatch, auth, user, status):
    monkeypatch.setenv("LANGGRAPH_AUTH", auth)
    async with called(user=user) as client:
        answer = await client.get("/")
    assert answer.status_code == status
    assert ("enable_custom_route_auth" in answer.text) == (status == 403)
    assert ("content-security-policy" in answer.headers) == (status == 200)


@pytest.mark.parametrize(("user", "status"), [(None, 403), (UnauthenticatedUser(), 403), (SimpleUser("key"), 200)])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_where_keys_let_in_nobody_else_is(monkeypatch, method, user, status):
    """LangSmith's keys, without a handler: they are asked for this page only with `enable_custom_route_auth`."""
    monkeypatch.setenv("LANGGRAPH_AUTH_TYPE", "langsmith")
    async with called(user=user) as client:
        assert (await client.request(method, "/commands", headers=OWN)).status_code == status


async def test_fewer_may_be_let_in():
    for name, status in (("ann", 200), ("bob", 403)):
        async with called(lambda user: user.username == "ann", SimpleUser(name)) as client:
            assert (await client.get("/")).status_code == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (OWN, 200),
        ({"Origin": "http://here"}, 200),
        ({"Authorization": "Bearer key"}, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({**OWN, "Origin": "http://evil.example"}, 403),
        ({"Cookie": "session=1"}, 403),
    ],
)
async def test_what_another_site_has_caused_changes_nothing(headers, status):
    async with called() as client:
        assert (await client.post("/commands", headers=headers)).status_code == status


def test_a_page_of_nothing_and_at_no_path_is_refused():
    with pytest.raises(ValueError, match=r"pass app\(bridge\)"):
        page_of()
    with pytest.raises(ValueError, match="begins with a slash"):
        page_of(Bridge(submit=lambda items: {}, poll=lambda handle: None), at="bridges")
