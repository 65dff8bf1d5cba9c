"""The effect of one outlier on a model: the ROC AUC of the 18,000 events after it.

The events are synthetic: an amount, the mean of the customer's last 20 amounts, and three other numbers.
Event 2,000 has an extreme amount. "learn", "skip" and "clip" are the values of `Pipeline.outliers`; with
"learn" the model gets the event as it is, as in River.
"""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from math import exp, log
from random import Random
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import track
from rich.table import Table
from river import forest, linear_model, naive_bayes, neighbors, preprocessing, tree

from flows.backtest.summary import roc_auc
from flows.core.evaluation.evaluation import Evaluation
from flows.core.evaluation.label_join import Label
from flows.core.learning.learner import Learner
from flows.core.learning.outliers import Outliers
from flows.core.learning.policy import ContestPolicy, Policy
from flows.core.models.model import Model, Prediction
from flows.core.models.tasks import BINARY
from flows.core.stream.broker import Record

EVENTS, AT = 20_000, 2_000
CUSTOMERS, WINDOW = 200, 20
VALUES = (1e6, 1e150, -1e150)
NAMES = ("amount", "usual", "x", "y", "z")
ACTIONS: Sequence[Outliers] = ("learn", "skip", "clip")


def _scaled(scaler: Any) -> Any:
    return scaler | linear_model.LogisticRegression()


MODELS: dict[str, Callable[[], Any]] = {
    "StandardScaler, LogisticRegression": lambda: _scaled(preprocessing.StandardScaler()),
    "RobustScaler, LogisticRegression": lambda: _scaled(preprocessing.RobustScaler()),
    "MinMaxScaler, LogisticRegression": lambda: _scaled(preprocessing.MinMaxScaler()),
    "GaussianNB": naive_bayes.GaussianNB,
    "HoeffdingTreeClassifier": tree.HoeffdingTreeClassifier,
    "ARFClassifier of 3": lambda: forest.ARFClassifier(n_models=3, seed=1),
    "StandardScaler, KNNClassifier": lambda: (
        preprocessing.StandardScaler() | neighbors.KNNClassifier(engine=neighbors.LazySearch(window_size=100))
    ),
}


class Event(NamedTuple):
    """The features of an event, and its label."""

    features: list[float]
    truth: bool


def stream(events: int, at: int = AT, value: float | None = None) -> list[Event]:
    """Return the events; the one at `at` has the amount `value`, unless that is None."""
    rng, made = Random(1), []  # noqa: S311  made-up data
    recent = [deque([1.0], WINDOW) for _ in range(CUSTOMERS)]
    for number in range(events):
        own, amount = recent[rng.randrange(CUSTOMERS)], rng.lognormvariate(0, 1)
        x, y, z = (rng.gauss(0, 1) for _ in range(3))
        truth = rng.random() < 1 / (1 + exp(1.0 - 1.3 * log(amount) - 1.5 * x + y))
        if number == at and value is not None:
            amount = value
        made.append(Event([amount, sum(own) / len(own), x, y, z], truth))
        own.append(amount)
    return made


class Result(NamedTuple):
    """The ROC AUC of the events after `at`, and the number of outliers found."""

    auc: float
    outliers: int


def run(model: str, events: Sequence[Event], at: int, action: Outliers) -> Result:
    """Run the learner on the events, each labelled before the next; a failed score counts as 0.5."""
    champion = Model("v1", MODELS[model]())
    policy = Policy(10**9, 0.002, 1000, 0, ContestPolicy(0.01, 50_000, 500), outliers=action)
    learner = Learner("bench", policy, NAMES, champion, Evaluation(BINARY.metrics))
    scores: list[float] = []
    for number, (features, truth) in enumerate(events):
        score = _score(champion, features)
        scores.append(score)
        list(learner.predicted(Prediction(str(number), number, score, "v1", {}, features)))
        list(
            learner.labelled(Label(str(number), number, truth, Record("labels", 0, number, 0, None, b"", ())))
        )
    after = slice(at + 1, None)
    return Result(roc_auc(scores[after], [event.truth for event in events[after]]), learner.outliers.rows)


def _score(model: Model, features: Sequence[float]) -> float:
    try:
        score: Any = model.score(dict(zip(NAMES, features, strict=True)))
    except Exception:  # a dead letter in the flows
        return 0.5
    return float(score)


def _case(model: str, value: float | None, action: Outliers) -> Result:
    return run(model, stream(EVENTS, AT, value), AT, action)


def main() -> int:
    """Measure all cases and print the table."""
    console = Console()
    cases = [(model, None, ACTIONS[1]) for model in MODELS]
    cases += [(model, value, action) for model in MODELS for value in VALUES for action in ACTIONS]
    with ProcessPoolExecutor() as pool:
        jobs = {case: pool.submit(_case, *case) for case in cases}
        done = track(jobs.items(), "outliers", console=console, transient=True)
        results = {case: job.result() for case, job in done}
    table = Table("model", "amount", "without it", *ACTIONS, "outliers")
    for model in MODELS:
        clean = results[model, None, ACTIONS[1]]
        for value in VALUES:
            treated = [results[model, value, action] for action in ACTIONS]
            count = f"{treated[1].outliers} ({clean.outliers} without it)"
            table.add_row(model, f"{value:g}", *[f"{r.auc:.4f}" for r in (clean, *treated)], count)
    console.print(table)
    return 0
