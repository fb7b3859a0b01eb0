"""The names of settings in a job of SDK v2, which views and errors of its runs use."""

from __future__ import annotations

import re
from dataclasses import replace

from .journal.events import AttemptFailed, Event, InitFailed, ItemsFailed, RunFinished

_IN_V2 = {
    "allowed_failed_count": "mini_batch_error_threshold",
    "process_count_per_node": "max_concurrency_per_instance",
    "run_invocation_timeout": "retry_settings.timeout",
}
_WITH_VALUE = re.compile(rf"\b({'|'.join(_IN_V2)})(?= allows -?\d| = \d)")
"""A setting in a sentence of the engine; a script's own text has other words behind it."""


def setting_name(name: str, api: str) -> str:
    """Return the name of a setting of `ParallelRunConfig` in the API that a run was made with."""
    return _IN_V2.get(name, name) if api == "v2" else name


def worded(event: Event, api: str) -> Event:
    """Return an event whose texts have the names of the API that a run was made with."""
    if api != "v2":
        return event
    match event:
        case RunFinished():
            return replace(event, reason=_in_v2(event.reason))
        case AttemptFailed() | ItemsFailed() | InitFailed():
            message, traceback = _in_v2(event.message), _in_v2(event.traceback)
            return replace(event, message=message, traceback=traceback)
        case _:
            return event


def _in_v2(text: str) -> str:
    return _WITH_VALUE.sub(lambda match: _IN_V2[match[1]], text)
