"""What a user of azure-ai-ml may do with the client, beside notebooks; it prints JSON on its last line.

It runs in a folder with ``src/`` and ``prices/``.
"""

import json
import logging
import os
import warnings
from dataclasses import asdict
from pathlib import Path

from azure.ai.ml import Input, Output, command, load_component, load_job
from azure.ai.ml.dsl import pipeline
from azure.ai.ml.entities import Data, Environment, Model
from azure.ai.ml.exceptions import JobException
from azure.ai.ml.parallel import RunFunction, parallel_run_function

from parallelrun_jupyter import azureml_v2
from parallelrun_jupyter.azureml_v2 import LocalClient
from parallelrun_jupyter.azureml_v2.execution.assets import Assets
from parallelrun_jupyter.azureml_v2.execution.compiler import compile_job
from parallelrun_jupyter.azureml_v2.local_client.azure_objects import job_of_azure
from parallelrun_jupyter.pipelines.workspaces import workspace_above

logging.disable(logging.WARNING)
warnings.simplefilter("ignore")
client = LocalClient.from_config(credential=object())
found = {}


def step(**changes):
    """Return a parallel step that fails at a file."""
    task = dict(code="./src/digits", entry_script="broken.py", environment="azureml:base@latest")
    task.update(changes.pop("task", {}))
    arguments = dict(
        name="score", inputs=dict(data=Input(type="uri_folder")),
        outputs=dict(rows=Output(type="uri_file")), input_data="${{inputs.data}}", instance_count=1,
        mini_batch_size="5", mini_batch_error_threshold=0, retry_settings=dict(max_retries=0, timeout=60),
        task=RunFunction(append_row_to="${{outputs.rows}}", **task),
    )  # fmt: skip
    arguments.update(changes)
    return parallel_run_function(**arguments)


def job_with(score, path="./prices"):
    @pipeline()
    def one(data):
        score(data=data)

    return one(data=Input(type="uri_folder", path=path))


Path("list.yml").write_text("""
type: command
name: list
inputs: {data: {type: uri_folder}}
command: ls ${{inputs.data}}
environment: azureml:base@latest
resources: {instance_count: 1}
""")
list_files = load_component("list.yml")


@pipeline()
def bound_number(data, count: int):
    """A pipeline that azure-ai-ml cannot send."""
    listed = list_files(data=data)
    listed.resources.instance_count = count


def error_of(function, *arguments, **named):
    try:
        function(*arguments, **named)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


# Failures
broken = client.jobs.create_or_update(job_with(step()))
try:
    client.jobs.stream(broken.name)
except JobException as error:
    found["failure"] = str(error)
found["status"] = client.jobs.get(broken.name).status
found["errors"] = {
    "job": error_of(client.jobs.create_or_update, Data(name="x", path="./prices")),
    "input": error_of(client.jobs.create_or_update, job_with(step(), "./no")),
    "script": error_of(
        client.jobs.create_or_update, job_with(step(task={"entry_script": "brokn.py"}))
    ),
    "bound": error_of(client.jobs.create_or_update, job_with(step(input_data="${{inputs.dat}}"))),
    "field": error_of(client.jobs.create_or_update, job_with(step(error_threshold=-7))),
    "azure": error_of(
        client.jobs.create_or_update,
        bound_number(data=Input(type="uri_folder", path="./prices"), count=2),
    ),
    "endpoints": error_of(lambda: client.online_endpoints),
}

# Registered assets are objects of azure-ai-ml
data = client.data.create_or_update(Data(name="sales", path="./prices", type="uri_folder"))
model = client.models.create_or_update(
    Model(name="rule", path="./src/train/train.py", version="first", type="custom_model")
)
environment = client.environments.create_or_update(
    Environment(name="pandas", image="ubuntu", conda_file="./src/train/conda.yml", version="7")
)
prepare = client.components.create_or_update(load_component("./src/prepare/prepare.yml"))
found["assets"] = [
    [type(item).__name__, item.name, item.version, item.id] for item in (data, model, environment)
]
found["component"] = [type(prepare).__name__, prepare.name, prepare.version]
found["conda"] = client.environments.get("pandas", label="latest").conda_file
os.rename("src/prepare", "src/moved")

# The registered component runs with registered data and a registered environment
Path("byname.yml").write_text("""
type: pipeline
inputs: {sales: {type: uri_folder, path: azureml:sales@latest}}
outputs: {table: {type: mltable, path: ./table}}
jobs:
  prepared:
    type: command
    component: azureml:prepare_prices:1
    inputs: {sales: "${{parent.inputs.sales}}"}
    outputs: {table: "${{parent.outputs.table}}"}
""")
by_name = client.jobs.create_or_update(load_job("byname.yml"), tags={"a": "b"})
client.jobs.stream(by_name.name)
found["by name"] = {"table": sorted(os.listdir("table")), "tags": by_name.tags}


@pipeline()
def inner(sales: Input(type="uri_folder"), least: int = 50):
    cut = client.components.get("prepare_prices")(sales=sales, least=least)
    cut.outputs.table.mode = "upload"
    return {"table": cut.outputs.table}


@pipeline(display_name="outer")
def outer(sales):
    nested = inner(sales=sales)
    return {"table": nested.outputs.table}


nested = outer(sales=Input(type="uri_folder", path=data.id))
nested.outputs.table = Output(type="mltable", path="./nested")
nested = client.jobs.create_or_update(nested)
client.jobs.stream(nested.name)
found["nested"] = [nested.display_name, nested.outputs["table"].path, sorted(client_step.name for client_step in
                   nested.run.steps)]  # fmt: skip

# One command
alone = command(
    name="lines", inputs=dict(sales=Input(type="uri_folder", path="./prices"), more=3),
    outputs=dict(count=Output(type="uri_file", path="./count.txt")), environment="azureml:pandas:7",
    command="cat ${{inputs.sales}}/* | wc -l > ${{outputs.count}}; echo ${{inputs.more}}", timeout=60,
)  # fmt: skip
client.jobs.stream(client.create_or_update(alone).name)
found["alone"] = Path("count.txt").read_text().strip()

# Files that azure-ai-ml reads, and its objects become, what our own reader makes of them
workspace = workspace_above(Path.cwd())
found["records"] = {}
for path in sorted(map(str, Path("files").glob("job*.yml"))):
    theirs = compile_job(job_of_azure(load_job(path)), Assets(workspace), "a")
    ours = compile_job(azureml_v2.load_job(path), Assets(workspace), "a")
    found["records"][path] = [
        [list(map(asdict, steps)) for steps in (theirs.steps, ours.steps)],
        [theirs.sources, ours.sources],
    ]  # fmt: skip
print(json.dumps(found, default=str))
