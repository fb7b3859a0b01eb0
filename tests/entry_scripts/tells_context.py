"""Returns the fields of the context for each file, as JSON."""

import json
import os


def run(mini_batch, mini_batch_context):
    told = {
        "keys": {k: str(v) for k, v in mini_batch_context.partition_key_value.items()},
        "types": sorted(
            {type(v).__name__ for v in mini_batch_context.partition_key_value.values()}
        ),
        "index": mini_batch_context.minibatch_index,
        "first": mini_batch_context.global_row_index_lower_bound,
        "same": mini_batch_context.dataset.to_path() == mini_batch,
    }
    return [json.dumps({**told, "name": os.path.basename(path)}) for path in mini_batch]
