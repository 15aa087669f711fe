"""The page in `http.app` of a real server, behind the deployment's own auth."""

from collections.abc import Iterator

import httpx
import pytest
from deployed import Deployed, until

ANN, MALLORY, SERVICE = ({"x-user": name} for name in ("ann", "mallory", "service"))


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Deployed]:
    with Deployed("page", tmp_path_factory.mktemp("page")) as server:
        yield server


async def test_a_deployment_shows_its_bridges_to_whom_its_auth_lets_in(server) -> None:
    server.hold("bridge", "SECRET")
    at = f"{server.server.url}/batch-bridge"
    async with server.client(ANN) as ann, httpx.AsyncClient(headers=ANN, timeout=60) as page:
        threads = [await ann.start("agent", f"SECRET {number}") for number in range(3)]

        async def in_flight():
            seen = (await page.get(f"{at}/status.json")).json()
            return seen if seen["in_flight"] == 3 else None

        seen = await until(in_flight, "three requests are in flight")
        assert (seen["state"], seen["threads"]["parked"], [run["id"] for run in seen["runs"]]) == (
            "parked",
            3,
            ["bridge"],
        )
        assert sum(batch["total"] for batch in seen["batches"] if batch["state"] == "in_flight") == 3
        overview = await page.get(f"{at}/")
        assert overview.status_code == 200
        assert f'href="/batch-bridge/batches/{seen["batches"][0]["key"]}"' in overview.text
        assert "SECRET" not in overview.text + str(seen), "what was asked is shown nowhere"
        assert (await page.get(f"{at}/static/htmx.min.js")).status_code == 200
        assert "batch_bridge_in_flight_requests 3" in (await page.get(f"{at}/metrics")).text
        assert (await page.get(f"{at}/healthz")).json()["state"] == "parked"
        assert "waits" in (await page.get(f"{at}/threads/{threads[0]}")).text

        for who, status in ((None, (401, 403)), (MALLORY, (403,))):
            async with httpx.AsyncClient(headers=who) as other:
                for path in ("/", "/status.json", "/metrics", "/static/page.css", "/events/overview"):
                    assert (await other.get(f"{at}{path}")).status_code in status, (who, path)
        for forged in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "http://evil.example"}):
            refused = await page.post(f"{at}/commands", data={"verb": "cancel"}, headers=forged)
            assert refused.status_code == 403

        refused = await page.post(f"{at}/commands", data={"verb": "pause"}, headers={"HX-Request": "true"})
        assert "pause is refused: a bridge on a server takes flush" in refused.text
        form = {"verb": "cancel", "batch": seen["batches"][0]["key"]}
        said = await page.post(
            f"{at}/commands", data=form, headers={"HX-Request": "true", "Sec-Fetch-Site": "same-origin"}
        )
        assert "cancel is asked" in said.text

        async def fewer():
            return (await page.get(f"{at}/status.json")).json()["in_flight"] < 3

        await until(fewer, "the batch is cancelled")
        server.let_go("bridge")

        async def ended():
            seen = (await page.get(f"{at}/status.json")).json()
            return seen if seen["state"] in ("done", "failed") and not seen["in_flight"] else None

        seen = await until(ended, "what is left is answered")
        assert seen["outcomes"].get("cancelled", 0) >= 1
