"""The run of a model's deployment."""

from __future__ import annotations

from pathlib import Path

from ...client.run import Run
from ...runs.run_folder import RunFolder
from .failed import failed_sentence


class DeploymentRun(Run):
    """The run of a deployment; `invoke` returns one. It is a `Run`, and shown as any other.

    Parameters
    ----------
    folder
        Its folder.
    notes
        Sentences about what is different on this machine.
    """

    def __init__(self, folder: RunFolder, notes: tuple[str, ...] = ()) -> None:
        super().__init__(folder)
        self.notes = notes

    @property
    def output(self) -> str:
        """The path of the predictions; of the folder that the script writes to with ``summary_only``."""
        record = self.folder.read_record()
        if record.output.storage:
            return (
                record.output.url if record.output.append_rows else str(record.output.destination)
            )
        if not record.output.append_rows:
            return self.folder.script_output(record)
        return str(self.folder.final_file(record))

    def warnings(self) -> list[str]:
        """Return a sentence with the failed files, also if the threshold ignores them; empty for none."""
        sentence = failed_sentence(self.run_id, "file")
        return [sentence] if sentence else []

    def wait_for_completion(
        self,
        show_output: bool = True,  # noqa: FBT001, FBT002 - Azure's signature
        raise_on_error: bool = True,  # noqa: FBT001, FBT002 - Azure's signature
        timeout_s: float | None = None,
    ) -> str:
        """Wait until the run ends, and return its state, as `Run.wait_for_completion` does.

        With ``show_output``, the output and the names of the failed files are printed at the end.

        Raises
        ------
        RunFailedError, RunInterruptedError, RunNotFoundError, WaitTimeoutError
            As `Run.wait_for_completion`.
        """
        state = super().wait_for_completion(show_output, raise_on_error, timeout_s)
        if show_output:
            if Path(self.output).exists() or "://" in self.output:
                print(f"output: {self.output}")
            for warning in self.warnings():
                print(f"warning: {warning}")
        return state
