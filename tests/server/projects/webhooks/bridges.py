"""A bridge that polls seldom."""

import desk

bridge = desk.bridge(max_age=0, poll_interval=7200)
