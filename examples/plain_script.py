"""A plain script without LangGraph: the OpenAI client, wrapped, and `asyncio.gather`.

Run it as it is and it waits for its answers. With `--later` it queues its questions, ends, and is run again until all
answers are there; nothing is asked, or paid for, twice. `BATCH_BRIDGE_MODE=realtime` answers at once, at full price.
"""

import argparse
import asyncio

from openai import AsyncOpenAI

from batch_bridge import ResultPending, wrap_openai

CITIES = ("Athens", "Bogota", "Cairo", "Dakar", "Edinburgh", "Fukuoka")


async def ask(client: AsyncOpenAI, city: str) -> str:
    """Ask one question, as with any OpenAI client."""
    answer = await client.chat.completions.create(
        model="gpt-4o-mini", messages=[{"role": "user", "content": f"What is {city} known for? One sentence."}]
    )
    return answer.choices[0].message.content or ""


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--later", action="store_true", help="do not wait: end, and be run again")
    parser.add_argument("--path", default="plain_script.db", help="the file that --later keeps its questions in")
    parser.add_argument("--poll-interval", type=float, default=30, help="seconds")
    asked = parser.parse_args()
    later = {"path": asked.path, "on_pending": "raise"} if asked.later else {}
    async with wrap_openai(AsyncOpenAI(), poll_interval=asked.poll_interval, **later) as client:
        answers = await asyncio.gather(*(ask(client, city) for city in CITIES), return_exceptions=True)
    pending = 0
    for city, answer in zip(CITIES, answers, strict=True):
        if isinstance(answer, ResultPending):
            pending += 1
        elif isinstance(answer, BaseException):
            print(f"{city}: failed: {answer}")
        else:
            print(f"{city}: {answer}")
    if pending:
        print(f"{pending} answers are not there yet; run this again later")


if __name__ == "__main__":
    asyncio.run(main())
