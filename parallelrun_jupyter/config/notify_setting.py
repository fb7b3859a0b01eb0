"""Where a run reports its end: the setting ``notify``, checked without sending anything."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from ..errors import ConfigError
from ..formatting import looks_secret
from .dask_compute import ENVIRONMENT_PREFIX
from .settings import Setting

DESKTOP = "desktop"
MAIL_PREFIX = "mailto:"
SMTP_SERVER = "PARALLELRUN_SMTP_SERVER"

_EXPECTED = (
    "'desktop', 'mailto:NAME@HOST', 'env:VARIABLE' (an environment variable with the URL of a "
    "webhook), or a URL such as 'https://host/hook'"
)
_ADDRESS = re.compile(r"[^@\s,;]+@[^@\s,;]+")
_LONG_TOKEN = re.compile(r"(?=[^/]*\d)(?=[^/]*[A-Za-z])[A-Za-z0-9_\-]{20,}")
_SECRET_HOSTS = (
    "hooks.slack.com",
    "webhook.office.com",
    "logic.azure.com",
    "api.powerplatform.com",
    "discord.com",
    "chat.googleapis.com",
)
"""Hosts whose webhooks need no further credential: the URL is enough to post."""


class NotifySetting(Setting):
    """Who is told that a run has ended: one receiver, or a list of them."""

    expected = _EXPECTED

    def accepts(self, value: Any) -> bool:
        """Return whether a value is valid."""
        checked_receivers(value)
        return True

    def validate(self, obj: Any, value: Any) -> Any:  # noqa: ARG002 - traitlets' signature
        """Return the checked value."""
        return None if value is None else checked_receivers(value) or None


def checked_receivers(value: Any) -> list[str]:
    """Return the receivers of a setting, each once.

    Raises
    ------
    ConfigError
        One of them is not a receiver, or is a URL that contains a secret.
    """
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        kind = type(value).__name__
        raise ConfigError(f"notify is a {kind}; expected {_EXPECTED}, or a list of these.")
    return list(dict.fromkeys(map(_checked_receiver, texts)))


def _checked_receiver(text: str) -> str:
    """Return a receiver, as it is stored in the run's record.

    Raises
    ------
    ConfigError
        It is not a receiver, or is a URL that contains a secret: the record is on disk, and so is a
        notebook.
    """
    text = text.strip()
    if not text.startswith(MAIL_PREFIX) and "," in text:
        msg = (
            f"notify is {text[:12]!r}{'...' * (len(text) > 12)} with a comma; give each receiver apart: a list, "
            "or the option --notify once for each."
        )
        raise ConfigError(msg)
    if text == DESKTOP:
        return text
    if text.startswith(MAIL_PREFIX):
        addresses = text.removeprefix(MAIL_PREFIX).split(",")
        if all(_ADDRESS.fullmatch(address) for address in addresses):
            return text
    elif text.startswith(ENVIRONMENT_PREFIX):
        if text.removeprefix(ENVIRONMENT_PREFIX).isidentifier():
            return text
    elif is_webhook(text):
        _check_no_secret(text)
        return text
    # Not the whole text: it may be a URL with a secret, misspelled.
    raise ConfigError(f"notify is {text[:12]!r}{'...' * (len(text) > 12)}; expected {_EXPECTED}.")


def is_webhook(text: str) -> bool:
    """Return whether a text is the URL of a web server."""
    try:
        parts = urlsplit(text)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # not a port, or half an IPv6 address
        return False


def _check_no_secret(url: str) -> None:
    parts = urlsplit(url)
    host = parts.hostname or ""
    is_known = any(host == known or host.endswith(f".{known}") for known in _SECRET_HOSTS)
    words = [*parts.path.split("/"), *(value for _, value in parse_qsl(parts.query))]
    is_secret = (
        is_known
        or parts.password is not None
        or any(looks_secret(name, "") or name == "sig" for name, _ in parse_qsl(parts.query))
        or any(map(_LONG_TOKEN.fullmatch, words))
    )
    if is_secret:
        msg = (
            f"notify has a URL of {host} that looks like a secret: it would be stored on disk. Set an "
            f"environment variable to it, and give its name: notify='{ENVIRONMENT_PREFIX}NAME'."
        )
        raise ConfigError(msg)


def check_notify(receivers: list[str], environ: Mapping[str, str] = os.environ) -> None:
    """Check, at submit, that the environment variables of receivers are set.

    Raises
    ------
    ConfigError
        A variable is missing, or contains no URL.
    """
    for receiver in receivers:
        if receiver.startswith(ENVIRONMENT_PREFIX):
            name = receiver.removeprefix(ENVIRONMENT_PREFIX)
            if name not in environ:
                msg = (
                    f"notify is {receiver!r}, but the environment variable {name} is not set. Set it to "
                    f"the URL of the webhook first: os.environ[{name!r}] = ..."
                )
                raise ConfigError(msg)
            if not is_webhook(environ[name].strip()):
                msg = (
                    f"notify is {receiver!r}, but the environment variable {name} does not contain a "
                    "URL; expected one such as https://host/hook."
                )
                raise ConfigError(msg)
        elif receiver.startswith(MAIL_PREFIX) and not environ.get(SMTP_SERVER):
            msg = (
                f"notify is {receiver!r}, but the environment variable {SMTP_SERVER} is not set. Set it "
                "to the mail server, such as smtp.example.org:587."
            )
            raise ConfigError(msg)
