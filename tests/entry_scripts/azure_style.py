"""Uses the environment that Azure's scripts rely on: arguments, variables, folders."""

import json
import os
import pickle

import pandas as pd
from azureml_user.parallel_run import EntryScript


def init():
    entry = EntryScript()
    entry.logger.info("logged through EntryScript by %s", entry.agent_name)
    assert entry is EntryScript() is pickle.loads(pickle.dumps(entry))
    os.makedirs(entry.log_dir, exist_ok=True)
    with open(os.path.join(entry.log_dir, entry.agent_name + ".txt"), "w") as file:
        json.dump([entry.output_dir, os.environ["AZUREML_BI_OUTPUT_PATH"], entry.working_dir], file)


def run(mini_batch):
    gpu = os.environ.get("CUDA_VISIBLE_DEVICES", "unset")
    return pd.DataFrame({"name": [os.path.basename(p) for p in mini_batch], "gpu": gpu})
