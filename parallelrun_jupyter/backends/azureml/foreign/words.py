"""Messages to the user of a run that follows a job of others."""

from __future__ import annotations

NO_TABLE = (
    "Azure ML has not written its table of mini-batches (processed_mini-batches.csv) yet: the progress is "
    "the count of its overview file, and the items are estimated. Failures and durations follow with the table"
)
FROZEN = (
    "Azure ML's overview file (job_progress_overview) has stopped, while the job runs: the progress is from "
    "its table of mini-batches"
)
RETRIED = "Azure ML has run the mini-batch again; its table does not say why"


def no_table_at_end(state: str) -> str:
    """Return the warning of a job that ended without a table."""
    return (
        f"the job has ended ({state}) without a table of mini-batches (processed_mini-batches.csv): only "
        "counts are known, not which mini-batches failed"
    )


def timed_out(where: str) -> str:
    """Return the message of a timeout."""
    return f"{where} took longer than the timeout of the job, says Azure ML"


def error_without_row(error: str, message: str, place: str) -> str:
    """Return the warning of an error that no row of the table tells."""
    first = message.partition("\n")[0][:200]
    at = f" at {place}" if place else ""
    return f"Azure ML's error files, not its table, have {error}: {first}{at}"


def silent(reason: str) -> str:
    """Return the warning that the service does not answer."""
    return f"Azure ML does not answer ({reason}); the job goes on, and this run tries again"


def vanished(name: str, reason: str) -> str:
    """Return why the run ends when Azure ML does not know its job any more."""
    return (
        f"Azure ML no longer has the job {name} ({reason}). What was seen of it is kept; "
        f'Run.attach("azureml:{name}") looks for it again'
    )


def no_credential(name: str, reason: str) -> str:
    """Return why the run ends when Azure ML does not accept the credential."""
    return (
        f"the credential for Azure ML has expired or is not accepted ({reason}). The job {name} goes on in "
        f'Azure ML; nothing is lost. Sign in again (az login), and Run.attach("azureml:{name}") follows it '
        "again; a credential object goes in compute=AzureMLCompute(credential=...)"
    )


def refused(name: str, reason: str) -> str:
    """Return why the run ends when Azure ML refuses a request."""
    return (
        f"Azure ML refuses to show the job {name}: {reason}. Correct this, and "
        f'Run.attach("azureml:{name}") follows it again'
    )


def no_output(output: str, reason: str) -> str:
    """Return the warning that an output was not downloaded."""
    return f"the output {output!r} of the job was not downloaded: {reason}"


def many_steps(job: str, names: list[str]) -> str:
    """Return the refusal of a job with several steps."""
    shown = ", ".join(f'"azureml:{job}/{name}"' for name in names)
    return f"the job {job} has {len(names)} parallel steps; name one of them: {shown}."


def not_resumed(run_id: str, job: str) -> str:
    """Return why a run that follows a job cannot be resumed."""
    return (
        f"run {run_id} shows the job {job} of Azure ML, which somebody else submitted: its script and inputs "
        "are not here, so it cannot be resumed. Submit the job again in Azure ML; or submit its script here "
        "with compute=AzureMLCompute(...), and such a run can be resumed with failed_only=True."
    )
