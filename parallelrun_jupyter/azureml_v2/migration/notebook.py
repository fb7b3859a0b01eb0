"""Runs the cells of a notebook up to the first that submits; started as a process by `migrate`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from ...client import launcher


def main(notebook: str, reply: str) -> int:
    """Run a notebook; write the folder of the run that it would have started to ``reply``.

    It returns only if the notebook submits nothing (0) or a cell fails (1). The folder stays, without
    a driver: the caller reads and removes it.
    """
    from IPython.core.interactiveshell import InteractiveShell

    def stop(folder: Any) -> None:
        Path(reply).write_text(str(folder.path), encoding="utf-8")
        sys.stdout.flush()
        os._exit(0)  # without the clean-up of a submission that fails

    launcher.stand_in = stop
    shell = InteractiveShell.instance()
    shell.run_line_magic("load_ext", "parallelrun_jupyter")
    # The notebook's own %load_ext then prints nothing that an error message would have to quote.
    if shell.extension_manager is not None:
        shell.extension_manager.loaded.discard("parallelrun_jupyter")
    content = json.loads(Path(notebook).read_text(encoding="utf-8"))
    for cell in content.get("cells", ()):
        source = cell.get("source", "")
        text = source if isinstance(source, str) else "".join(source)
        if cell.get("cell_type") == "code" and not shell.run_cell(text).success:
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
