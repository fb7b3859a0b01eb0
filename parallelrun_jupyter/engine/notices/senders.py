"""Sends a notice to one receiver: a webhook, a mail server, the desktop."""

from __future__ import annotations

import http.client
import json
import shutil
import smtplib
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from email.message import EmailMessage
from email.utils import formatdate
from typing import IO, Any
from urllib.parse import unquote, urlsplit

SEND_LIMIT_S = 10.0
"""Seconds for the notice to one receiver."""

_ENVIRONMENT_PREFIX = "env:"
_MAIL_PREFIX = "mailto:"
_SMTP = "PARALLELRUN_SMTP_"
_SMTP_PORT = 587
_SMTPS_PORT = 465
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_SLACK_HOST = "hooks.slack.com"
_TEAMS_HOSTS = ("webhook.office.com", "logic.azure.com", "api.powerplatform.com")
_TITLE_CHARS = 100


class NotSentError(Exception):
    """A notice was not sent; the text says why, without a secret."""


def send(receiver: str, notice: Mapping[str, Any], environ: Mapping[str, str]) -> None:
    """Tell one receiver.

    Parameters
    ----------
    receiver
        As in the run's record.
    notice
        JSON values, with ``text``.
    environ
        The environment variables, with the secrets.

    Raises
    ------
    NotSentError
        The receiver could not be told.
    """
    try:
        if receiver == "desktop":
            _show(notice)
        elif receiver.startswith(_MAIL_PREFIX):
            _mail(receiver.removeprefix(_MAIL_PREFIX), notice, environ)
        else:
            _post(_url_of(receiver, environ), notice)
    except urllib.error.HTTPError as error:
        raise NotSentError(f"the server answered {error.code} {error.reason}") from None
    except urllib.error.URLError as error:
        raise NotSentError(f"the server could not be reached ({error.reason})") from None
    except smtplib.SMTPAuthenticationError as error:
        raise NotSentError(f"the mail server refused the password ({error.smtp_code})") from None
    except (smtplib.SMTPException, ssl.SSLError) as error:
        raise NotSentError(
            f"the mail server refused it ({type(error).__name__}: {error})"
        ) from None
    except subprocess.TimeoutExpired:
        raise NotSentError(f"no answer within {SEND_LIMIT_S:.0f} s") from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise NotSentError(f"it could not be reached ({_cause(error)})") from None


def _cause(error: Exception) -> str:
    """Return the cause without the error's own text, which may have a part of a URL: a secret."""
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    is_bad_url = isinstance(error, ValueError | http.client.InvalidURL)
    return "a bad URL" if is_bad_url else "the answer is not that of a web server"


def _url_of(receiver: str, environ: Mapping[str, str]) -> str:
    if not receiver.startswith(_ENVIRONMENT_PREFIX):
        return receiver
    name = receiver.removeprefix(_ENVIRONMENT_PREFIX)
    if not environ.get(name):
        msg = f"the environment variable {name} is not set where the run's driver was started"
        raise NotSentError(msg)
    return environ[name].strip()


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Refuses redirects: they would turn the POST into a GET."""

    def redirect_request(  # noqa: PLR0917 - the signature of urllib
        self, req: Any, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> None:
        """Return no request, which makes the redirect an error."""


def _post(url: str, notice: Mapping[str, Any]) -> None:
    parts = urlsplit(url)
    headers = {"Content-Type": "application/json", "User-Agent": "parallelrun-jupyter"}
    if parts.username is not None:
        import base64

        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        url = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    body = json.dumps(body_for(parts.hostname or "", notice)).encode()
    request = urllib.request.Request(url, body, headers, method="POST")  # noqa: S310 - checked at submit
    opener = urllib.request.build_opener(_NoRedirect)
    with opener.open(request, timeout=SEND_LIMIT_S) as answer:
        answer.read(1 << 10)


def body_for(host: str, notice: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body for a host: that of Slack and of Teams accepts a text, others get it all."""
    text = notice["text"]
    if host == _SLACK_HOST:
        return {"text": text}
    if any(host == one or host.endswith(f".{one}") for one in _TEAMS_HOSTS):
        block = {"type": "TextBlock", "text": text.replace("\n", "\n\n"), "wrap": True}
        card = {"type": "AdaptiveCard", "version": "1.4", "body": [block]}
        kind = "application/vnd.microsoft.card.adaptive"
        return {
            "type": "message",
            "text": text,
            "attachments": [{"contentType": kind, "content": card}],
        }
    return dict(notice)


def _mail(addresses: str, notice: Mapping[str, Any], environ: Mapping[str, str]) -> None:
    server = environ.get(f"{_SMTP}SERVER", "")
    if not server:
        msg = (
            f"the environment variable {_SMTP}SERVER is not set where the run's driver was started"
        )
        raise NotSentError(msg)
    host, _, port_text = server.partition(":")
    port = int(port_text or _SMTP_PORT)
    user = environ.get(f"{_SMTP}USER", "")
    message = EmailMessage()
    # A header must have no line breaks, those of Unicode included.
    message["Subject"] = " ".join(f"{notice['name']}: {notice['state']}".split())
    message["From"] = environ.get(f"{_SMTP}FROM") or user or addresses.split(",", maxsplit=1)[0]
    message["To"] = addresses.replace(",", ", ")
    message["Date"] = formatdate()
    message["Message-ID"] = f"<{notice['id'].replace('/', '.')}@parallelrun-jupyter>"
    message.set_content(notice["text"])
    context = ssl.create_default_context()
    is_tls = port == _SMTPS_PORT
    with (
        smtplib.SMTP_SSL(host, port, timeout=SEND_LIMIT_S, context=context)
        if is_tls
        else smtplib.SMTP(host, port, timeout=SEND_LIMIT_S)
    ) as client:
        client.ehlo()
        if not is_tls and client.has_extn("starttls"):
            client.starttls(context=context)
            is_tls = True
        if user:
            if not is_tls and host not in _LOOPBACK:
                raise NotSentError(f"{host} offers no encryption, and a password would be readable")
            client.login(user, environ.get(f"{_SMTP}PASSWORD", ""))
        client.send_message(message)


def _show(notice: Mapping[str, Any]) -> None:
    title = f"{notice['name']}: {notice['state']}"[:_TITLE_CHARS]
    if sys.platform == "darwin":
        script = (
            "on run words\ndisplay notification (item 2 of words) with title (item 1 of words)\nend"
        )
        command = ["osascript", "-e", script, title, notice["text"]]
    else:
        command = ["notify-send", "--app-name=parallelrun", "--", title, notice["text"]]
    if shutil.which(command[0]) is None:
        raise NotSentError(f"there is no {command[0]} on this machine")
    done = subprocess.run(
        command, check=False, capture_output=True, timeout=SEND_LIMIT_S, stdin=subprocess.DEVNULL
    )
    if done.returncode != 0:
        text = done.stderr.decode("utf-8", "replace").strip()
        raise NotSentError(f"{command[0]} failed: {text[-200:] or done.returncode}")
