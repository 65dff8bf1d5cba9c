"""A challenger that only looked good: the engine promotes it and takes it back, on Kafka."""

from collections import Counter
from collections.abc import Callable
from itertools import groupby
from math import inf

from harness import PATIENCE, Project, wait_until
from made_flights import HOUR, MINUTE, NOON, event_payload, label, record

from flows.core.stream.broker import Outgoing

DAY = 24 * HOUR
FULL = NOON + 12 * DAY  # by then all windows are full, which drift detection waits for
ROUND = 20  # flights

# `January` is right in one month only. `Odd` counts how often an odd minute meant that a flight was late.
DECLARED = """
from dataclasses import replace

from river import base

from flows.pipelines import flight_delays
from flows.policies import DriftPolicy, RetrainPolicy, Search


class Odd(base.Classifier):
    def __init__(self):
        self.right, self.learned = 1, 2

    def sure(self, x):
        return self.right / self.learned

    def predict_proba_one(self, x):
        sure = self.sure(x)
        return {True: sure if x["minute_of_day"] % 2 else 1 - sure}

    def learn_one(self, x, y):
        self.right += (x["minute_of_day"] % 2 == 1) == y
        self.learned += 1


class January(Odd):
    def sure(self, x):
        return 0.99 if x["month"] == 1 else 0.01


pipeline = replace(
    flight_delays.pipeline,
    inputs=("carrier", "minute_of_day", "month"),
    model=Odd,
    drift=DriftPolicy(kinds=("concept",), warm_up=60),
    retrain=RetrainPolicy(
        minimum_labels=5, block=5, probation=2_000, trial=0, search=Search({"january": January})
    ),
)
"""


class Airport:
    """Sends flights, one a minute, each with its label half a minute later; counts them."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self.sent = 0
        self.now = NOON

    def round(self, month: int = 1, truth: bool = True) -> None:
        """Send some flights of which those of odd minutes are late, or are not, and wait for their labels."""
        records: list[Outgoing] = []
        for _ in range(ROUND):
            self.sent += 1
            self.now += MINUTE
            flight, is_odd = f"F{self.sent:05}", self.now // MINUTE % 2 == 1
            body = {**event_payload(flight, self.now), "month": month}
            records.append(record("flights", self.now, body))
            records.append(label(flight, self.now + MINUTE // 2, is_odd == truth))
        self._project.send(records)
        wait_until(lambda: learned(self._project) >= self.sent, PATIENCE)

    def rounds_until(self, condition: Callable[[], bool], month: int = 1, truth: bool = True) -> None:
        """Send flights until the condition holds."""

        def holds() -> bool:
            self.round(month, truth)
            return condition()

        wait_until(holds, 2 * PATIENCE)


def learned(project: Project) -> int:
    return max((each["labels"] for each in project.values("metrics")), default=0)


def changes(project: Project) -> list[tuple[str, str]]:
    return [(each["change"], each["version"]) for each in project.values("registry")]


def test_a_bad_challenger_that_looked_good_is_promoted_and_taken_back_without_a_gap(
    project_on_kafka: Project,
) -> None:
    (project_on_kafka.directory / "months.py").write_text(DECLARED)
    toml = 'feature_repo = "feature_repo"\npipelines = ["months"]\n'
    (project_on_kafka.directory / "driftline.toml").write_text(toml)
    project = project_on_kafka.with_settings(HTTP_PORT=0, EPOCH_SECONDS=0.2, MODEL_SECONDS=0.05)
    airport = Airport(project)
    with project.flows("predict", "learn", "retrain") as running:
        airport.round()
        airport.now = FULL
        for _ in range(8):
            airport.round()
        airport.rounds_until(lambda: project.records("drift") != [], truth=False)  # a storm: an alarm
        airport.rounds_until(lambda: ("promoted", "v2-search") in changes(project))
        airport.round()
        airport.rounds_until(lambda: ("retired", "v2-search") in changes(project), month=2)
        airport.round(month=2)
        assert running.stop() == 0, running.said()

    assert [each for each in changes(project) if each[0] in ("promoted", "demoted")] == [
        ("promoted", "v1"),
        ("promoted", "v2-search"),
        ("demoted", "v1"),
        ("promoted", "v1"),
    ]
    told = {(each["change"], each["version"]): each for each in project.values("registry")}
    back = told["promoted", "v1"]
    assert back["who"] == told["promoted", "v2-search"]["who"] == "engine"
    assert back["why"] == "v1 has a lower loss than its successor v2-search"
    assert back["figures"]["log_likelihood_ratio"] > back["figures"]["threshold"]
    history = project.run("models", "history", "--verify")
    assert (history.returncode, "v1 has a lower loss than its successor v2-search" in history.stdout) == (
        0,
        True,
    )

    predictions = project.values("predictions")
    assert Counter(each["id"] for each in predictions) == {f"F{n + 1:05}": 1 for n in range(airport.sent)}
    assert [version for version, _ in groupby(predictions, key=lambda each: each["model"])] == [
        "v1",
        "v2-search",
        "v1",
    ]
    each_is_by_the_champion_of_then(predictions, project.values("registry"))
    assert project.records("dead-letters") == []


def each_is_by_the_champion_of_then(predictions: list[dict], entries: list[dict]) -> None:
    """A serving model has learned no less than at its promotion, and no more than at the next one's."""
    reigns = [each for each in entries if each["change"] == "promoted"]
    served = [list(of) for _, of in groupby(predictions, key=lambda each: each["model"])]
    for reign, answers in zip(reigns, served, strict=True):
        assert {each["model"] for each in answers} == {reign["version"]}
        ended = (
            each["learned"]
            for each in entries[reign["number"] :]
            if each["version"] == reign["version"] and each["change"] in ("demoted", "retired")
        )
        begin, end = reign.get("learned", 0), next(ended, inf)
        assert all(begin <= each["learned"] <= end for each in answers), (begin, end)
