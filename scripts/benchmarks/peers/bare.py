"""The bare loop: decode, work, encode in one process without a broker. Prints its events/s of CPU time.

EVENTS is a file with one event per line. With LEARN=1 the loop also learns.
"""

import os
import time
from pathlib import Path

import orjson
from work import work

lines = Path(os.environ["EVENTS"]).read_bytes().splitlines()
began = time.process_time()
for line in lines:
    orjson.dumps(work(orjson.loads(line)))
print(len(lines) / (time.process_time() - began))  # noqa: T201
