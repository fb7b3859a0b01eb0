"""Notices of a run's end: on the desktop, to a webhook, by mail; sent by a process of its own."""
