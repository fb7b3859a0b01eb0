"""Starts the process that tells the receivers of ``notify`` of a run's end."""

from __future__ import annotations

import logging
import os

from ...files import try_lock
from ...runs.journal.state import RunState
from ...runs.notices import is_untold, lock_path, notice_of, notice_path
from ...runs.run_folder import RunFolder
from ...runs.run_record import RunRecord
from ..detached import start_detached

_log = logging.getLogger(__name__)

_PROCESS = "parallelrun_jupyter.engine.notices.process"


def tell_of_end(folder: RunFolder, record: RunRecord, state: RunState) -> bool:
    """Start telling the receivers that were not told of the last end of a run.

    Nothing waits for them: the process goes on by itself, for some seconds. An error is only logged.

    Parameters
    ----------
    folder
        The run.
    record, state
        Its record, and its state, whose end is in the journal.

    Returns
    -------
    bool
        Whether a process has been started; False if another one tells them now.
    """
    if not is_untold(folder, record, state):
        return False
    path = notice_path(folder, state.drivers)
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        os.close(try_lock(lock_path(path)))
        if not path.exists():
            notice_of(record, state).write(path)
        start_detached(_PROCESS, [str(path)], folder.path)
    except BlockingIOError:  # a process is telling them
        return False
    except OSError as error:
        _log.warning("%s not notified of the run's end: %s", ", ".join(record.notify), error)
        return False
    return True
