"""Logging in: to this machine's Jupyter server, which is the only service that there is."""

from __future__ import annotations

import os
from typing import Any

from ...errors import MissingExtraError
from ..exceptions import UserErrorException

URL_VARIABLE, TOKEN_VARIABLE = "PARALLELRUN_SERVER_URL", "PARALLELRUN_SERVER_TOKEN"


def server_of_this_kernel() -> tuple[str, str]:
    """Return the URL and the token of the Jupyter server that this kernel belongs to.

    ``PARALLELRUN_SERVER_URL`` and ``PARALLELRUN_SERVER_TOKEN`` name another one.

    Raises
    ------
    UserErrorException
        No Jupyter server is running.
    """
    given = os.environ.get(URL_VARIABLE, "").strip()
    if given:
        return f"{given.rstrip('/')}/", os.environ.get(TOKEN_VARIABLE, "")
    try:
        from jupyter_server.serverapp import list_running_servers
    except ImportError as error:
        msg = "published pipelines are started through jupyter-server: pip install jupyter-server"
        raise MissingExtraError(msg) from error
    servers = list(list_running_servers())
    mine = os.environ.get("JPY_PARENT_PID", "")
    chosen = [one for one in servers if str(one.get("pid")) == mine] or servers
    if not chosen:
        msg = (
            "no Jupyter server is running here, so that a published pipeline has no endpoint. "
            "Open the notebook in JupyterLab, or start the pipeline with "
            "published_pipeline.submit(workspace, experiment_name)."
        )
        raise UserErrorException(msg)
    return str(chosen[0]["url"]), str(chosen[0].get("token") or "")


class AbstractAuthentication:
    """Something that gives the header with which the Jupyter server lets requests in."""

    def __init__(self, *_: Any, **__: Any) -> None:
        """Take what Azure's classes take, and use none of it."""

    def get_authentication_header(self) -> dict[str, str]:
        """Return the header with the token of the Jupyter server that this kernel belongs to.

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
    """A person's login; here the Jupyter server's token."""


class ServicePrincipalAuthentication(AbstractAuthentication):
    """A service's login; here the Jupyter server's token. What it was given is not kept."""


class MsiAuthentication(AbstractAuthentication):
    """A machine's login; here the Jupyter server's token."""


class AzureCliAuthentication(AbstractAuthentication):
    """The command line's login; here the Jupyter server's token."""


def set_diagnostics_collection(
    send_diagnostics: bool = True, verbosity: Any = None, reason: str = ""
) -> None:
    """Do nothing: nothing is collected."""


class Keyvault:
    """Secrets of this session: environment variables, never on disk."""

    def get_secret(self, name: str) -> str | None:
        """Return a secret: the environment variable of that name."""
        return os.environ.get(name)

    def set_secret(self, name: str, value: str) -> None:
        """Keep a secret for this session."""
        os.environ[name] = value

    def get_secrets(self, secrets: list[str]) -> dict[str, str | None]:
        """Return several secrets."""
        return {name: self.get_secret(name) for name in secrets}

    def list_secrets(self) -> list[dict[str, str]]:
        """Return nothing: the names of environment variables are not secrets of a workspace."""
        return []
