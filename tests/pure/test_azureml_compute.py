"""Azure ML as a compute: accepted values, refused ones with the reason, and settings that a job cannot express."""

from __future__ import annotations

import importlib.util
import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from parallelrun_jupyter import (
    AzureMLCompute,
    Environment,
    ParallelRunConfig,
    name_compute,
    submit,
)
from parallelrun_jupyter.backends.azureml.workspace import DriverCredential
from parallelrun_jupyter.config.azureml_compute import TOKENS_VARIABLE
from parallelrun_jupyter.config.compute import as_compute, named_compute, node_counts
from parallelrun_jupyter.errors import ConfigError, InputError, MissingExtraError

IDS = {"subscription_id": "s-1", "resource_group": "rg", "workspace_name": "ws"}
SCRIPT = "def run(paths):\n    return paths\n"


class Credential:
    """Gives a token for each scope."""

    def get_token(self, *scopes: str) -> Any:
        return SimpleNamespace(token=f"token for {scopes[0]}", expires_on=1_900_000_000.5)


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder below one with a config.json; it is the current directory."""
    (tmp_path / "config.json").write_text(json.dumps({**IDS, "other": 1}))
    folder = tmp_path / "notebooks" / "deep"
    folder.mkdir(parents=True)
    (folder / "score.py").write_text(SCRIPT)
    (folder / "a.txt").write_text("a")
    monkeypatch.chdir(folder)
    return folder


def test_a_name_stands_for_a_compute_of_the_workspace_around(workspace: Path) -> None:
    compute = as_compute("azureml:gpu-cluster")
    assert isinstance(compute, AzureMLCompute)
    assert compute.backend == "azureml"
    assert compute.spec() == {"workspace": IDS, "compute": "gpu-cluster"}
    assert compute.setting() == "azureml:gpu-cluster"
    assert AzureMLCompute.of_spec(compute.spec()).spec() == compute.spec()
    assert node_counts(compute, None, None, 8) == (1, 0)
    assert node_counts(AzureMLCompute(instance_count=4), None, 3, 8) == (4, 3)
    assert node_counts(AzureMLCompute(instance_count=4), 2, None, 8) == (2, 0)


def test_the_workspace_in_every_form(workspace: Path, tmp_path: Path) -> None:
    client = SimpleNamespace(
        subscription_id="s-1",
        resource_group_name="rg",
        workspace_name="ws",
        _credential=Credential(),
    )
    forms = [
        AzureMLCompute(IDS), AzureMLCompute(client),
        AzureMLCompute(subscription_id="s-1", resource_group="rg", workspace_name="ws"),
        AzureMLCompute(tmp_path / "config.json"), AzureMLCompute(str(tmp_path)), AzureMLCompute(),
    ]  # fmt: skip
    assert [form.workspace for form in forms] == [IDS] * 6
    assert forms[1].credential is client._credential
    assert forms[0].setting() == {"workspace": IDS, "compute": "cpu-cluster"}


def test_yaml_and_named_computes_keep_all_of_it(workspace: Path, tmp_path: Path) -> None:
    compute = AzureMLCompute(
        IDS, compute="serverless", instance_count=3, environment="azureml:mine@latest",
        client_options={"cloud": "AzureChinaCloud"},
    )  # fmt: skip
    config = ParallelRunConfig(entry_script="score.py", compute_target=compute)
    config.save_to_yaml(tmp_path / "c.yml")
    assert as_compute(ParallelRunConfig.load_yaml(tmp_path / "c.yml").compute_target) == compute
    name_compute("big", compute)
    assert named_compute("big") == compute
    assert as_compute("big") == compute
    name_compute("small", "azureml:cpu-cluster")
    assert named_compute("small") == AzureMLCompute(IDS)


def test_tokens_go_to_the_driver_and_nowhere_else(workspace: Path) -> None:
    compute = AzureMLCompute(IDS, credential=Credential())
    tokens = json.loads(compute.secrets()[TOKENS_VARIABLE])
    assert tokens == {
        scope: {"token": f"token for {scope}", "expires_on": 1_900_000_000}
        for scope in (
            "https://management.azure.com/.default",
            "https://ml.azure.com/.default",
            "https://storage.azure.com/.default",
        )
    }
    assert "token" not in json.dumps(compute.spec())
    assert AzureMLCompute(IDS).secrets() == {}
    with pytest.raises(
        ConfigError, match="compute 'mine' contains a credential, which is not stored"
    ):
        name_compute("mine", compute)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AzureMLCompute({"subscription_id": "s"}),
         "workspace has no resource_group and no workspace_name; expected {"),
        (lambda: AzureMLCompute(subscription_id="s", resource_group="r"),
         "AzureMLCompute has no workspace_name; expected {"),
        (lambda: AzureMLCompute(IDS, workspace_name="w"),
         "the workspace is given twice, by workspace= and by workspace_name; expected one of them."),
        (lambda: AzureMLCompute(5), "workspace is 5; expected the path of a config.json, a dict {"),
        (lambda: AzureMLCompute("/no/config.json"),
         "'/no/config.json' could not be read as the config.json of a workspace ("),
        (lambda: AzureMLCompute(IDS, compute="a/b"),
         "compute is 'a/b'; expected the name of a compute of the workspace, such as 'cpu-cluster'."),
        (lambda: AzureMLCompute(IDS, instance_count=0),
         "instance_count is 0; expected a whole number of nodes, from 1."),
        (lambda: AzureMLCompute(IDS, environment="mine"),
         "environment is 'mine'; expected 'azureml:NAME@latest', 'azureml:NAME:1', 'azureml://registries/...'"),
        (lambda: AzureMLCompute(IDS, environment={"imag": "x"}),
         "environment has no key 'imag'. Did you mean 'image'? The keys are: image, conda_file."),
        (lambda: AzureMLCompute(IDS, environment={"conda_file": "c.yml"}),
         "environment has the image None; expected a text such as 'mcr.microsoft.com/azureml/openmpi"),
        (lambda: AzureMLCompute(IDS, client_options={"api_token": "hush"}),
         "client_options has a 'api_token', whose value would be stored on disk. Give a credential object"),
        (lambda: AzureMLCompute(IDS, client_options={"a": {1}}),
         "client_options is stored as JSON, which cannot represent it ("),
        (lambda: AzureMLCompute(IDS, client_options={"headers": {"Authorization": "Bearer hush"}}),
         "client_options has a 'Authorization', whose value would be stored on disk. Give a credential object"),
        (lambda: AzureMLCompute(IDS, client_options={"policies": [{"sas_token": "hush"}]}),
         "client_options has a 'sas_token', whose value would be stored on disk."),
        (lambda: AzureMLCompute(IDS, client_options={"proxies": {"https": "http://me:hush@proxy:80"}}),
         "client_options has the 'https' of a proxy with a password, which would be stored on disk. Set the "
         "variable HTTPS_PROXY in its place."),
        (lambda: AzureMLCompute(IDS, credential=5).secrets(),
         "credential is 5; expected a credential of azure-identity, such as InteractiveBrowserCredential()."),
        (lambda: as_compute({"compute": "c", "instances": 2}),
         "a compute of Azure ML has no key 'instances'."),
        (lambda: name_compute("azureml:x", "azureml:x"), "a compute cannot be named 'azureml:x'; give a name"),
    ],
)  # fmt: skip
def test_wrong_values_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make()
    assert message in str(caught.value)


def started(workspace: Path, compute: Any = "azureml:cpu-cluster", **settings: Any) -> None:
    arguments = settings.pop("arguments", ())
    inputs, output = settings.pop("inputs", "*.txt"), settings.pop("output", None)
    config = ParallelRunConfig(entry_script="score.py", **settings)
    submit(config, inputs=inputs, output=output, arguments=arguments, compute=compute)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"concurrency": 4},
         "concurrency is 4, which a job of Azure ML cannot express: Azure calls run() once at a time in each "
         "process. Leave concurrency out, write a plain def run(mini_batch) in place of an async one, and set "
         "process_count_per_node for calls in parallel. Or run it on another compute, such as compute='local'."),
        ({"rate_limit": "300/min"},
         "rate_limit is '300/min', which a job of Azure ML cannot express: limits of calls belong to the whole "
         "run, and its nodes do not know each other. Leave rate_limit out."),
        ({"token_limit": "90000/min"}, "token_limit is '90000/min', which a job of Azure ML cannot express"),
        ({"budget": "20 USD"}, "budget is '20 USD', which a job of Azure ML cannot express"),
        ({"retry_delay": 3},
         "retry_delay is 3, which a job of Azure ML cannot express: Azure tries a mini-batch again at a time "
         "of its own. Leave retry_delay out."),
        ({"run_invocation_timeout": 300_000},
         "run_invocation_timeout is 300000, which a job of Azure ML cannot express: its longest time is 259200 "
         "seconds. Set run_invocation_timeout to 259200 or less."),
        ({"environment_variables": {"API_KEY": "hush"}},
         "environment_variables['API_KEY'] is '...', which a job of Azure ML cannot express: it looks like a "
         "secret, and every reader of the workspace can see the variables of its jobs. Put the secret in the "
         "workspace's Key Vault"),
        ({"environment_variables": {"MINE": "a ${{inputs.plan}}"}},
         "environment_variables['MINE'] is 'a ${{inputs.plan}}', which a job of Azure ML cannot express: a job "
         "replaces ${{ }} by a value of its own. Write the text to a file, and give that as a side input"),
        ({"arguments": ["--tables", "/etc"]},
         "an argument is '/etc', which a job of Azure ML cannot express: the path is one of this "
         "machine, and does not exist on its nodes. Give the folder as a dataset, "
         "arguments=[FileDataset('/etc')], which is uploaded."),
        ({"arguments": ["--table=/etc/hostname"]},
         "an argument is '--table=/etc/hostname', which a job of Azure ML cannot express: the path is one of "
         "this machine, and does not exist on its nodes. Give the option and its path as two arguments, "
         "'--table' and '/etc/hostname'."),
        ({"arguments": ["--api-key", "/etc/hostname"]},
         "an argument is '/etc/hostname', which a job of Azure ML cannot express: it looks like a file with a "
         "secret, and every reader of the workspace can see its files. Put the secret in the workspace's Key "
         "Vault"),
    ],
)  # fmt: skip
def test_settings_that_a_job_cannot_express_are_refused_before_anything_is_written(
    workspace: Path, home: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        started(workspace, **settings)
    assert message in str(caught.value)
    assert "hush" not in str(caught.value)
    assert not (home / "runs").exists()


def test_an_interpreter_and_an_async_script_are_refused(workspace: Path, home: Path) -> None:
    import sys

    with pytest.raises(
        ConfigError, match="an interpreter of this machine is not on its nodes. Give the"
    ):
        started(workspace, environment=Environment(python=sys.executable))
    (workspace / "score.py").write_text("async def run(item):\n    return item\n")
    with pytest.raises(
        ConfigError, match="concurrency is 50, which a job of Azure ML cannot express"
    ):
        started(workspace)
    assert not (home / "runs").exists()


def test_stores_that_azure_does_not_mount_are_refused(workspace: Path) -> None:
    from parallelrun_jupyter.backends.azureml.job_inputs import job_input

    spec = {"paths": ["s3://bucket/x"], "storage": {"protocol": "s3", "options": {}}}
    with pytest.raises(InputError) as caught:
        job_input("input_0", spec)
    assert str(caught.value) == (
        "the input 's3://bucket/x' is in a store that Azure ML does not mount; expected files of this "
        "machine, or of Azure's blob storage (az://, abfss://, wasbs://). Copy them there."
    )


def test_without_azures_client_a_submit_names_the_command(
    workspace: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec

    def without(name: str, *others: Any) -> Any:
        if name.startswith("azure.ai"):
            raise ModuleNotFoundError(name)
        return real(name, *others)

    monkeypatch.setattr(importlib.util, "find_spec", without)
    with pytest.raises(MissingExtraError) as caught:
        started(workspace)
    assert str(caught.value) == (
        "running on Azure ML needs the package 'azure-ai-ml', which is not installed here: "
        "pip install 'parallelrun-jupyter[azureml-jobs]'"
    )
    assert not (home / "runs").exists()


def test_without_a_workspace_a_submit_says_how_to_name_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(AzureMLCompute, "workspace", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda *_: object())
    with pytest.raises(ConfigError) as caught:
        AzureMLCompute().check()
    assert (
        "the workspace of the compute 'cpu-cluster' is not known: there is no config.json in"
        in str(caught.value)
    )


def test_a_datastore_of_azure_is_an_input_by_its_url() -> None:
    from parallelrun_jupyter.backends.azureml.job_inputs import job_input
    from parallelrun_jupyter.data.datasets.file_dataset import FileDataset

    options = {"account_name": "acct", "anon": True}
    spec = FileDataset("az://public/mnist/digits/*.png", storage_options=options).spec()
    found = job_input("input_0", spec)
    assert found.section() == {
        "type": "uri_folder",
        "path": "wasbs://public@acct.blob.core.windows.net/mnist",
        "mode": "ro_mount",
    }
    assert found.relative("az://public/mnist/digits/7.png") == "digits/7.png"
    whole = job_input("input_1", FileDataset("az://public", storage_options=options).spec())
    assert whole.url == "wasbs://public@acct.blob.core.windows.net/"
    assert whole.relative("az://public/a/b.txt") == "a/b.txt"


def test_tokens_of_the_default_credential_are_kept_until_they_are_old(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    credential, asked = DriverCredential({}), list[str]()
    ends = [time.time() + 60, time.time() + 3600]

    class Default:
        def get_token(self, *scopes: str, **_: object) -> SimpleNamespace:
            asked.append(scopes[0])
            return SimpleNamespace(token="t", expires_on=ends[min(len(asked), len(ends)) - 1])

    monkeypatch.setattr(credential, "_default", Default())
    for _ in range(4):
        credential.get_token("https://a/.default")
    assert asked == ["https://a/.default"] * 2  # the first token is too old
    credential.get_token("https://b/.default")
    assert len(asked) == 3
