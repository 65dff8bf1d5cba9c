"""The limit on the memory of a process, in a process of its own."""

import subprocess
import sys

import pytest

ALLOCATE = """
from flows.host.memory import limit_growth
limit_growth(100 * 2**20)
content = bytearray({size} * 2**20)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the growth")
def test_an_allocation_beyond_the_growth_fails_and_a_smaller_one_does_not():
    outcomes = [
        subprocess.run([sys.executable, "-c", ALLOCATE.format(size=size)], capture_output=True, text=True)
        for size in (50, 200)
    ]
    assert [outcome.returncode for outcome in outcomes] == [0, 1]
    assert outcomes[1].stderr.splitlines()[-1] == "MemoryError"
