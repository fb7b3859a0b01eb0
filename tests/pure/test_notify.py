"""Who is told of a run's end: values, refusals, and the texts that are sent."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from parallelrun_jupyter import ParallelRunConfig
from parallelrun_jupyter.commands.options import config_of, run_options
from parallelrun_jupyter.config.notify_setting import check_notify
from parallelrun_jupyter.engine.notices.senders import NotSentError, body_for, send
from parallelrun_jupyter.errors import ConfigError
from parallelrun_jupyter.runs.journal import events as ev
from parallelrun_jupyter.runs.journal.state import RunState
from parallelrun_jupyter.runs.notices import Notice, notice_of, read_notice
from tests import journals
from tests.receivers import MailServer

EXPECTED = (
    "expected 'desktop', 'mailto:NAME@HOST', 'env:VARIABLE' (an environment variable with the URL of "
    "a webhook), or a URL such as 'https://host/hook'"
)


@pytest.mark.parametrize(
    "value",
    [
        "desktop",
        "mailto:a@example.org",
        "mailto:a@example.org,b@example.org",
        "env:HOOK",
        "https://example.org/hooks/parallel-runs?channel=night",
        "http://127.0.0.1:8080/hook",
    ],
)
def test_a_receiver_is_kept_as_it_was_given(value: str) -> None:
    assert ParallelRunConfig(notify=value).notify == [value]
    assert ParallelRunConfig(notify=[value, value, "desktop"]).notify in (
        [value, "desktop"],
        ["desktop"],
    )


def test_no_receiver_is_none() -> None:
    assert ParallelRunConfig().notify is None
    assert ParallelRunConfig(notify=[]).notify is None
    assert ParallelRunConfig(notify=None).notify is None


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("dektop", "'dektop'"),
        ("mailto:nowhere", "'mailto:nowhe'..."),
        ("mailto:", "'mailto:'"),
        ("env:", "'env:'"),
        ("env:A-B", "'env:A-B'"),
        ("ftp://example.org/a", "'ftp://exampl'..."),
        ("https://", "'https://'"),
        ("", "''"),
    ],
)
def test_other_texts_are_refused(value: str, shown: str) -> None:
    with pytest.raises(ConfigError) as refused:
        ParallelRunConfig(notify=value)
    assert str(refused.value) == f"notify is {shown}; {EXPECTED}."


def test_other_types_are_refused() -> None:
    with pytest.raises(ConfigError) as refused:
        ParallelRunConfig(notify=7)
    assert str(refused.value) == f"notify is a int; {EXPECTED}, or a list of these."


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.slack.com/services/T0/B0/x",
        "https://a.webhook.office.com/webhookb2/x",
        "https://prod-1.westeurope.logic.azure.com/workflows/x",
        "https://discord.com/api/webhooks/1/x",
        "https://me:hidden-word@example.org/hook",
        "https://example.org/hook?token=hidden-word",
        "https://example.org/hook?sig=hidden-word",
        "https://example.org/hook?access_key=hidden-word",
        "https://example.org/hook/abcdEFGH8901ijklMNOP2345",
    ],
)
def test_a_url_with_a_secret_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(ConfigError) as refused:
        ParallelRunConfig(notify=url)
    text = str(refused.value)
    host = url.split("/")[2].rpartition("@")[2]
    assert text == (
        f"notify has a URL of {host} that looks like a secret: it would be stored on disk. Set an "
        "environment variable to it, and give its name: notify='env:NAME'."
    )


def test_variables_are_checked_before_a_run_starts() -> None:
    check_notify(["env:HOOK", "desktop"], {"HOOK": "https://hooks.slack.com/services/x"})
    with pytest.raises(ConfigError) as no_url:
        check_notify(["env:HOOK"], {"HOOK": "hidden-word"})
    assert str(no_url.value) == (
        "notify is 'env:HOOK', but the environment variable HOOK does not contain a URL; expected one "
        "such as https://host/hook."
    )
    with pytest.raises(ConfigError) as no_server:
        check_notify(["mailto:a@example.org"], {})
    assert str(no_server.value) == (
        "notify is 'mailto:a@example.org', but the environment variable PARALLELRUN_SMTP_SERVER is not "
        "set. Set it to the mail server, such as smtp.example.org:587."
    )


def test_the_option_is_repeatable() -> None:
    options = run_options("parallelrun run").parse_args(
        ["--notify", "desktop", "--notify", "env:A"]
    )
    assert config_of(options).notify == ["desktop", "env:A"]


def notice(*events: ev.Event, name: str = "score on digits") -> dict[str, Any]:
    state = RunState()
    state.apply_all(events)
    return notice_of(journals.record("r", name=name), state).content


def test_a_notice_tells_counts_and_the_first_failure() -> None:
    told = notice(
        ev.RunStarted(0, 1, 1, "h"),
        ev.PlanFinished(5, 2, 8),
        ev.AttemptSucceeded(0, 1, "n0w0", 20, 9, 4, 4, 4, 0, 0, 1, 0),
        ev.AttemptFailed(1, 1, "n0w0", 30, 9, 4, True, "exception", "ValueError", "bad", "ValueError at a.py:3 in run", ""),
        ev.RunFinished(12_340, "Failed", "4 items failed", "", 0),
    )  # fmt: skip
    assert told["text"] == (
        "score on digits: Failed after 12 s, 4 of 8 items succeeded, 4 failed\n4 items failed\n"
        "First failure: ValueError at a.py:3 in run: bad\nRun r"
    )
    assert told["id"] == "r/1"
    assert told["elapsed_s"] == 12.34
    assert (told["mini_batches"], told["succeeded"], told["failed"]) == (2, 1, 1)
    assert told["first_failure"] == {
        "group": "ValueError at a.py:3 in run",
        "error": "ValueError",
        "message": "bad",
        "attempts": 1,
    }


def test_the_pause_before_a_resume_is_no_time_of_the_run() -> None:
    told = notice(
        ev.RunStarted(0, 1, 1, "h"),
        ev.RunFinished(10_000, "Failed", "", "", 0),
        ev.RunStarted(86_400_000, 1, 1, "h"),
        ev.RunFinished(86_405_000, "Completed", "", "", 0),
    )
    assert told["elapsed_s"] == 15
    assert "Completed after 15 s" in told["text"]


def test_a_note_is_kept_and_a_receiver_without_an_answer_is_a_warning(tmp_path: Path) -> None:
    notice = Notice({"text": "a"}, ["desktop", "env:HOOK", "env:OTHER"])
    notice.told = {"desktop": "", "env:HOOK": "no answer within 10 s"}
    path = tmp_path / "1.json"
    notice.write(path)
    kept = read_notice(path)
    assert kept is not None
    assert kept == notice
    assert kept.untold == ["env:OTHER"]
    assert kept.warnings == [
        "env:HOOK was not notified that the run has ended: no answer within 10 s"
    ]
    path.write_text("{")
    assert read_notice(path) is None


def test_slack_gets_a_text_and_teams_a_card() -> None:
    told = {"text": "a\nb", "run_id": "r"}
    assert body_for("hooks.slack.com", told) == {"text": "a\nb"}
    assert body_for("example.org", told) == told
    card = body_for("x.webhook.office.com", told)
    assert card["type"] == "message"
    [attachment] = card["attachments"]
    assert attachment["content"]["body"] == [{"type": "TextBlock", "text": "a\n\nb", "wrap": True}]


def test_a_missing_variable_is_an_error_without_its_value() -> None:
    with pytest.raises(
        NotSentError, match="the environment variable HOOK is not set where the run's"
    ):
        send("env:HOOK", {"text": ""}, {})
    for url in ("https://[hidden", "hidden words"):
        with pytest.raises(NotSentError) as bad:
            send("env:HOOK", {"text": ""}, {"HOOK": url})
        assert "hidden" not in str(bad.value)


@pytest.mark.parametrize("secret", ["/services/se cret", "/services/se\ncret", ":secret/"])
def test_a_url_that_cannot_be_used_is_an_error_without_it(secret: str) -> None:
    with pytest.raises(NotSentError) as caught:
        send("env:HOOK", {"text": "x"}, {"HOOK": f"http://127.0.0.1{secret}"})
    assert str(caught.value) == "it could not be reached (a bad URL)"


def test_an_answer_that_is_none_of_a_web_server_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            connection, _ = server.accept()
            connection.recv(4096)
            connection.sendall(b"220 mail.example.org ESMTP\r\n")
            connection.close()

        thread = threading.Thread(target=greet)
        thread.start()
        with pytest.raises(NotSentError, match=r"\(the answer is not that of a web server\)$"):
            send(f"http://127.0.0.1:{server.getsockname()[1]}/hook", {"text": "x"}, {})
        thread.join()


def test_a_mail_tells_of_any_name_and_of_a_file_whose_name_is_not_utf8() -> None:
    told = notice(
        ev.RunStarted(0, 1, 1, "h"),
        ev.PlanFinished(5, 1, 4),
        ev.AttemptFailed(0, 1, "n0w0", 30, 9, 4, True, "exception", "ValueError", "caf\udce9.png", "ValueError at a.py:3", ""),
        ev.RunFinished(12_340, "Failed", "caf\udce9.png", "", 0),
        name="night\r\u2028run \udce9",
    )  # fmt: skip
    server = MailServer("me", "sesame")
    variables = {"SERVER": server.address, "USER": "me", "PASSWORD": "sesame"}
    try:
        environ = {f"PARALLELRUN_SMTP_{name}": value for name, value in variables.items()}
        send("mailto:a@example.org", told, environ)
        [message] = server.messages
    finally:
        server.close()
    assert message["Subject"] == "night run \\udce9: Failed"
    assert "First failure: ValueError at a.py:3: caf\\udce9.png" in message.get_content()
    json.dumps(told, ensure_ascii=False).encode()  # strict receivers refuse lone surrogates
