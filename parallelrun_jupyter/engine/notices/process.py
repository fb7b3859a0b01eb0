"""The process that sends the notices of a run's end, so that a dead receiver delays nothing.

``python -m parallelrun_jupyter.engine.notices.process FILE`` tells the receivers of a notice that were not told
yet, all at the same time, and notes each in the file. If it is killed between the two, the next one
tells that receiver again: at least once. The notice's id shows that it is a repeated one. Secrets
come from its environment, and are in no note.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import sys
import threading
import time
from pathlib import Path

from ...files import try_lock
from ...runs.notices import Notice, lock_path, read_notice
from .senders import SEND_LIMIT_S, NotSentError, send

_log = logging.getLogger(__name__)

_TIMED_OUT = f"no answer within {SEND_LIMIT_S:.0f} s"


def tell(path: Path) -> None:
    """Tell the receivers of a notice that were not told yet, unless another process does so now."""
    try:
        lock = try_lock(lock_path(path))
    except OSError:
        return
    notice = read_notice(path)
    if notice is not None:
        _tell_all(notice, path)
    os.close(lock)


def _tell_all(notice: Notice, path: Path) -> None:
    replies: queue.Queue[tuple[str, str]] = queue.Queue()

    def work(receiver: str) -> None:
        error = ""
        try:
            send(receiver, notice.content, os.environ)
        except NotSentError as failure:
            error = str(failure)
        replies.put((receiver, error))

    for receiver in notice.untold:
        threading.Thread(target=work, args=(receiver,), daemon=True).start()
    until = time.monotonic() + SEND_LIMIT_S
    while notice.untold:
        try:
            receiver, error = replies.get(timeout=max(0.0, until - time.monotonic()))
            told = {receiver: error}
        except queue.Empty:
            told = dict.fromkeys(notice.untold, _TIMED_OUT)
        for receiver, error in told.items():
            if error:
                _log.warning("%s was not notified of the run's end: %s", receiver, error)
        notice.told.update(told)
        notice.write(path)


def main() -> None:
    """Tell the receivers of the notice in the file that is named on the command line."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    signal.alarm(int(SEND_LIMIT_S) + 5)
    try:
        tell(Path(sys.argv[1]))
    except FileNotFoundError:
        pass  # the run has been removed
    os._exit(0)  # without waiting for threads


if __name__ == "__main__":
    main()
