"""Notices to people: what they say, how they are sent, and which were sent already."""

from batch_bridge._host.notify.board import Board
from batch_bridge._host.notify.channel import Notifier, Notify, notifier
from batch_bridge._host.notify.text import Notice, of_batch, of_job, of_run, of_stall, of_stop

__all__ = ["Board", "Notice", "Notifier", "Notify", "notifier", "of_batch", "of_job", "of_run", "of_stall", "of_stop"]
