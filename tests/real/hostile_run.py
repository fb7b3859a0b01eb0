"""A run whose script, name and log try to become part of the page that shows them."""

from __future__ import annotations

from pathlib import Path

from parallelrun_jupyter import ParallelRunConfig, Run, submit

EVIL = "</script><script>document.title = 'owned'</script>"


def hostile_run(numbers: Path, folder: Path, sleep_s: float = 0.0) -> Run:
    """Return a run over the numbers that has ended; mini-batch 13 has failed.

    Parameters
    ----------
    numbers
        The folder of the input files.
    folder
        Receives the script.
    sleep_s
        The time of each mini-batch.
    """
    script = folder / "hostile.py"
    script.write_text(
        f"import time\ndef run(mini_batch):\n    time.sleep({sleep_s})\n"
        f"    print('read', mini_batch[0], {EVIL!r})\n"
        f"    assert '013' not in mini_batch[0], {EVIL!r}\n    return mini_batch\n"
    )
    config = ParallelRunConfig(
        entry_script=str(script), mini_batch_size=1, process_count_per_node=2, error_threshold=9
    )
    run = submit(config, inputs=str(numbers / "*.txt"), name=EVIL)
    run.wait_for_completion(show_output=False)
    return run
