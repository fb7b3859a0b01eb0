"""A snapshot drawn: as text, HTML, a report, and what a notebook's output holds."""
