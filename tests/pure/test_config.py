from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from parallelrun_jupyter import FileDataset, ParallelRunConfig, ParallelRunStep
from parallelrun_jupyter.data.batching import BatchSpec
from parallelrun_jupyter.environment import Environment
from parallelrun_jupyter.errors import ConfigError, InputError


def test_native_defaults() -> None:
    config = ParallelRunConfig(entry_script="score.py")
    assert config.error_threshold == 0
    assert config.output_action == "append_row"
    assert config.node_count is None  # one on this machine, all nodes on a cluster
    assert config.run_invocation_timeout == 60
    assert config.run_max_try == 3
    assert config.logging_level == "INFO"
    assert config.output_file == "parallel_run_step.txt"


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("error_threshold", -2, "error_threshold is -2; expected a whole number from -1."),
        ("error_threshold", 1.5, "error_threshold is 1.5; expected a whole number from -1."),
        ("error_threshold", True, "error_threshold is True; expected a whole number from -1."),
        ("allowed_failed_percent", 101,
         "allowed_failed_percent is 101; expected a number from 0 to 100."),
        ("allowed_failed_count", "3",
         "allowed_failed_count is '3'; expected a whole number from -1."),
        ("run_max_try", 0, "run_max_try is 0; expected a whole number from 1."),
        ("run_invocation_timeout", 0,
         "run_invocation_timeout is 0; expected a whole number from 1."),
        ("process_count_per_node", 0,
         "process_count_per_node is 0; expected a whole number from 1."),
        ("output_action", "apend_row", "output_action is 'apend_row'; expected 'append_row' or "
         "'summary_only'. Did you mean 'append_row'?"),
        ("append_row_file_name", "a/b.txt", "append_row_file_name is 'a/b.txt'; expected a file "
         'name of at least one character, with none of ~ " # % & * : < > ? / \\ { | }.'),
        ("append_row_file_name", "..", None),
        ("append_row_file_name", "", None),
        ("environment_variables", {"A": 1},
         "environment_variables is {'A': 1}; expected a dict of variable names and texts."),
        ("partition_keys", "user", "partition_keys is 'user'; expected a list of at "
         "least one name, without duplicates."),
        ("partition_keys", [], None),
        ("partition_keys", ["user", "user"], None),
        ("preload", "tensorflow", "preload is 'tensorflow'; expected 'auto' (what the script "
         "imports) or a list of module names."),
        ("preload", ["not a name"], None),
        ("isolate_failures", None, "isolate_failures is None; expected True or False."),
        ("isolate_failures", 0, "isolate_failures is 0; expected True or False."),
        ("retry_delay", -1, "retry_delay is -1; expected a number from 0 to 3600."),
        ("retry_delay", 3601, "retry_delay is 3601; expected a number from 0 to 3600."),
        ("retry_delay", float("nan"), "retry_delay is nan; expected a number from 0 to 3600."),
        ("retry_delay", "1", "retry_delay is '1'; expected a number from 0 to 3600."),
        ("mini_batch_size", "1.5MB", None),
        ("compute_target", "cluster", "compute_target is 'cluster'; expected 'local' (this "
         "machine), the default, the address of a Dask scheduler such as 'tcp://10.0.0.5:8786', a "
         "compute of Azure ML such as 'azureml:cpu-cluster', or the name of a compute."),
        ("environment", 5, "environment is 5; expected None (this interpreter), the path of a "
         "python, or an Environment."),
    ],
)  # fmt: skip
def test_a_wrong_value_says_what_is_expected(field: str, value: Any, message: str | None) -> None:
    with pytest.raises(ConfigError) as caught:
        ParallelRunConfig(entry_script="score.py", **{field: value})
    assert isinstance(caught.value, ValueError)
    assert message is None or str(caught.value) == message


def test_a_value_is_checked_when_it_is_assigned_too() -> None:
    config = ParallelRunConfig(entry_script="score.py")
    with pytest.raises(ConfigError, match="run_max_try is 0"):
        config.run_max_try = 0
    assert config.run_max_try == 3


def test_an_unknown_field_names_the_nearest_one() -> None:
    with pytest.raises(ConfigError, match=r"no field 'mini_batchsize'\. Did you mean 'mini_batch_"):
        ParallelRunConfig(mini_batchsize=5)


def test_names_are_read_in_any_case() -> None:
    config = ParallelRunConfig(output_action="SUMMARY_ONLY", logging_level="debug")
    assert (config.output_action, config.logging_level) == ("summary_only", "DEBUG")


def test_size_and_keys_exclude_each_other() -> None:
    with pytest.raises(ConfigError, match="mini_batch_size is 5 and partition_keys is"):
        ParallelRunConfig(mini_batch_size=5, partition_keys=["user"])


def test_yaml_round_trip_keeps_every_field(tmp_path: Path) -> None:
    config = ParallelRunConfig(
        entry_script="score.py",
        source_directory="src",
        environment=Environment("/opt/py37/bin/python"),
        compute_target="local",
        mini_batch_size="5",
        error_threshold=-1,
        allowed_failed_count=3,
        allowed_failed_percent=2.5,
        append_row_file_name="rows.txt",
        environment_variables={"A": "1"},
        description="it's a: test",
        run_max_try=1,
    )
    config.save_to_yaml(tmp_path / "config.yml")
    again = ParallelRunConfig.load_yaml(tmp_path / "config.yml")
    assert again.to_dict() == config.to_dict()
    assert again.allowed_failed_percent == 2.5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "could not be read as YAML"),
        ("a: 1", "has no mapping under the key 'parallel_run_config'"),
        ("parallel_run_config: {run_max_try: 0}", "run_max_try is 0; expected"),
    ],
)
def test_a_bad_yaml_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "config.yml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        ParallelRunConfig.load_yaml(path)
    assert str(path) in str(caught.value)


def test_a_missing_yaml_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yml"):
        ParallelRunConfig.load_yaml(tmp_path / "none.yml")


def test_a_step_counts_files() -> None:
    config = ParallelRunConfig(entry_script="score.py")
    assert ParallelRunStep("a", config, "x/*.png").cut == BatchSpec(10)
    config.mini_batch_size = "1KB"
    with pytest.raises(ConfigError, match="'1KB', a size in bytes; file inputs are counted in fi"):
        _ = ParallelRunStep("a", config, "x/*.png").cut


def test_a_step_refuses_what_it_cannot_use() -> None:
    config = ParallelRunConfig(entry_script="score.py")
    with pytest.raises(InputError, match="inputs is empty"):
        ParallelRunStep("a", config, [])
    with pytest.raises(
        InputError, match="inputs contains a value of the type int; expected a FileDataset"
    ):
        ParallelRunStep("a", config, [3])
    with pytest.raises(ConfigError, match="expected a ParallelRunConfig"):
        ParallelRunStep("a", "config", "x")
    with pytest.raises(
        ConfigError,
        match="output is 'https://b/o', which cannot be written to: a web server does not",
    ):
        ParallelRunStep("a", config, "x", output="https://b/o")
    keyed = ParallelRunConfig(partition_keys=["user"])
    with pytest.raises(ConfigError, match=r"FileDataset\('.*x'\) has no partition keys. Give it a"):
        ParallelRunStep("a", keyed, "x")
    songs = FileDataset("x", partition_format="{user}/{season}.wav")
    assert ParallelRunStep("a", keyed, songs).cut.keys == ("user",)
    with pytest.raises(ConfigError, match="has no key 'user'. Its keys are: day"):
        ParallelRunStep("a", keyed, [songs, FileDataset("x", partition_format="{day:yyyy}/*")])


def test_a_dataset_among_the_arguments_is_its_path(tmp_path: Path) -> None:
    config = ParallelRunConfig(entry_script="score.py")
    step = ParallelRunStep("a", config, "x", arguments=["--side", FileDataset(tmp_path), 3])
    assert step.arguments == ["--side", str(tmp_path), "3"]


def test_environments_are_resolved(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'/no/python', which is not an executable file"):
        Environment("/no/python").resolve()
    fake = tmp_path / "python"
    fake.write_text("#!/bin/sh\necho 2 7\n")
    fake.chmod(0o755)
    with pytest.raises(ConfigError, match=r"Python 2\.7; workers need Python 3\.7 or newer"):
        Environment(str(fake)).resolve()
    for answer in ("echo hello", "exit 0"):
        fake.write_text(f"#!/bin/sh\n{answer}\n")
        with pytest.raises(ConfigError, match="did not answer as a Python interpreter"):
            Environment(str(fake)).resolve()


def test_two_side_inputs_of_one_name_are_refused(tmp_path: Path) -> None:
    config = ParallelRunConfig(entry_script="score.py")
    first, second = (FileDataset(tmp_path / name).as_named_input("labels") for name in "ab")
    with pytest.raises(ConfigError, match="two side inputs have the name 'labels'"):
        ParallelRunStep("a", config, "x/*.png", side_inputs=[first, second])
    with pytest.raises(ConfigError, match="two side inputs have the name 'labels'"):
        ParallelRunStep("a", config, "x/*.png", arguments=[first, second])
    ParallelRunStep("a", config, "x/*.png", side_inputs=[first], arguments=[first, "--n", first])
    for name in ("", "a=b", None):
        with pytest.raises(ConfigError, match="the name of an input is"):
            FileDataset(tmp_path).as_named_input(name)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("ConnectionError", ["ConnectionError"]),
        (["requests.exceptions.Timeout", "OSError"], ["requests.exceptions.Timeout", "OSError"]),
        (("Überlauf",), ["Überlauf"]),
    ],
)
@pytest.mark.parametrize("field", ["retry_on", "no_retry_on"])
def test_names_of_exceptions_are_a_text_or_a_list(field: str, value: Any, names: list[str]) -> None:
    config = ParallelRunConfig(**{field: value})
    assert getattr(config, field) == names
    assert config.to_dict() == {field: names}


@pytest.mark.parametrize("field", ["retry_on", "no_retry_on"])
@pytest.mark.parametrize(
    "value",
    ["", "Connection Error", ".OSError", "OSError.", "a..b", "1st", [], [""], ["OSError"] * 2,
     ["OSError", 3], [["OSError"]], {"OSError": 1}, ConnectionError, [ConnectionError], 3, True],
)  # fmt: skip
def test_what_is_no_name_of_an_exception_is_refused(field: str, value: Any) -> None:
    message = (
        f"{field} is {value!r}; expected the name of an exception as text, such as "
        "'ConnectionError' or 'socket.gaierror', or a list of such names, without duplicates."
    )
    with pytest.raises(ConfigError) as caught:
        ParallelRunConfig(**{field: value})
    assert str(caught.value) == message


def test_an_exception_is_retried_or_final_but_not_both() -> None:
    message = "^'OSError' is in retry_on and in no_retry_on; remove it from one of them: "
    with pytest.raises(ConfigError, match=message):
        ParallelRunConfig(retry_on=["ConnectionError", "OSError"], no_retry_on="OSError")
    config = ParallelRunConfig(retry_on="OSError", no_retry_on="FileNotFoundError")
    config.no_retry_on = ["OSError"]
    with pytest.raises(ConfigError, match=message):
        config.check()


def test_settings_of_retries_survive_yaml_and_keep_their_defaults_out_of_it(tmp_path: Path) -> None:
    config = ParallelRunConfig(
        isolate_failures=False,
        retry_delay=0,
        retry_on=("ConnectionError", "socket.gaierror"),
        no_retry_on="ConnectionRefusedError",
    )
    config.save_to_yaml(tmp_path / "config.yml")
    again = ParallelRunConfig.load_yaml(tmp_path / "config.yml")
    assert again.to_dict() == {
        "isolate_failures": False,
        "retry_delay": 0,
        "retry_on": ["ConnectionError", "socket.gaierror"],
        "no_retry_on": ["ConnectionRefusedError"],
    }
    assert again.to_dict() == config.to_dict()
    assert ParallelRunConfig(isolate_failures=True, retry_delay=0.5).to_dict() == {}
    with_keys = ParallelRunConfig(isolate_failures=True, partition_keys=["user"])
    assert with_keys.to_dict() == {"partition_keys": ["user"]}
    (tmp_path / "typed.yml").write_text("parallel_run_config:\n  retry_on: ConnectionError\n")
    typed = ParallelRunConfig.load_yaml(tmp_path / "typed.yml")
    assert typed.retry_on == ["ConnectionError"]
    (tmp_path / "wrong.yml").write_text("parallel_run_config: {isolate_failures: 'no'}\n")
    with pytest.raises(ConfigError, match="isolate_failures is 'no'; expected True or False"):
        ParallelRunConfig.load_yaml(tmp_path / "wrong.yml")
