"""The bare loop: decode, work, encode in one process without a broker.

EVENTS is a file with one event per line. Prints events/s of CPU time and of wall time.
"""

import os
import time
from pathlib import Path

import orjson
from work import work

lines = Path(os.environ["EVENTS"]).read_bytes().splitlines()
began = time.process_time(), time.perf_counter()
for line in lines:
    orjson.dumps(work(orjson.loads(line)))
ended = time.process_time(), time.perf_counter()
print(*(len(lines) / (end - begin) for begin, end in zip(began, ended, strict=True)))  # noqa: T201
