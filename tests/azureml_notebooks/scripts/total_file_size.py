import os


def init():
    pass


def run(mini_batch, mini_batch_context):
    names = [os.path.basename(path) for path in mini_batch_context.dataset.to_path()]
    size = sum(os.path.getsize(path) for path in mini_batch)
    keys = mini_batch_context.partition_key_value
    return [f"{'+'.join(sorted(names))},{size},{size / 1000:.3f},{keys['user']},{keys['genres']}"]
