"""The names of the rows through which a file's owner and its observers communicate.

::

    ("batch_bridge_status",)    "owner"   -> what the owner of the file has written down of itself
    ("batch_bridge_commands",)  <id>      -> a command to the owner, and its result
"""

from typing import Final

STATUS: Final = "batch_bridge_status"
OWNER: Final = "owner"
COMMANDS: Final = "batch_bridge_commands"
FAILURES: Final = "batch_bridge_failures"
VERSION: Final = 1
"""Of the form of the owner's row."""
BEAT: Final = 10.0
"""Seconds after which an owner writes its row again though nothing has changed."""
