"""Renders snapshots: as text, HTML, a report, and the output of a notebook's cell."""
