"""``parallelrun kernel install``: a kernel in which notebooks of Azure's SDK run from the first cell."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from ..errors import ConfigError, MissingExtraError

DEFAULT_NAME = "parallelrun-azureml"


def kernel_spec(display_name: str) -> dict[str, object]:
    """Return what Jupyter needs to know of the kernel: this interpreter, and the layer switched on."""
    return {
        "argv": [
            sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}",
            "--ext=parallelrun_jupyter.azureml",
        ],
        "display_name": display_name,
        "language": "python",
        "metadata": {"debugger": True},
    }  # fmt: skip


def install_kernel(
    name: str = DEFAULT_NAME, display_name: str = "", prefix: str | None = None
) -> str:
    """Write the kernel where Jupyter finds it; return the folder.

    Parameters
    ----------
    name
        The kernel's name. A notebook that was written for another kernel, such as
        ``python38-azureml``, opens without a question where one of that name is there.
    display_name
        What people see.
    prefix
        Folder of an environment, such as ``sys.prefix``. Default: the user's own folder.

    Raises
    ------
    ConfigError
        The name cannot be a kernel's.
    MissingExtraError
        jupyter-client is not installed.
    """
    try:
        from jupyter_client.kernelspec import KernelSpecManager
    except ImportError as error:
        msg = "a kernel is installed with jupyter-client, which is not here: pip install ipykernel"
        raise MissingExtraError(msg) from error
    with tempfile.TemporaryDirectory() as folder:
        shown = display_name or "Python with Azure ML notebooks (parallelrun)"
        Path(folder, "kernel.json").write_text(json.dumps(kernel_spec(shown), indent=1))
        try:
            return str(
                KernelSpecManager().install_kernel_spec(
                    folder, name, user=prefix is None, prefix=prefix
                )
            )
        except ValueError as error:
            msg = f"the kernel's name is {name!r}: {error}. Use letters, digits, - and _."
            raise ConfigError(msg) from error
