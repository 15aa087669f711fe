"""Embeddings at half the price: which of these sentences are about the same thing?

The client is a synchronous one; its calls block, so they are made in threads, and share a batch.
"""

import argparse
from concurrent.futures import ThreadPoolExecutor

from openai import OpenAI

from batch_bridge import wrap_openai

SENTENCES = (
    "The cat sleeps on the sofa.",
    "A kitten naps on the couch.",
    "Interest rates rose again this quarter.",
    "The central bank tightened monetary policy.",
    "Bread needs flour, water, salt and time.",
    "A good loaf takes patience.",
)
CHUNK = 2


def similarity(one: list[float], other: list[float]) -> float:
    """Return the cosine of two vectors' angle; OpenAI's have the length 1."""
    return sum(a * b for a, b in zip(one, other, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--poll-interval", type=float, default=30, help="seconds")
    asked = parser.parse_args()
    chunks = [SENTENCES[start : start + CHUNK] for start in range(0, len(SENTENCES), CHUNK)]
    with wrap_openai(OpenAI(), poll_interval=asked.poll_interval) as client, ThreadPoolExecutor(len(chunks)) as threads:

        def embed(chunk: tuple[str, ...]) -> list[list[float]]:
            answer = client.embeddings.create(model="text-embedding-3-small", input=list(chunk))
            return [each.embedding for each in answer.data]

        vectors = [vector for answer in threads.map(embed, chunks) for vector in answer]
    for index, sentence in enumerate(SENTENCES):
        others = [other for other in range(len(SENTENCES)) if other != index]
        nearest = max(others, key=lambda other: similarity(vectors[index], vectors[other]))
        print(f"{sentence} ~ {SENTENCES[nearest]}")


if __name__ == "__main__":
    main()
