"""The ways to keep a model up to date, on one stream whose concept changes at once."""

import pytest

from scripts.benchmarks.retraining.streams import LENGTH, TASKS, Stream, stream
from scripts.benchmarks.retraining.ways import WAYS, Result, run

TASK = TASKS[3]  # of STAGGER, which has no noise


@pytest.fixture(scope="module")
def made() -> Stream:
    return stream(TASK, "abrupt", 0, LENGTH // 2 + 2_000)


@pytest.fixture(scope="module")
def results(made: Stream) -> dict[str, Result]:
    return {name: run(TASK, made, way) for name, way in WAYS.items()}


def test_the_change_of_the_concept_raises_an_alarm(results: dict[str, Result]) -> None:
    assert results["online learning only"].alarms == 1


def test_the_loop_promotes_a_candidate_and_is_back_before_a_reset_and_online_learning(
    results: dict[str, Result],
) -> None:
    loop, online, reset = results["the loop"], results["online learning only"], results["cold reset"]
    assert loop.promoted >= 1
    assert online.promoted == 0
    assert loop.back is not None
    assert reset.back is not None
    assert loop.back < reset.back
    assert online.back is None or loop.back < online.back
    assert loop.loss < online.loss


def test_a_model_that_does_not_learn_is_never_back(results: dict[str, Result]) -> None:
    assert results["no learning"].back is None


def test_a_reset_replaces_the_model_once_and_a_period_more_often(results: dict[str, Result]) -> None:
    assert results["cold reset"].promoted == 1
    assert results["periodic"].promoted >= 2
