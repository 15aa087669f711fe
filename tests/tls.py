"""One TLS context for all clients: it takes 40 ms of CPU to read the certificates, for each client of each test.

What the tests ask listens on loopback, and speaks no TLS.
"""

import functools
import ssl

import httpx

APART = ssl.create_default_context
"""What makes a context of a client's own, for tests of when the certificates are read."""


def share() -> None:
    """Have each client of this process, and of those that are forked off it, use the context that is there."""
    if ssl.create_default_context is APART:
        ssl.create_default_context = functools.cache(APART)
        httpx.create_ssl_context()  # now, and not in each of those
