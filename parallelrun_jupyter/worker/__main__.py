"""Starts a worker: ``python <this folder> COMMANDS REPLIES STATUS DUMP``, inherited descriptors.

``python <this folder> script PARENT PATH ...`` runs a plain script of a pipeline instead,
``python <this folder> command PARENT PROGRAM ...`` a program, and
``python <this folder> fork_server SOCKET MODULE ...`` starts a fork server.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys

PACKAGE = "_parallelrun_worker"


def _main() -> int:
    folder = os.path.dirname(os.path.abspath(__file__))
    # Running a folder puts it first on sys.path; its modules would shadow the user's.
    if sys.path and os.path.abspath(sys.path[0]) == folder:
        del sys.path[0]
    spec = importlib.util.spec_from_file_location(
        PACKAGE, os.path.join(folder, "__init__.py"), submodule_search_locations=[folder]
    )
    if spec is None or spec.loader is None:
        return 70
    package = importlib.util.module_from_spec(spec)
    sys.modules[PACKAGE] = package
    spec.loader.exec_module(package)
    if sys.argv[1:2] == ["script"]:
        plain_script = importlib.import_module(PACKAGE + ".plain_script")
        return int(plain_script.main(sys.argv[2:]))
    if sys.argv[1] == "command":
        command = importlib.import_module(PACKAGE + ".command")
        return int(command.main(sys.argv[2:]))
    if sys.argv[1] == "fork_server":
        descriptors = importlib.import_module(PACKAGE + ".fork_server").main(sys.argv[2:])
        if descriptors is None:
            return 0
    else:
        descriptors = [int(fd) for fd in sys.argv[1:5]]
    serve = importlib.import_module(PACKAGE + ".serve")
    result = serve.main(descriptors)
    return int(result)


if __name__ == "__main__":
    sys.exit(_main())
