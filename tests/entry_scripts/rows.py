"""Returns a row for each row of a table: its id, the types, and a value; checks the index."""


def run(mini_batch):
    assert list(mini_batch.index) == list(range(len(mini_batch)))
    ids, prices = mini_batch["id"], mini_batch["price"]
    kinds = "%s %s" % (ids.dtype, prices.dtype)
    return ["%d %s %r" % (ids[k], kinds, float(prices[k])) for k in mini_batch.index]
