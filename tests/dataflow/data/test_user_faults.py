"""An error in the user's code in a live flow: a dead letter with the line, and one traceback."""

import logging
from typing import Any

import pytest
from harness import Project, run_flow
from made_flights import traffic
from river import linear_model

FLIGHTS = 30


def prepare(x: dict[str, Any]) -> dict[str, float]:
    return {"a": x["no such feature"]}


def nothing(_: dict[str, Any]) -> dict[str, float]:
    return {}


class Forgetful(linear_model.LogisticRegression):
    def learn_one(self, x: dict[str, Any], y: bool, w: float = 1.0) -> None:
        raise OSError("no room to learn")


def details(project: Project) -> list[str]:
    return [dict(letter.headers)["detail"].decode() for letter in project.records("dead-letters")]


def test_the_predict_flow_tells_of_the_users_line_once(
    project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    running = project.engine(model=lambda: prepare | linear_model.LogisticRegression())
    project.send([each for each in traffic(FLIGHTS) if each.topic != "flight_labels"])
    with caplog.at_level(logging.ERROR, "driftline.predict"):
        run_flow(running, "predict")
    assert len(details(project)) == FLIGHTS
    place = f"(test_user_faults.py, line {prepare.__code__.co_firstlineno + 1}, in prepare)"
    assert set(details(project)) == {f"the model cannot score it: KeyError: 'no such feature' {place}"}
    (told,) = [logging.Formatter().format(record) for record in caplog.records]
    assert told.startswith(f"KeyError: 'no such feature' {place}; ")
    assert "Traceback (most recent call last):\n" in told


def test_the_learn_flow_tells_of_the_users_line_once(
    project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    running = project.engine(model=lambda: nothing | Forgetful())
    project.send(traffic(FLIGHTS))
    run_flow(running, "predict")
    with caplog.at_level(logging.ERROR, "driftline.learn"):
        run_flow(running, "learn")
    assert len(details(project)) == FLIGHTS
    assert all("OSError: no room to learn (test_user_faults.py, line " in said for said in details(project))
    (told,) = [logging.Formatter().format(record) for record in caplog.records]
    assert "in learn_one" in told
    assert "Traceback (most recent call last):\n" in told
