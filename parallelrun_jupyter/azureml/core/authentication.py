"""Authentication against this machine's Jupyter server, and secrets of the session."""

from __future__ import annotations

import os
from typing import Any

from ...errors import MissingExtraError
from ..exceptions import UserErrorException

URL_VARIABLE, TOKEN_VARIABLE = "PARALLELRUN_SERVER_URL", "PARALLELRUN_SERVER_TOKEN"


def server_of_this_kernel() -> tuple[str, str]:
    """Return the URL and the token of this kernel's Jupyter server.

    ``PARALLELRUN_SERVER_URL`` and ``PARALLELRUN_SERVER_TOKEN`` override them.

    Raises
    ------
    UserErrorException
        No Jupyter server is running.
    """
    url = os.environ.get(URL_VARIABLE, "").strip()
    if url:
        return f"{url.rstrip('/')}/", os.environ.get(TOKEN_VARIABLE, "")
    try:
        from jupyter_server.serverapp import list_running_servers
    except ImportError as error:
        msg = "published pipelines are started through jupyter-server: pip install jupyter-server"
        raise MissingExtraError(msg) from error
    servers = list(list_running_servers())
    server_pid = os.environ.get("JPY_PARENT_PID", "")
    servers = [server for server in servers if str(server.get("pid")) == server_pid] or servers
    if not servers:
        msg = (
            "no Jupyter server is running here, so a published pipeline has no endpoint. "
            "Open the notebook in JupyterLab, or start the pipeline with "
            "published_pipeline.submit(workspace, experiment_name)."
        )
        raise UserErrorException(msg)
    return str(servers[0]["url"]), str(servers[0].get("token") or "")


class AbstractAuthentication:
    """Base of Azure's authentication classes; here each returns the Jupyter server's token."""

    def __init__(self, *_: Any, **__: Any) -> None:
        """Accept the arguments of Azure's classes and ignore them."""

    def get_authentication_header(self) -> dict[str, str]:
        """Return the header that authenticates requests to this kernel's Jupyter server.

        Raises
        ------
        UserErrorException
            No Jupyter server is running, or it has no token.
        """
        url, token = server_of_this_kernel()
        if not token:
            msg = (
                f"the Jupyter server at {url} has no token (it asks for a password); set "
                f"{URL_VARIABLE} and {TOKEN_VARIABLE}."
            )
            raise UserErrorException(msg)
        return {"Authorization": f"token {token}"}


class InteractiveLoginAuthentication(AbstractAuthentication):
    """Login of a person; here the Jupyter server's token."""


class ServicePrincipalAuthentication(AbstractAuthentication):
    """Login of a service; here the Jupyter server's token. Its arguments are not stored."""


class MsiAuthentication(AbstractAuthentication):
    """Login of a machine; here the Jupyter server's token."""


class AzureCliAuthentication(AbstractAuthentication):
    """Login by the Azure CLI; here the Jupyter server's token."""


def set_diagnostics_collection(
    send_diagnostics: bool = True, verbosity: Any = None, reason: str = ""
) -> None:
    """Do nothing: no diagnostics are collected."""


class Keyvault:
    """Secrets of this session, held in environment variables and never written to disk."""

    def get_secret(self, name: str) -> str | None:
        """Return a secret: the environment variable with this name, None if it is not set."""
        return os.environ.get(name)

    def set_secret(self, name: str, value: str) -> None:
        """Set a secret for this session."""
        os.environ[name] = value

    def get_secrets(self, secrets: list[str]) -> dict[str, str | None]:
        """Return several secrets."""
        return {name: self.get_secret(name) for name in secrets}

    def list_secrets(self) -> list[dict[str, str]]:
        """Return an empty list: environment variables are not secrets of a workspace."""
        return []
