"""Fair shares on a real server: what one user has over its limit is refused, and another user is served."""

from deployed import Deployed

ANN, BOB = {"x-user": "ann"}, {"x-user": "bob"}


async def test_what_a_user_has_over_the_limit_is_refused_and_another_is_served(tmp_path) -> None:
    with Deployed("users", tmp_path, env={"SERVICE": "1", "MAX_AGE": "1", "PER_TENANT": "3"}) as deployed:
        async with deployed.client(ANN) as ann, deployed.client(BOB) as bob:
            many, few = await ann.start("many"), await bob.start("agent")
            (hers,) = await ann.ended(many)
            (his,) = await bob.ended(few)
            refused = ["RequestFailed tenant_limit"] * 2
            assert hers["values"]["out"] == [*(f"{many} {n}!" for n in range(3)), *refused]
            assert his["values"]["out"] == [f"{few}!"]
            assert set(deployed.sent(many)) == {f"{many} {n}" for n in range(3)}
            (again,) = await ann.ended(await ann.start("many"))
            assert len([each for each in again["values"]["out"] if each not in refused]) == 3, "there is room again"
