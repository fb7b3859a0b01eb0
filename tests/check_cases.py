"""A valid project of Azure ML v2, and mistakes seeded into it: one edit each, with the line to name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

PIPELINE = """\
$schema: https://azuremlschemas.azureedge.net/latest/pipelineJob.schema.json
type: pipeline
settings: {default_compute: azureml:cpu-cluster}
inputs:
  sales: {type: uri_folder, path: ./sales}
  level: 3
  tries: 2
outputs:
  final: {type: uri_file}
jobs:
  prepare:
    type: command
    component: file:./prepare.yml
    inputs:
      sales: ${{parent.inputs.sales}}
      level: ${{parent.inputs.level}}
    outputs:
      table: {type: mltable}
  score:
    type: parallel
    inputs:
      table: ${{parent.jobs.prepare.outputs.table}}
      model: {type: uri_folder, path: ./model, mode: download}
    outputs:
      rows: ${{parent.outputs.final}}
    input_data: ${{inputs.table}}
    mini_batch_size: 10kb
    max_concurrency_per_instance: 2
    error_threshold: 5
    mini_batch_error_threshold: -1
    logging_level: INFO
    retry_settings: {max_retries: "${{parent.inputs.tries}}", timeout: 60}
    resources: {instance_count: 1}
    task:
      type: run_function
      code: ./src
      entry_script: score.py
      environment:
        image: mcr.microsoft.com/azureml/base
        conda_file: ./conda.yml
      program_arguments: --model ${{inputs.model}} --top 3 --allowed_failed_percent 50
      append_row_to: ${{outputs.rows}}
  images:
    type: parallel
    inputs:
      files: {type: uri_folder, path: ./sales}
    outputs: {rows: {type: uri_file}}
    input_data: ${{inputs.files}}
    mini_batch_size: "5"
    task:
      type: run_function
      code: ./src
      entry_script: images.py
      environment: azureml:base@latest
      append_row_to: ${{outputs.rows}}
  report:
    type: command
    code: ./src
    command: >-
      python report.py --rows ${{inputs.rows}}
      --to ${{outputs.page}}
    environment: azureml:base@latest
    inputs:
      rows: ${{parent.jobs.images.outputs.rows}}
    outputs: {page: {type: uri_folder}}
"""

PREPARE = """\
$schema: https://azuremlschemas.azureedge.net/latest/commandComponent.schema.json
name: prepare
version: 1
type: command
inputs:
  sales: {type: uri_folder}
  level: {type: integer, min: 1, max: 9}
  note: {type: string, optional: true}
outputs:
  table: {type: mltable}
code: ./src
environment: azureml:base@latest
command: >-
  python prepare.py --sales ${{inputs.sales}} --level ${{inputs.level}}
  $[[--note ${{inputs.note}}]] --out ${{outputs.table}}
"""

SCORE = """\
import argparse
import os

import numpy as np
import sklearn.linear_model
from near import scaled
from PIL import Image

try:
    import torch
except ImportError:
    torch = None


def init():
    global options
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--top", type=int, default=1)
    options = parser.parse_args()


def run(mini_batch):
    return [f"{scaled(row)}" for row in mini_batch]
"""

IMAGES = """\
import os


def init():
    pass


def run(mini_batch):
    return [f"{os.path.basename(path)}" for path in mini_batch]
"""

COMMANDS = """\
import argparse

parser = argparse.ArgumentParser()
for name in ("--sales", "--level", "--note", "--out"):
    parser.add_argument(name)
parser.parse_args()
"""

REPORT = """\
import argparse


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", required=True)
    parser.add_argument("--to")
    parser.parse_args()


if __name__ == "__main__":
    main()
"""

CONDA = """\
channels: [conda-forge]
dependencies:
  - python=3.10
  - scikit-learn>=1.3
  - pip
  - pip:
      - pillow==10.0
      - azureml-core
"""

MLTABLE = """\
type: mltable
paths:
  - file: ./a.csv
transformations:
  - read_delimited:
      delimiter: ","
      encoding: utf8
      header: all_files_same_headers
  - keep_columns: [store, price]
  - convert_column_types:
      - columns: price
        column_type: float
"""

DEPLOYMENT = """\
$schema: https://azuremlschemas.azureedge.net/latest/modelBatchDeployment.schema.json
name: first
endpoint_name: digits
type: model
model: {path: ./model}
code_configuration:
  code: ./src
  scoring_script: images.py
environment: {image: base, conda_file: ./conda.yml}
compute: azureml:cpu-cluster
resources: {instance_count: 1}
settings:
  mini_batch_size: 10
  max_concurrency_per_instance: 2
  output_action: append_row
  output_file_name: predictions.csv
  retry_settings: {max_retries: 3, timeout: 30}
  error_threshold: -1
  logging_level: info
"""

CELLS = [
    "%load_ext parallelrun_jupyter",
    """\
# scores the images
%%parallelrun --input "{folder}/*.png" --mini-batch-size 5 --workers 2 --as run -- --model {model}
import argparse


def init():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.parse_args()


async def run(mini_batch):
    return [path for path in mini_batch]
""",
    """\
from azureml.pipeline.steps import ParallelRunConfig, ParallelRunStep

folder = "src"
config = ParallelRunConfig(
    source_directory=folder,
    entry_script="score.py",
    mini_batch_size="5",
    error_threshold=10,
    output_action="append_row",
    environment=environment,
    compute_target=compute,
    node_count=2,
    run_invocation_timeout=60,
)
step = ParallelRunStep(
    name="score",
    parallel_run_config=config,
    inputs=[digits],
    output=rows,
    arguments=["--model", model, "--top", 3],
)
""",
]

FILES = {
    "pipeline.yml": PIPELINE,
    "prepare.yml": PREPARE,
    "conda.yml": CONDA,
    "deployment.yml": DEPLOYMENT,
    "src/score.py": SCORE,
    "src/images.py": IMAGES,
    "src/near.py": "def scaled(x): return x\n",
    "src/prepare.py": COMMANDS,
    "src/report.py": REPORT,
    "sales/a.csv": "store,price\n1,2\n",
    "table/MLTable": MLTABLE,
    "table/a.csv": "store,price\n1,2\n",
    "model/weights": "",
}


def write_project(folder: Path) -> None:
    """Write the valid files into a folder."""
    for name, text in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    write_cells(folder, CELLS)


def write_cells(folder: Path, cells: list[str]) -> None:
    """Write a notebook of code cells."""
    content = {
        "cells": [
            {
                "cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None,
                "source": text.splitlines(keepends=True),
            }
            for text in cells
        ],
        "metadata": {}, "nbformat": 4, "nbformat_minor": 5,
    }  # fmt: skip
    (folder / "notebook.ipynb").write_text(json.dumps(content))


class Mistake(NamedTuple):
    """A mistake: an edit of one file, and the file, line and words of the finding.

    Parameters
    ----------
    edited
        The file that is edited; ``cell N`` for a cell of the notebook.
    old, new
        The text to replace, once, and its replacement.
    words
        Part of the message.
    checked
        The file to check; empty for the edited one.
    place
        The file of the finding; empty for the edited one.
    at
        A text on the expected line, in the file of the finding; empty for `new`. An empty line of the
        edit stands for line 1.
    severity
        The expected severity.
    """

    edited: str
    old: str
    new: str
    words: str
    checked: str = ""
    place: str = ""
    at: str = ""
    severity: str = "error"


P, S = "pipeline.yml", "src/score.py"
MISTAKES = {
    # bindings
    "unknown input of the pipeline": Mistake(P, "sales: ${{parent.inputs.sales}}", "sales: ${{parent.inputs.sale}}", "Did you mean 'sales'?"),
    "unknown input of the step": Mistake(P, "input_data: ${{inputs.table}}", "input_data: ${{inputs.tabel}}", "Did you mean 'table'?"),
    "unknown output of the pipeline": Mistake(P, "${{parent.outputs.final}}", "${{parent.outputs.finl}}", "Did you mean 'final'?"),
    "unknown output of the step": Mistake(P, "append_row_to: ${{outputs.rows}}", "append_row_to: ${{outputs.row}}", "Did you mean 'rows'?"),
    "unknown step": Mistake(P, "${{parent.jobs.prepare.outputs", "${{parent.jobs.prepar.outputs", "Did you mean 'prepare'?"),
    "unknown output of another step": Mistake(P, "${{parent.jobs.images.outputs.rows}}", "${{parent.jobs.images.outputs.lines}}", "step 'images' does not have. Its outputs are: rows."),
    "unknown input in the arguments": Mistake(P, "--model ${{inputs.model}}", "--model ${{inputs.modle}}", "Did you mean 'model'?"),
    "data of the pipeline in the arguments": Mistake(P, "--model ${{inputs.model}}", "--model ${{parent.inputs.sales}}", "is data; make it an input of the step"),
    "argument that is not closed": Mistake(P, "--model ${{inputs.model}}", "--model ${{inputs.model", "has no '}}'"),
    "unknown input in a folded command": Mistake(P, "--to ${{outputs.page}}", "--to ${{outputs.pages}}", "Did you mean 'page'?"),
    "unknown input of a number": Mistake(P, "${{parent.inputs.tries}}", "${{parent.inputs.trise}}", "Did you mean 'tries'?"),
    "output where an input is expected": Mistake(P, "rows: ${{parent.jobs.images.outputs.rows}}", "rows: ${{parent.outputs.final}}", "has no data before the run", at="rows: ${{parent.outputs.final}}\n    outputs: {page"),
    "input where an output is expected": Mistake(P, "rows: ${{parent.outputs.final}}", "rows: ${{parent.inputs.sales}}", "is not an output of the pipeline"),
    "input_data that is an output": Mistake(P, "input_data: ${{inputs.table}}", "input_data: ${{outputs.rows}}", "expected one input of the step"),
    "append_row_to that is an input": Mistake(P, "append_row_to: ${{outputs.rows}}", "append_row_to: ${{inputs.table}}", "expected one output of the step"),
    "literal where data is needed": Mistake(P, "files: {type: uri_folder, path: ./sales}", "files: 5", "mini-batches are made of data", at="input_data: ${{inputs.files}}"),
    "literal for data of a component": Mistake(P, "sales: ${{parent.inputs.sales}}", "sales: ${{parent.inputs.tries}}", "expects data of type uri_folder"),
    "data for a literal of a component": Mistake(P, "level: ${{parent.inputs.level}}", "level: ${{parent.inputs.sales}}", "expects a literal of type integer"),
    "text for a number of a component": Mistake(P, "level: ${{parent.inputs.level}}", "level: high", "expects a value of type integer"),
    "value out of the range of a component": Mistake(P, "level: 3", "level: 30", "its component expects a number from 1 to 9 (", at="level: ${{parent.inputs.level}}"),
    "expression that is not closed": Mistake(P, "${{inputs.files}}", "${{inputs.files", "has no '}}'"),
    "expression that is none": Mistake(P, "${{inputs.files}}", "${{input.files}}", "is not an expression"),
    "circle of steps": Mistake(P, "sales: ${{parent.inputs.sales}}", "sales: ${{parent.jobs.score.outputs.rows}}", "form a circle", at="${{parent.jobs.prepare.outputs.table}}"),
    "step that needs itself": Mistake(P, "rows: ${{parent.jobs.images.outputs.rows}}", "rows: ${{parent.jobs.report.outputs.page}}", "needs its own output"),
    # components
    "missing input of a component": Mistake(P, "      level: ${{parent.inputs.level}}\n", "", "no input 'level', which the component 'prepare' requires", at="type: command"),
    "unknown input of a component": Mistake(P, "level: ${{parent.inputs.level}}", "level: 3\n      lvel: 4", "'lvel' is not an input of the component 'prepare'. Did you mean 'level'?", at="lvel: 4"),
    "unknown output of a component": Mistake(P, "      table: {type: mltable}", "      tables: {type: mltable}", "'tables' is not an output of the component"),
    "required input in brackets": Mistake("prepare.yml", "--level ${{inputs.level}}", "$[[--level ${{inputs.level}}]]", "is required. Remove the brackets"),
    "optional input without brackets": Mistake("prepare.yml", "$[[--note ${{inputs.note}}]]", "--note ${{inputs.note}}", "outside of $[[...]]", severity="warning"),
    "missing component": Mistake(P, "file:./prepare.yml", "file:./prepar.yml", "there is no file"),
    "mistake in the component's file": Mistake("prepare.yml", "${{inputs.sales}}", "${{inputs.sals}}", "Did you mean 'sales'?", checked=P, place="prepare.yml"),
    # code
    "missing entry script": Mistake(P, "entry_script: images.py", "entry_script: image.py", "Did you mean 'images.py'?"),
    "missing code folder": Mistake(P, "      code: ./src\n      entry_script: images.py", "      code: ./scr\n      entry_script: images.py", "Did you mean 'src'?", at="./scr"),
    "missing script of a command": Mistake(P, "python report.py", "python reports.py", "Did you mean 'report.py'?", at="command: >-"),
    "missing conda file": Mistake(P, "conda_file: ./conda.yml", "conda_file: ./conda.yaml", "Did you mean 'conda.yml'?"),
    "no run": Mistake("src/images.py", "def run(", "def rum(", "Did you mean 'rum'?", checked=P, at="import os"),
    "run without parameters": Mistake("src/images.py", "def run(mini_batch)", "def run()", "Write: def run(mini_batch)", checked=P),
    "run with three parameters": Mistake(S, "def run(mini_batch)", "def run(a, b, c)", "Write: def run(mini_batch)"),
    "async run": Mistake(S, "def run(", "async def run(", "not in Azure", severity="warning"),
    "init with an argument": Mistake(S, "def init()", "def init(model)", "is called without arguments", checked=P),
    "syntax error": Mistake(S, "global options", "global options =", "invalid syntax", checked=P),
    "required argument that is not passed": Mistake(P, "--model ${{inputs.model}} --top", "--top", "the following arguments are required: --model"),
    "positional argument that is not passed": Mistake(S, '"--top", type=int, default=1', '"top", type=int', "unrecognized arguments: --top", checked=P, place=P, at="--model ${{inputs.model}}"),
    "argument that the parser does not know": Mistake(P, "--top 3", "--tip 3", "unrecognized arguments: --tip 3"),
    "argument without its value": Mistake(P, "--top 3 ", "--top ", "expected one argument"),
    "required argument of a command": Mistake(P, "python report.py --rows ${{inputs.rows}}", "python report.py", "the following arguments are required: --rows", at="command: >-"),
    "module without a package": Mistake("conda.yml", "scikit-learn>=1.3", "numpy", "Add 'scikit-learn'", checked=P, place=S, at="import sklearn"),
    "module of another name": Mistake("conda.yml", "      - pillow==10.0\n", "", "Add 'pillow'", checked=P, place=S, at="from PIL"),
    # fields
    "error_threshold below -1": Mistake(P, "error_threshold: 5", "error_threshold: -7", "expected a whole number from -1"),
    "mini_batch_error_threshold below -1": Mistake(P, "mini_batch_error_threshold: -1", "mini_batch_error_threshold: -2", "from -1"),
    "allowed_failed_percent above 100": Mistake(P, "--allowed_failed_percent 50", "--allowed_failed_percent 150", "from 0 to 100"),
    "size with a space": Mistake(P, "mini_batch_size: 10kb", "mini_batch_size: 10 KB", "Write 10KB, without a space"),
    "size of no unit": Mistake(P, "mini_batch_size: 10kb", "mini_batch_size: 5 apples", "mini_batch_size is '5 apples'"),
    "size of 0": Mistake(P, 'mini_batch_size: "5"', 'mini_batch_size: "0"', "expected a whole number from 1"),
    "bytes of files": Mistake(P, 'mini_batch_size: "5"', "mini_batch_size: 5kb", "number of bytes as a number of files"),
    "keys of files": Mistake(P, 'mini_batch_size: "5"', "partition_keys: [store]", "needs keys"),
    "no processes": Mistake(P, "max_concurrency_per_instance: 2", "max_concurrency_per_instance: 0", "from 1"),
    "no nodes": Mistake(P, "instance_count: 1", "instance_count: 0", "number of nodes"),
    "negative timeout": Mistake(P, "timeout: 60", "timeout: -1", "retry_settings.timeout is -1"),
    "negative retries": Mistake(P, '"${{parent.inputs.tries}}"', "-4", "retry_settings.max_retries is -4"),
    "text for a number": Mistake(P, "tries: 2", "tries: many", "is 'many'; expected a whole number", at='"${{parent.inputs.tries}}"'),
    "negative number of an input": Mistake(P, "tries: 2", "tries: -2", "is -2; expected a whole number from 0", at='"${{parent.inputs.tries}}"'),
    "level of the log": Mistake(P, "logging_level: INFO", "logging_level: INFOS", "Did you mean 'INFO'?"),
    "task of a model": Mistake(P, "type: run_function", "type: model", "Azure does not run"),
    "unknown key": Mistake(P, "max_concurrency_per_instance: 2", "max_concurency_per_instance: 2", "Did you mean 'max_concurrency_per_instance'?"),
    # YAML and names
    "two steps of one name": Mistake(P, "  images:", "  score:", "is here twice", at="score:\n    type: parallel\n    inputs:\n      files"),
    "tab": Mistake(P, "    code: ./src\n    command", "\tcode: ./src\n    command", "indent by spaces", at="\tcode"),
    "name with a space": Mistake(P, "  report:\n", "  the report:\n", "has a character that", at="type: command\n    code"),
    "input with a space": Mistake(P, "  tries: 2", '  tries: 2\n  "two words": 2', "has a character", at='"two words"'),
    "standalone parallel job": Mistake(P, "type: pipeline", "type: parallel", "exists only as a step of a pipeline"),
    "missing data": Mistake(P, "  sales: {type: uri_folder, path: ./sales}\n  level", "  sales: {type: uri_folder, path: ./sale}\n  level", "does not exist", at="path: ./sale}"),
    "folder without an MLTable": Mistake(P, "files: {type: uri_folder", "files: {type: mltable", "there is no file"),
    # MLTable
    "unknown transformation": Mistake("table/MLTable", "read_delimited", "read_delimted", "Did you mean 'read_delimited'?"),
    "no paths": Mistake("table/MLTable", "paths:\n  - file: ./a.csv\n", "", "no list of paths", at="type: mltable"),
    "missing file of a table": Mistake("table/MLTable", "./a.csv", "./b.csv", "does not exist"),
    "pattern without a match": Mistake("table/MLTable", "file: ./a.csv", "pattern: ./*.tsv", "matches no file"),
    "long delimiter": Mistake("table/MLTable", 'delimiter: ","', "delimiter: tab", "expected one or two characters"),
    "unknown encoding": Mistake("table/MLTable", "encoding: utf8", "encoding: utf7", "expected one of utf8"),
    "unknown type": Mistake("table/MLTable", "column_type: float", "column_type: floot", "Did you mean 'float'?"),
    "column that is not there": Mistake("table/MLTable", "[store, price]", "[store, prize]", "Did you mean 'price'?"),
    "option of a reader": Mistake("table/MLTable", "delimiter:", "delimitr:", "Did you mean 'delimiter'?"),
    "header of a table": Mistake("table/MLTable", "all_files_same_headers", "same_headers", "Did you mean 'all_files_same_headers'?"),
    "type of a missing column": Mistake("table/MLTable", "columns: price", "columns: prize", "Did you mean 'price'?", severity="warning"),
    "datetime without formats": Mistake("table/MLTable", "column_type: float", "column_type: datetime", "without formats", severity="warning"),
    "transformation that runs in Azure alone": Mistake("table/MLTable", "  - convert_column_types:", "  - take: 2\n  - convert_column_types:", "'take' is not supported. Supported are convert_column_types", at="take: 2", severity="warning"),
    "option that runs in Azure alone": Mistake("table/MLTable", "delimiter:", "infer_column_types: false\n      delimiter:", "'infer_column_types' is not supported", at="read_delimited", severity="warning"),
    # batch deployments
    "missing model": Mistake("deployment.yml", "{path: ./model}", "{path: ./modl}", "does not exist"),
    "key of a deployment": Mistake("deployment.yml", "code_configuration:", "code_configration:", "Did you mean 'code_configuration'?"),
    "key of a table": Mistake("table/MLTable", "transformations:", "transformation:", "Did you mean 'transformations'?"),
    "missing scoring script": Mistake("deployment.yml", "images.py", "image.py", "Did you mean 'images.py'?"),
    "conda file of a deployment": Mistake("deployment.yml", "conda_file: ./conda.yml", "conda_file: ./cnda.yml", "Did you mean 'conda.yml'?"),
    "setting of a deployment": Mistake("deployment.yml", "mini_batch_size:", "minibatch_size:", "Did you mean 'mini_batch_size'?"),
    "type of a deployment": Mistake("deployment.yml", "type: model", "type: modle", "Did you mean 'model'?"),
    "action of a deployment": Mistake("deployment.yml", "append_row", "append_rows", "Did you mean 'append_row'?"),
    "retries of a deployment": Mistake("deployment.yml", "max_retries: 3", "max_retries: -3", "max_retries is -3"),
    # notebooks
    "option of a cell": Mistake("cell 2", "--workers", "--worker", "Did you mean '--workers'?", at="%%parallelrun"),
    "value of an option": Mistake("cell 2", "--mini-batch-size 5", "--mini-batch-size five", "mini_batch_size is 'five'", at="%%parallelrun"),
    "argument of a cell": Mistake("cell 2", "-- --model {model}", "", "required: --model", at="%%parallelrun"),
    "run of a cell": Mistake("cell 2", "def run(mini_batch)", "def run()", "Write: def run(mini_batch)"),
    "threshold of SDK v1": Mistake("cell 3", "error_threshold=10", "error_threshold=-2", "from -1"),
    "size of SDK v1": Mistake("cell 3", '"5"', '"5 files"', "expected 5 (files)"),
    "parameter of SDK v1": Mistake("cell 3", "node_count", "nodes_count", "Did you mean 'node_count'?"),
    "script of SDK v1": Mistake("cell 3", '"score.py"', '"scores.py"', "Did you mean 'score.py'?"),
    "argument of SDK v1": Mistake("cell 3", '"--model", model, ', "", "required: --model", at='["--top"'),
}  # fmt: skip
