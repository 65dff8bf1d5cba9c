"""One reproduction at a time, and the last results are kept."""

import pytest

from flows.serve.problems import Problem
from flows.serve.reproductions import KEPT, Reproductions


class Held(Reproductions):
    """Starts no process: each reproduction goes on until `end`."""

    def _begin(self, pipeline, begun):
        self.end = lambda: setattr(begun, "outcome", {"status": "failed", "error": "x"})


def test_another_one_is_refused_until_the_first_has_ended():
    held = Held()
    running = {"version": "v1", "rows": 0, "status": "running"}
    assert held.start("p", "v1") == held.start("p", "v1") == held.state("p", "v1") == running
    for other in (("p", "v2"), ("q", "v1")):
        with pytest.raises(Problem, match="version 'v1' of 'p' is being made again") as refused:
            held.start(*other)
        assert (refused.value.status, refused.value.headers) == (429, {"Retry-After": "10"})
    held.end()
    assert held.state("p", "v1")["status"] == "failed"
    assert held.start("q", "v1")["status"] == "running"


def test_a_result_that_was_not_asked_for_or_is_too_old_is_not_there():
    held = Held()
    for number in range(KEPT + 1):
        held.start("p", f"v{number}")
        held.end()
    assert held.state("p", "v1")["status"] == "failed"
    with pytest.raises(Problem, match="no reproduction of version 'v0' was asked for") as missing:
        held.state("p", "v0")
    assert missing.value.status == 404
