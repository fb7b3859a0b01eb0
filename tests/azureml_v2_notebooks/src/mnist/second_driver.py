import batch_driver
from batch_driver import init


def run(mini_batch):
    return [row.replace(" ", ":") for row in batch_driver.run(mini_batch)]
