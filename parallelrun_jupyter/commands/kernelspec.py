"""``parallelrun kernel install``: a kernel that runs notebooks of Azure ML's SDK v1 unchanged."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from ..errors import ConfigError, MissingExtraError

DEFAULT_NAME = "parallelrun-azureml"


def kernel_spec(display_name: str) -> dict[str, object]:
    """Return the kernel's specification: this interpreter, with the azureml layer loaded."""
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
    """Install the kernel for Jupyter; return its folder.

    Parameters
    ----------
    name
        The kernel's name. If it is the name of the kernel that a notebook was written for, such as
        ``python38-azureml``, the notebook opens without asking for a kernel.
    display_name
        The name shown in Jupyter.
    prefix
        Folder of an environment, such as ``sys.prefix``. Default: the user's folder.

    Raises
    ------
    ConfigError
        The name is invalid.
    MissingExtraError
        jupyter-client is not installed.
    """
    try:
        from jupyter_client.kernelspec import KernelSpecManager
    except ImportError as error:
        msg = "installing a kernel needs jupyter-client, which is not installed: pip install ipykernel"
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
