"""Credentials by reference: their names are stored, their values are looked up where they are used.

A reference is JSON: ``{"env": NAME}``, an environment variable; ``{"keyring": [service, user]}``,
an entry of the system's keyring; or ``{"memory": NAME}``, a value that somebody typed. The last is
held by the process it was typed in, goes to the driver in the variable NAME of the driver's own
environment, and is on no disk: a resume in another process asks for it by that name.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from ...errors import ConfigError, MissingExtraError

_held: dict[str, str] = {}
"""What was typed in this process; a module's dictionary, since os.environ would reach every child."""

_owners: dict[str, set[str]] = {}
"""Whose credential each of them is."""

_PLAIN_LABEL = re.compile(r"[a-z0-9_]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class EnvironmentVariable:
    """A credential in an environment variable, wherever the run is driven.

    Parameters
    ----------
    name
        The variable.
    """

    name: str

    def spec(self) -> dict[str, Any]:
        """Return the reference as JSON."""
        return {"env": self.name}


@dataclass(frozen=True, slots=True)
class Keyring:
    """A credential in the system's keyring, read by the ``keyring`` package.

    Parameters
    ----------
    service, username
        As in ``keyring.get_password(service, username)``.
    """

    service: str
    username: str

    def spec(self) -> dict[str, Any]:
        """Return the reference as JSON."""
        return {"keyring": [self.service, self.username]}


@dataclass(frozen=True, slots=True)
class Held:
    """A credential that was typed: held in memory under a name."""

    name: str
    is_json: bool = False

    def spec(self) -> dict[str, Any]:
        """Return the reference as JSON."""
        return {"memory": self.name, **({"json": True} if self.is_json else {})}


Reference: TypeAlias = EnvironmentVariable | Keyring | Held


def hold(label: str, option: str, value: Any, *, owner: str = "") -> Reference:
    """Keep a credential in memory, and return the reference that stands for it.

    Credentials of different owners never share a name, unless they are equal.

    Parameters
    ----------
    label
        What it opens, such as a datastore's name; with the option's name it makes the variable's.
    option
        The option that it is the value of.
    value
        The credential: text, JSON, or a reference, which is returned as it is.
    owner
        What it opens, exactly: a new value of the same owner takes the place of the older one.
        Default: the label.

    Raises
    ------
    ConfigError
        It is an object, which another process cannot be given.
    """
    if isinstance(value, EnvironmentVariable | Keyring | Held):
        return value
    is_json = not isinstance(value, str)
    try:
        text = json.dumps(value) if is_json else value
    except TypeError as error:
        msg = (
            f"{option} is a {type(value).__name__}, which cannot be handed to the process that "
            "drives the run. Give a text, EnvironmentVariable('NAME'), Keyring(service, username), "
            "or for a managed identity or an az login credential='identity'."
        )
        raise ConfigError(msg) from error
    name = _free_name(_variable(label, option), text, owner or label)
    _held[name] = text
    _owners.setdefault(name, set()).add(owner or label)
    return Held(name, is_json=is_json)


def _variable(label: str, option: str) -> str:
    """Return the name of a credential's variable: of two labels never the same one.

    A label in which something has to be replaced gets a mark of what it was.
    """
    mark = ""
    if not _PLAIN_LABEL.fullmatch(label):
        mark = f"_{hashlib.sha256(label.encode()).hexdigest()[:8]}"
    words = re.sub(r"[^A-Za-z0-9_]+", "_", f"{label}{mark}_{option}")
    return f"PARALLELRUN_{words}".upper()


def _free_name(name: str, text: str, owner: str) -> str:
    """Return the name, or the first one numbered after it that holds no other owner's value."""
    number, candidate = 1, name
    while candidate in _held and _held[candidate] != text and _owners.get(candidate) != {owner}:
        number += 1
        candidate = f"{name}_{number}"
    return candidate


def reference_of(spec: Mapping[str, Any]) -> Reference:
    """Return the reference that JSON describes."""
    if "env" in spec:
        return EnvironmentVariable(spec["env"])
    if "keyring" in spec:
        return Keyring(*spec["keyring"])
    return Held(spec["memory"], bool(spec.get("json")))


def look_up(reference: Reference, what: str, environ: Mapping[str, str]) -> Any:
    """Return the value of a credential.

    Parameters
    ----------
    reference
        Where it is.
    what
        What it opens, for the error.
    environ
        The environment variables.

    Raises
    ------
    ConfigError
        It is not there; the message says how to put it there.
    MissingExtraError
        The ``keyring`` package is not installed.
    """
    if isinstance(reference, Keyring):
        return _from_keyring(reference, what)
    name = reference.name
    # What was typed here is newer than what this process was started with, as for the driver.
    value = _held.get(name) if isinstance(reference, Held) else None
    if value is None:
        value = environ.get(name)
    if value is None:
        raise ConfigError(_missing(reference, what))
    return json.loads(value) if isinstance(reference, Held) and reference.is_json else value


def _missing(reference: EnvironmentVariable | Held, what: str) -> str:
    kept = "whose value is not kept on disk" if isinstance(reference, Held) else "which is not set"
    return (
        f"the credential of {what} is in the environment variable {reference.name}, {kept}. "
        f"Set it first: os.environ[{reference.name!r}] = ..."
    )


def _from_keyring(reference: Keyring, what: str) -> str:
    try:
        import keyring
    except ImportError as error:
        msg = (
            f"the credential of {what} is in the keyring, which needs the package keyring: "
            "pip install keyring"
        )
        raise MissingExtraError(msg) from error
    value: str | None = keyring.get_password(reference.service, reference.username)
    if value is None:
        msg = (
            f"the credential of {what} is not in the keyring. Put it there: "
            f"keyring set {reference.service} {reference.username}"
        )
        raise ConfigError(msg)
    return value


def variables_for_driver(
    references: Iterable[tuple[str, Reference]], environ: Mapping[str, str]
) -> dict[str, str]:
    """Return the variables in which a driver is given the credentials that are held in memory.

    Parameters
    ----------
    references
        What each opens, and where it is.
    environ
        The environment variables of this process.

    Raises
    ------
    ConfigError
        One is neither held here nor in the environment.
    """
    found = {}
    for what, reference in references:
        if isinstance(reference, Held):
            value = _held.get(reference.name, environ.get(reference.name))
            if value is None:
                raise ConfigError(_missing(reference, what))
            found[reference.name] = value
        elif isinstance(reference, EnvironmentVariable) and reference.name not in environ:
            raise ConfigError(_missing(reference, what))
    return found
