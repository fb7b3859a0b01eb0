"""The options of the terminal and of the cell are the settings, by name, type and default."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest

from parallelrun_jupyter import ParallelRunConfig
from parallelrun_jupyter.commands.option_parser import OptionParser
from parallelrun_jupyter.commands.options import cell_options, config_of, run_options
from parallelrun_jupyter.commands.terminal import make_parser
from parallelrun_jupyter.config.run_config import field_help, field_names
from parallelrun_jupyter.errors import ConfigError

WORDS: dict[str, tuple[str, Any]] = {
    "source_directory": ("--source-directory=src", "src"),
    "environment": ("--environment=/opt/python", "/opt/python"),
    "node_count": ("--node-count=2", 2),
    "process_count_per_node": ("--process-count-per-node=3", 3),
    "mini_batch_size": ("--mini-batch-size=4", "4"),
    "mini_batch_rows": ("--mini-batch-rows=5", 5),
    "partition_keys": ("--partition-keys=a --partition-keys=b", ["a", "b"]),
    "output_action": ("--output-action=summary_only", "summary_only"),
    "append_row_file_name": ("--append-row-file-name=rows", "rows"),
    "output_format": ("--output-format=jsonl", "jsonl"),
    "error_threshold": ("--error-threshold=-1", -1),
    "allowed_failed_count": ("--allowed-failed-count=6", 6),
    "allowed_failed_percent": ("--allowed-failed-percent=2.5", 2.5),
    "run_invocation_timeout": ("--run-invocation-timeout=7", 7),
    "task_overhead_timeout": ("--task-overhead-timeout=8", 8),
    "first_task_creation_timeout": ("--first-task-creation-timeout=9", 9),
    "progress_update_timeout": ("--progress-update-timeout=10", 10),
    "run_max_try": ("--run-max-try=11", 11),
    "isolate_failures": ("--no-isolate-failures", False),
    "retry_delay": ("--retry-delay=1.5", 1.5),
    "retry_on": ("--retry-on=OSError --retry-on=a.b.C", ["OSError", "a.b.C"]),
    "no_retry_on": ("--no-retry-on ValueError", ["ValueError"]),
    "concurrency": ("--concurrency=12", 12),
    "rate_limit": ("--rate-limit=300/min", "300/min"),
    "token_limit": ("--token-limit=90000/min", "90000/min"),
    "token_prices": ("--token-prices=input=2.5,output=10", "input=2.5,output=10"),
    "budget": ("--budget=20", "20"),
    "preload": ("--preload=auto", "auto"),
    "logging_level": ("--logging-level=DEBUG", "DEBUG"),
    "environment_variables": ("--environment-variables=A=1", {"A": "1"}),
    "description": ("--description=text", "text"),
    "notify": ("--notify=desktop --notify=env:HOOK", ["desktop", "env:HOOK"]),
}
PARSERS = [run_options("parallelrun run"), cell_options()]


def typed(line: str, parser: OptionParser = PARSERS[0]) -> ParallelRunConfig:
    return config_of(parser.parse_args(line.split()))


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.prog)
@pytest.mark.parametrize("name", sorted(set(field_names()) - {"entry_script", "compute_target"}))
def test_every_setting_has_an_option(name: str, parser: OptionParser) -> None:
    line, value = WORDS[name]
    assert typed(line, parser).to_dict() == {name: value}


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.prog)
def test_without_options_the_settings_are_the_defaults(parser: OptionParser) -> None:
    assert typed("", parser).to_dict() == {}


@pytest.mark.parametrize(
    ("line", "is_isolated"),
    [
        ("", True),
        ("--isolate-failures", True),
        ("--no-isolate-failures", False),
        ("--no-isolate-failures --isolate-failures", True),
    ],
)
def test_a_flag_can_be_turned_on_and_off(line: str, is_isolated: bool) -> None:
    assert typed(line).isolate_failures is is_isolated


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--retry-delay soon", "argument --retry-delay: invalid float value: 'soon'; "),
        ("--retry-delay nan", "retry_delay is nan; expected a number from 0 to 3600."),
        ("--retry-delay=-1", "retry_delay is -1.0; expected a number from 0 to 3600."),
        ("--retry-on a-b", "retry_on is ['a-b']; expected the name of an exception"),
        ("--retry-on A --retry-on A", "retry_on is ['A', 'A']; expected"),
        ("--retry-on A --no-retry-on A", "'A' is in retry_on and in no_retry_on"),
        ("--isolate-failures=no", "ignored explicit argument 'no'"),
        ("--isolate", "unknown option --isolate of 'parallelrun run'."),
        ("--no-isolate-failure", "Did you mean '--no-isolate-failures'?"),
        ("--no-retry", "unknown option --no-retry of 'parallelrun run'."),
    ],
)
def test_a_wrong_option_names_the_value_and_what_is_expected(line: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        typed(line)
    assert message in str(caught.value)


def test_the_help_of_an_option_is_that_of_its_setting() -> None:
    actions = {action.dest: action for action in PARSERS[0]._actions}
    for name in WORDS:
        text = str(actions[name].help) % {}
        assert text.startswith(field_help(name)), name
    assert str(actions["isolate_failures"].help).endswith(" Default: True.")
    assert str(actions["retry_delay"].help).endswith(" Default: 0.5.")


def test_the_help_of_the_terminal_can_be_formatted() -> None:
    [commands] = [
        action
        for action in make_parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    ]
    text = commands.choices["run"].format_help()
    assert "--isolate-failures, --no-isolate-failures" in text
    for option in ("--retry-delay SECONDS", "--retry-on NAME", "--no-retry-on NAME"):
        assert option in text


def test_an_option_written_to_yaml_is_read_back(tmp_path: Path) -> None:
    exclusive = {"mini_batch_rows", "partition_keys"}
    config = typed(" ".join(line for name, (line, _) in WORDS.items() if name not in exclusive))
    config.save_to_yaml(tmp_path / "config.yml")
    again = ParallelRunConfig.load_yaml(tmp_path / "config.yml")
    assert again.to_dict() == {k: v for k, (_, v) in WORDS.items() if k not in exclusive}
