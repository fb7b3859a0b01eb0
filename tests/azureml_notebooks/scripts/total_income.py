def init():
    pass


def run(mini_batch, mini_batch_context):
    keys = mini_batch_context.partition_key_value
    assert list(mini_batch.columns[-2:]) == ["Store", "Brand"]
    assert set(mini_batch["Store"]) == {keys["Store"]}
    mini_batch["total_income"] = mini_batch["Revenue"].sum()
    return mini_batch
