"""The Jupyter server extension: runs over HTTP, for pages whose kernel is busy or has ended.

Every handler requires the Jupyter token, reads run folders of this home only, and reads them in
threads, so that the server stays responsive.
"""

from __future__ import annotations

from typing import Any

from ..version import __version__

__all__ = ["__version__"]  # `jupyter server extension list` shows it


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "parallelrun_jupyter.server"}]


def _load_jupyter_server_extension(server_app: Any) -> None:
    from .handlers import handlers

    base_url = server_app.web_app.settings["base_url"]
    server_app.web_app.add_handlers(".*$", handlers(base_url))
    server_app.log.info("parallelrun_jupyter: runs are at %sparallelrun/runs", base_url)
