"""One engine on one workload, in this process, which does nothing else."""

from __future__ import annotations

import importlib
import json
import os
import sys
import threading
from pathlib import Path

from .results import Results
from .values import prepare
from .workload import Workload


def main(folder: Path) -> None:
    """Run the measurement of ``cell.json`` in the folder, and write ``record.json`` there."""
    cell = json.loads((folder / "cell.json").read_text(encoding="utf-8"))
    workload = Workload(**cell["workload"])
    engine = importlib.import_module(f"benchmarks.peers.engines.{cell['module']}")
    results = Results(folder)

    def give_up() -> None:
        results.save(f"not finished after {cell['limit_s']:g} s")
        os._exit(0)

    timer = threading.Timer(cell["limit_s"], give_up)
    timer.daemon = True
    timer.start()
    prepare(workload)
    results.begin()
    try:
        engine.run(workload, results, **cell["options"])
    except Exception as error:  # an engine that gives up altogether is a finding
        results.save(" ".join(f"{type(error).__name__}: {error}".split())[:200])
    results.save()
    sys.stdout.flush()
    os._exit(0)  # leftover processes of an engine are ended from outside


if __name__ == "__main__":
    main(Path(sys.argv[1]))
