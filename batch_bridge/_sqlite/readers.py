"""Connections that only read."""

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from batch_bridge.errors import RunnerStateError


class Reader:
    """One connection that only reads; used by one thread at a time.

    In WAL mode each statement sees the last commit, and neither waits for the writer nor makes it wait.

    Attributes:
        connection: The connection.
    """

    def __init__(self, path: str, *, busy_timeout: timedelta) -> None:
        self.connection = sqlite3.connect(
            path, timeout=busy_timeout.total_seconds(), isolation_level=None, check_same_thread=False
        )
        self.connection.execute("PRAGMA query_only=ON")


class Readers:
    """As many readers as there are threads that read at the same time.

    Args:
        path: The file.
        busy_timeout: How long a read waits where another program has locked the whole file.
    """

    def __init__(self, path: str, *, busy_timeout: timedelta) -> None:
        self._path = path
        self._busy_timeout = busy_timeout
        self._lock = threading.Lock()
        self._idle: list[Reader] = []
        self._closed = False
        self._pid = os.getpid()

    @contextmanager
    def borrow(self) -> Iterator[Reader]:
        """Lend a reader to this thread.

        Raises:
            RunnerStateError: The file is closed, or this is a forked process.
        """
        reader = self.take()
        try:
            yield reader
        finally:
            self.give_back(reader)

    def take(self) -> Reader:
        """As `borrow`, for a path too hot for a context manager; every reader must be given back."""
        if self._closed:
            raise RunnerStateError(f"{self._path} is closed. Keep the file open while graphs run on it.")
        if os.getpid() != self._pid:
            raise RunnerStateError(
                f"{self._path} was opened before this process was forked. Open the file in the process that uses it."
            )
        try:
            return self._idle.pop()
        except IndexError:
            return Reader(self._path, busy_timeout=self._busy_timeout)

    def give_back(self, reader: Reader) -> None:
        """Take a reader back."""
        with self._lock:
            if not self._closed:
                self._idle.append(reader)
                return
        reader.connection.close()

    def close(self) -> None:
        """Close the idle readers now, and the lent ones when they come back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for reader in idle:
            reader.connection.close()
