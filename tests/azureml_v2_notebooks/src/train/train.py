import argparse
import json
import os


def init():
    global args
    parser = argparse.ArgumentParser()
    parser.add_argument("--models")
    parser.add_argument("--factor", type=float)
    parser.add_argument("--drop", default="nothing")
    args, _ = parser.parse_known_args()


def run(data, mini_batch_context):
    keys = mini_batch_context.partition_key_value
    assert data["store"].nunique() == data["brand"].nunique() == 1
    mean = float(data["price"].mean()) * args.factor
    name = "%s-%s.json" % (keys["store"], keys["brand"])
    with open(os.path.join(args.models, name), "w") as file:
        json.dump({"mean": mean, "mode": os.environ["MODE"]}, file)
    return ["%s,%s,%d,%.3f,%s" % (keys["store"], keys["brand"], len(data), mean, args.drop)]
