"""The states of flows and pipelines."""

import pytest

from flows.core.serving.board.states import Seen, flow_state, pipeline_state


@pytest.mark.parametrize(
    ("seen", "state"),
    [
        (Seen(answers=True, waits_for=None, lag=None, rate=None), "running"),
        (Seen(answers=True, waits_for=None, lag=5000, rate=None), "running"),  # its pace is not known yet
        (Seen(answers=True, waits_for=None, lag=5000, rate=0.0), "behind"),
        (Seen(answers=True, waits_for=None, lag=5000, rate=2000.0), "running"),
        (Seen(answers=True, waits_for="the models topic", lag=5000, rate=0.0), "starting"),
        (Seen(answers=False, waits_for=None, lag=0, rate=0.0), "stopped"),
        (
            Seen(answers=None, waits_for=None, lag=9, rate=0.0),
            "stopped",
        ),  # records wait, and it does not move
        (Seen(answers=None, waits_for=None, lag=None, rate=None), "unknown"),
        (Seen(answers=None, waits_for=None, lag=0, rate=20.0), "running"),
    ],
)
def test_the_state_of_a_flow(seen, state):
    assert flow_state(seen) == state


@pytest.mark.parametrize(
    ("events", "flows", "state"),
    [
        (0, ["stopped"], "empty"),
        (9, ["running", "unknown"], "running"),
        (9, ["behind", "stopped"], "stopped"),
        (9, ["behind", "starting"], "behind"),
    ],
)
def test_the_state_of_a_pipeline_is_that_of_its_worst_flow(events, flows, state):
    assert pipeline_state(events, flows) == state
