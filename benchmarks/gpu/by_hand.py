"""One process as people write it: read, predict, write; with its framework's loader it reads ahead."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence

from .work import Work


def main(words: Sequence[str]) -> None:
    """Write the rows of a work to a file, and print the seconds."""
    work, output, way = Work(*json.loads(words[0])), words[1], words[2]
    began = time.monotonic()
    from .devices import open_device

    device = open_device()
    batches = work.batches()
    read = device.read_ahead(batches) if way == "ahead" else batches.one_by_one()
    names = work.names()
    with open(output, "w", encoding="utf-8") as file:
        for pixels in read:
            digits = device.predict(pixels)
            file.writelines(f"{next(names)},{digit}\n" for digit in digits)
    print(json.dumps({"seconds": time.monotonic() - began}))


if __name__ == "__main__":
    main(sys.argv[1:])
