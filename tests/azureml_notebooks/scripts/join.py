import argparse
import os

from azureml.core import Run

parser = argparse.ArgumentParser()
parser.add_argument("--frames")
parser.add_argument("--output")
args = parser.parse_args()
run = Run.get_context()
values = []
for name in sorted(os.listdir(args.frames)):
    with open(os.path.join(args.frames, name)) as file:
        values.append(int(file.read()))
run.log("frames", len(values))
run.log_row("ends", first=values[0], last=values[-1])
os.makedirs(args.output, exist_ok=True)
with open(os.path.join(args.output, "joined.txt"), "w") as file:
    file.write(" ".join(map(str, values)))
print("experiment", run.experiment.name, "workspace", run.experiment.workspace.name)
