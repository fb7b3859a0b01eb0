"""Writes its own output, a file for each mini-batch and one at the end, as Azure's samples do."""

import os


def run(mini_batch):
    for path in mini_batch:
        name = os.path.basename(path)
        with open(os.path.join(os.environ["AZUREML_BI_OUTPUT_PATH"], name + ".out"), "w") as out:
            out.write(name)
    return mini_batch


def shutdown():
    folder = os.path.join(os.environ["AZUREML_BI_OUTPUT_PATH"], "end")
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "%d.txt" % os.getpid()), "w") as out:
        out.write("end")
