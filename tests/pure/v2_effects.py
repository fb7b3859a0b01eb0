"""What each field of a v2 file does on this machine: a default, one of three words, and a sentence.

`EFFECTS` has one entry for each field of the reader, by the headings of `v2_surface`. The words are those
of the page: ``runs``, ``recorded only`` (read and checked, but nothing depends on it) and ``refused``.
"""

from __future__ import annotations

from dataclasses import fields

from parallelrun_jupyter.azureml_v2.model.deployments import BatchSettings
from parallelrun_jupyter.azureml_v2.model.jobs import DEFAULTS, OTHER_TYPES

RUNS, RECORDED, REFUSED = "runs", "recorded only", "refused"
Effect = tuple[str, str, str]


def runs(sentence: str = "", default: object = "") -> Effect:
    return str(default), RUNS, sentence


def recorded(sentence: str = "", default: object = "") -> Effect:
    return str(default), RECORDED, sentence


OTHERS = ", ".join(f"`{name}`" for name in OTHER_TYPES)
NAMED = "the name of a compute that `name_compute` knows; any other is this machine, with a note"
COUNT = "groups of processes on this machine"
BASE = {
    "display_name": recorded(),
    "description": recorded(),
    "comment": recorded(),
    "tags": recorded(),
    "properties": recorded(),
    "identity.type": recorded("no step has an identity of Azure here"),
    "identity.client_id": recorded(),
    "identity.object_id": recorded(),
    "identity.msi_resource_id": recorded(),
}
RESOURCES = {
    "resources.instance_type": recorded("the machine is this one"),
    "resources.shm_size": recorded("no step runs in a container"),
    "resources.docker_args": recorded("no step runs in a container"),
    "resources.locations": recorded(),
    "resources.max_instance_count": recorded(),
    "resources.properties": recorded(),
}
STEP = {
    **BASE,
    "type": runs(f"other types ({OTHERS}) are refused", "that of its fields"),
    "component": runs("a path, the fields in place, or a name that is registered here"),
    "compute": runs(NAMED, "that of the pipeline"),
    "inputs": runs("see Input"),
    "outputs": runs("see Output"),
}
SETTINGS = {
    "settings.default_compute": runs(NAMED),
    "settings.default_datastore": runs("where outputs without a path go", "workspaceblobstore"),
    "settings.continue_on_step_failure": runs(
        "steps that need a failed one are skipped, others go on", "true"
    ),
    "settings.force_rerun": runs("no step is reused", "false"),
}
VARIABLES = runs("values that look secret are not written to disk")
COMMAND = {
    **RESOURCES,
    "command": runs("by bash, in a copy of `code`"),
    "code": runs("a folder of this machine; a URL is refused"),
    "environment": runs("see Environments"),
    "environment_variables": VARIABLES,
    "additional_includes": runs("copied beside `code`"),
    "limits.timeout": runs("seconds; the command is ended then", "none"),
    "resources.instance_count": recorded(
        "a distributed command runs once, with a note", DEFAULTS["instance_count"]
    ),
    "distribution": recorded("a distributed command runs once, with a note"),
    "queue_settings": recorded(),
    "services": recorded(),
}
BATCH = {item.name: item.default for item in fields(BatchSettings)}

EFFECTS: dict[str, dict[str, Effect]] = {
    "Pipeline": {
        **BASE, **SETTINGS,
        "type": runs("on its own, a job of another type is refused", "pipeline, with `jobs`"),
        "name": runs("the title, without `display_name`; the id is always new"),
        "display_name": runs("the title of the run", "`name`, or the file's name"),
        "experiment_name": runs("where `LocalClient` and RunDetails list it", "the folder's name"),
        "tags": runs("of the run"),
        "compute": runs(NAMED),
        "inputs": runs("see Input"), "outputs": runs("see Output"), "jobs": runs("the steps"),
        "component": runs("a pipeline component, in place of `jobs`"),
    },
    "Command step": {**STEP, **COMMAND},
    "Parallel step": {
        **STEP, **RESOURCES,
        "description": runs("of the step's run"),
        "input_data": runs("the input that is divided into mini-batches"),
        "mini_batch_size": runs(
            "files, or bytes of a table (`10kb`); bytes of files are refused", "10 files, 1mb of a table"
        ),
        "partition_keys": runs("one mini-batch for each value; `mini_batch_size` is then not used"),
        "max_concurrency_per_instance": runs("worker processes of a node", "the cores of a node"),
        "resources.instance_count": runs(COUNT, DEFAULTS["instance_count"]),
        "mini_batch_error_threshold": runs(
            "failed mini-batches to ignore; -1 for all", DEFAULTS["mini_batch_error_threshold"]
        ),
        "error_threshold": runs("failed items to ignore; -1 for all", DEFAULTS["error_threshold"]),
        "logging_level": runs("", DEFAULTS["logging_level"]),
        "retry_settings.max_retries": runs("more attempts, at once", DEFAULTS["max_retries"]),
        "retry_settings.timeout": runs("seconds of one call of `run()`", DEFAULTS["timeout"]),
        "environment_variables": VARIABLES,
        "environment": runs("as older files have it; see `task.environment`"),
        "task.type": runs("`model` is refused by `parallelrun check`"),
        "task.code": runs("copied when the job starts", "the script alone"),
        "task.entry_script": runs("with `run(mini_batch)`"),
        "task.program_arguments": runs("also `--allowed_failed_percent` and the other settings of Azure"),
        "task.append_row_to": runs("the output that receives all rows", "no rows are kept"),
        "task.environment": runs("see Environments"),
        "task.model": recorded(),
    },
    "Pipeline as a step": {
        **STEP, "jobs": runs("the steps; shown as `outer.inner`"),
        "compute": recorded("its steps have their own"),
    },
    "Component": {
        **STEP, **COMMAND,
        "name": runs("of the registered component, and in messages"),
        "version": runs("of the registered component"),
        "is_deterministic": runs("`false`: the step is never reused", "true"),
        "inputs": runs("see the next table"), "outputs": runs("see the next table"),
    },
    "Declared inputs and outputs of a component": {
        "type": runs("`path` is an older name of `uri_folder`"),
        "optional": runs("without it, a missing input is refused", "false"),
        "default": runs("of an input that is left out"),
        "description": recorded(),
        "enum": runs("other values are refused before the start"),
        "min": runs("lower numbers are refused before the start"),
        "max": runs("higher numbers are refused before the start"), "mode": recorded("files have paths in every mode"),
    },
    "Input": {
        "value": runs("a literal; it may also stand in place of the mapping"),
        "type": runs("`mltable` is read as its file describes it, if it is divided", "that of the path"),
        "path": runs("a file, a folder, a URL, or a name; see Names"),
        "mode": recorded("files have paths in every mode", "ro_mount"),
    },
    "Output": {
        "type": runs("`uri_file` is a file, the others are folders", "uri_folder"),
        "path": runs("relative to the file, or in a store; see Outputs in stores", "in the workspace"),
        "mode": recorded("files have paths in every mode", "rw_mount"),
        "name": runs("registers the output when its step completes"),
        "version": runs("of the registered output", "the next one"),
    },
    "Environment": {
        "name": runs("in the list of differences"),
        "conda_file": runs("by the policy in Environments"),
        "image": recorded("no step runs in a container; without a conda file, with a note"),
        "build.path": recorded("no image is built, with a note"), "build.dockerfile_path": recorded(),
        "version": recorded(), "description": recorded(), "tags": recorded(), "os_type": recorded(),
    },
    "Batch deployment of a model": {
        **RESOURCES,
        "type": runs("without it, the settings are at the root, as in older files"),
        "name": runs("the title of the run"),
        "endpoint_name": runs("the experiment of its jobs, and where `LocalClient` keeps it; required, as in Azure"),
        "description": runs("of the run"),
        "tags": recorded(), "properties": recorded(),
        "model": runs("a name that is registered here, or the files"),
        "model.name": runs("of the registered model", "`name` of the deployment"),
        "model.path": runs("copied to the registry of the workspace; a URL is refused"),
        "model.version": recorded("the next one is taken, unless the files are the same"),
        "model.type": runs("of the registered model", "custom_model"),
        "model.description": runs("of the registered model"),
        "model.tags": runs("of the registered model"),
        "model.properties": runs("of the registered model"),
        "code_configuration.code": runs("a folder of this machine", "the script alone"),
        "code_configuration.scoring_script": runs("without it, an MLflow model is scored as in Azure"),
        "environment": runs("see Environments", "the conda file of an MLflow model"),
        "compute": runs(NAMED),
        "resources.instance_count": runs(COUNT, BATCH["instance_count"]),
        "settings.mini_batch_size": runs("files", BATCH["mini_batch_size"]),
        "settings.max_concurrency_per_instance": runs(
            "worker processes", BATCH["max_concurrency_per_instance"]
        ),
        "settings.instance_count": runs(COUNT, BATCH["instance_count"]),
        "settings.retry_settings.max_retries": runs("more attempts, at once", BATCH["max_retries"]),
        "settings.retry_settings.timeout": runs("seconds of one call of `run()`", BATCH["timeout"]),
        "settings.error_threshold": runs("failed files to ignore; -1 for all", BATCH["error_threshold"]),
        "settings.output_action": runs(
            "`summary_only`: the script writes to `AZUREML_BI_OUTPUT_PATH`", BATCH["output_action"]
        ),
        "settings.output_file_name": runs("", BATCH["output_file_name"]),
        "settings.logging_level": runs("", BATCH["logging_level"]),
        "settings.environment_variables": runs(""),
    },
    "Batch deployment of a pipeline component": {
        **SETTINGS,
        "type": runs("", "pipeline, with `component`"),
        "name": runs("the title of the run"),
        "endpoint_name": runs("the experiment of the run"),
        "description": recorded(), "tags": runs("of the run"),
        "component": runs("a path, the fields in place, or a name that is registered here"),
    },
    "Batch endpoint": {
        **BASE,
        "name": runs("where `LocalClient` keeps it"), "auth_mode": recorded("nothing listens"),
        "defaults.deployment_name": runs("`LocalClient` invokes it, unless the call names another"),
    },
}  # fmt: skip
"""By heading and field. The fields that the reader allows and does not read are not here."""

REFUSALS: dict[str, dict[str, str]] = {
    "Batch deployment of a pipeline component": {
        "job_definition": "it names a job of a workspace; give the component",
    },
    "Batch deployment of a model": {
        "a setting at the root, with `type`": "except `error_threshold` and `environment_variables`, it belongs under `settings`; move it there",
    },
}
"""Fields of Azure that the reader refuses with a sentence of its own."""
