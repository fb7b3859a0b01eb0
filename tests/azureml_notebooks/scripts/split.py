import argparse
import os

parser = argparse.ArgumentParser()
parser.add_argument("--input")
parser.add_argument("--frames")
args = parser.parse_args()
os.makedirs(args.frames, exist_ok=True)
with open(
    args.input if os.path.isfile(args.input) else os.path.join(args.input, "video.txt")
) as file:
    for number, line in enumerate(file):
        with open(os.path.join(args.frames, f"{number:03d}.txt"), "w") as frame:
            frame.write(line.strip())
