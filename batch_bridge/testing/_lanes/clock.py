"""The time that responses in the background live by, which can pass faster than it does for people."""

import sqlite3
import time
from typing import Final

from batch_bridge.testing._batches.database import Database

_ROW: Final = "INSERT OR REPLACE INTO clock VALUES (0, ?, ?, ?)"


class VirtualClock:
    """Tells a time that passes `speed` times as fast as the machine's. Outlives a restart.

    Args:
        database: Where the clock's last change of speed is kept.
        speed: Virtual seconds in one of the machine's.
    """

    def __init__(self, database: Database, speed: float) -> None:
        self._database = database
        row = database.reader.execute("SELECT machine, shown, speed FROM clock").fetchone()
        now = time.time()
        machine, shown, kept = row or (now, now, speed)
        self._machine, self._shown, self._speed = float(machine), float(shown), float(kept)

    @property
    def speed(self) -> float:
        """Virtual seconds in one of the machine's."""
        return self._speed

    def now(self) -> float:
        """Virtual seconds since the epoch."""
        return self._shown + (time.time() - self._machine) * self._speed

    async def set(self, speed: float) -> None:
        """Go on at another speed, from the time that it is."""
        if speed == self._speed:
            return
        self._shown, self._machine = self.now(), time.time()
        self._speed = speed
        row = (self._machine, self._shown, self._speed)

        def keep(connection: sqlite3.Connection) -> None:
            connection.execute(_ROW, row)

        await self._database.write(keep)
