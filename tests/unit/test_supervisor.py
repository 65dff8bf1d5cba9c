"""When a flow of several processes has ended, and how."""

from typing import Any

import pytest

from flows.runner import EXIT_AGAIN, EXIT_FAULT, EXIT_MISTAKE
from flows.supervisor import _Child


class Process:
    def __init__(self, code: int | None) -> None:
        self._code = code

    def poll(self) -> int | None:
        return self._code


@pytest.mark.parametrize(
    ("codes", "end"),
    [
        ([None, None], None),
        ([None, EXIT_FAULT], EXIT_FAULT),
        ([EXIT_FAULT, EXIT_MISTAKE], EXIT_MISTAKE),
        ([EXIT_AGAIN, None], None),  # killing the other one would cost it its last epoch
        ([EXIT_AGAIN, EXIT_AGAIN], EXIT_AGAIN),
        ([EXIT_AGAIN, -9, None], -9),
        ([EXIT_AGAIN, 0, None], 0),
    ],
)
def test_a_flow_has_ended_with_its_first_crash_and_in_order_when_all_its_processes_have(
    codes: list[int | None], end: int | None
) -> None:
    processes: Any = [Process(code) for code in codes]
    assert _Child("predict", processes).end() == end
