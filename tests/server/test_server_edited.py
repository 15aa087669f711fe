"""The agent is deployed again, with other prompts, while a thread is parked: it goes on, and nothing goes unsaid."""

from pathlib import Path

from deployed import PATIENCE, Deployed, until


async def test_a_prompt_that_is_edited_at_each_of_two_deployments_is_answered(tmp_path: Path) -> None:
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("take 0")
    deployed = Deployed("edited", tmp_path, env={"PROMPT_FILE": str(prompt)})
    deployed.hold("bridge", "take 0")
    with deployed:
        async with deployed.client() as client:
            thread = await client.start("agent")
        for take in range(3):

            async def is_sent(take: int = take) -> bool:
                return bool(deployed.sent(f"take {take}"))

            await until(is_sent, f"take {take} is sent", PATIENCE)
            if take == 2:
                break
            prompt.write_text(f"take {take + 1}")
            deployed.server.stop()
            deployed.hold("bridge", f"take {take + 1}")
            deployed.server.start()
        deployed.let_go("bridge")
        async with deployed.client() as client:
            [ended] = await client.ended(thread)
            assert ended["values"]["answer"] == "take 2!"
            await client.shows(unclaimed=2)
    assert deployed.sent() == {f"take {take}": 1 for take in range(3)}
    assert "that none of its waits requests any more" in deployed.server.log
