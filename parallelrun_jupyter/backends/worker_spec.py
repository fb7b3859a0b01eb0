"""How the workers of a run on this machine are started."""

from __future__ import annotations

from collections.abc import Mapping

from ..engine.node.worker_process import WorkerSpec
from ..machine import thread_caps, visible_gpus
from ..runs.run_folder import RunFolder
from ..runs.run_record import RunRecord
from ..worker.memory_items import FOLDER_VARIABLE
from ..worker.uses import NOTEBOOK_ROOT


def worker_spec(folder: RunFolder, record: RunRecord, environ: Mapping[str, str]) -> WorkerSpec:
    """Return how the workers of a run on this machine are started."""
    secrets = record.secret_variables()  # only the driver opens stores, not the script
    variables = {k: v for k, v in environ.items() if k not in secrets}
    variables.update(record.inputs.side_variables({}))
    variables.update(record.script.recorded_variables())
    workers = record.placement.process_count_per_node * record.placement.node_count
    variables.update(thread_caps(workers, record.placement.cores, variables))
    folder.make_script_output(record)
    output_dir = folder.script_output(record)
    variables["AZUREML_BI_OUTPUT_PATH"] = output_dir
    if record.has_variables:
        variables[FOLDER_VARIABLE] = str(folder.data)
    snapshot = str(folder.script)
    script = record.script.path_in(snapshot)
    return WorkerSpec(
        python=record.script.python,
        environ=variables,
        logs=folder.user_logs,
        start={
            "script": script,
            "argv": [script, *record.script.argv({}, output_dir)],
            "cwd": record.script.working_directory(snapshot),
            "sys_path": record.script.import_paths(snapshot),
            "append_rows": record.output.append_rows,
            "has_tables_only": record.has_tables_only,
            "answers_items": record.limits.isolate_failures,
            "output_format": record.output.format,
            "logging_level": record.script.logging_level,
            "roots": _roots(folder, record),
            "uses": {"folder": str(folder.uses), "names": record.script.uses},
            "calls": {
                "concurrency": record.calls.concurrency,
                "by_item": record.calls.by_item,
                "prices": record.calls.token_prices,
                "limit_s": record.limits.run_invocation_timeout,
                "run_id": record.run_id,
            },
            "output_dir": output_dir,
            "log_dir": str(folder.user_logs / "entry_script"),
        },
        gpus=visible_gpus(variables),
    )


def _roots(folder: RunFolder, record: RunRecord) -> list[str]:
    """Return the folders of the user's code."""
    is_single = record.script.source_directory is None
    roots = [str(folder.script), *([record.script.cwd] if is_single else [])]
    return [*roots, NOTEBOOK_ROOT] if record.script.uses else roots
