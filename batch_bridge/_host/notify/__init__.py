"""Notices to people: their texts, how they are sent, and which were sent already."""

from batch_bridge._host.notify.board import KEPT, Board
from batch_bridge._host.notify.channel import Notifier, Notify, notifier
from batch_bridge._host.notify.text import Notice, of_batch, of_job, of_run, of_stop
from batch_bridge._host.notify.trouble import Trouble, of_trouble

__all__ = [
    "KEPT",
    "Board",
    "Notice",
    "Notifier",
    "Notify",
    "Trouble",
    "notifier",
    "of_batch",
    "of_job",
    "of_run",
    "of_stop",
    "of_trouble",
]
