"""The card_fraud declaration: the Handbook's features, in the flows and in Feast, and its model."""

import math
import pickle
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import handbook
import pandas as pd
import pytest
from places import SHIPPED

from flows.adapters.feast.compiler import compile_plan
from flows.adapters.feast.offline import OfflineStore
from flows.adapters.feast.online import OnlineStore
from flows.adapters.feast.repo import apply, offline_folders, open_store
from flows.backtest.backtest import Backtest
from flows.core.drift.monitor import MonitorSettings
from flows.core.features.batch import Row
from flows.core.features.plan import LATENESS, FeaturePlan
from flows.core.features.transforms import Transformer
from flows.core.learning.learner import Learner
from flows.core.learning.policy import ContestPolicy, Policy
from flows.core.models.model import Prediction
from flows.host.functions import load_function
from flows.pipelines import flight_delays
from flows.pipelines.card_fraud import model, pipeline, prepare
from flows.pipelines.cards_data import dataset, simulate
from flows.runtime.learner import columns as columns_of

YAML = "feature_store.yaml"
DAY = 86_400_000
NIGHT = datetime(2018, 5, 5, 3, 0, tzinfo=UTC)  # of a Saturday


class Declared(NamedTuple):
    """The shipped feature repository, applied, and its plan for the cards."""

    repo: Path
    plan: FeaturePlan


@pytest.fixture(scope="module")
def declared(tmp_path_factory: pytest.TempPathFactory) -> Declared:
    repo = tmp_path_factory.mktemp("project") / "feature_repo"
    shutil.copytree(SHIPPED, repo, ignore=shutil.ignore_patterns("__pycache__"))
    apply(repo, YAML)
    return Declared(repo, compile_plan(repo, YAML, pipeline.service, LATENESS))


class Served:
    """A backtest of made-up transactions, and what was served for each."""

    def __init__(self, plan: FeaturePlan, transactions: pd.DataFrame) -> None:
        names = (*pipeline.inputs, *plan.names)
        drift, columns = pipeline.drift, columns_of(pipeline, plan)
        monitor = MonitorSettings(
            columns, drift.kinds, drift.features(), drift.quality(), warm_up=drift.warm_up
        )
        policy = Policy(14 * DAY, 0.002, 1000, 7 * DAY, ContestPolicy(0.01, 50_000, 500), monitor=monitor)
        learner = Learner(pipeline.name, policy, names, pipeline.new_model(), pipeline.evaluation())
        predictions: list[Prediction] = []
        predicted = learner.predicted

        def observed(prediction: Prediction, *place: Any) -> Any:
            predictions.append(prediction)
            return predicted(prediction, *place)

        learner.predicted = observed  # type: ignore[method-assign]
        transformer = Transformer(plan, {t.name: load_function(t) for t in plan.transforms})
        progress = list(Backtest(pipeline, plan, learner, transformer).run(dataset(transactions)))
        self.dead = sum(len(step.dead) for step in progress)
        self.signals = [signal for step in progress for signal in step.signals]
        self.scores = pd.Series([p.score for p in predictions], index=[p.time for p in predictions])
        self.ids = [int(prediction.id) for prediction in predictions]
        self.features = pd.DataFrame([prediction.features for prediction in predictions], columns=names)
        self.metrics = learner.evaluation.values()


@pytest.fixture(scope="module")
def transactions() -> pd.DataFrame:
    return simulate()


@pytest.fixture(scope="module")
def served(declared: Declared, transactions: pd.DataFrame) -> Served:
    return Served(declared.plan, transactions)


def test_the_shipped_repository_compiles_to_the_features_of_both_pipelines(declared: Declared) -> None:
    windows = ("1d", "7d", "30d")
    assert declared.plan.names == (
        *[f"customer_transactions__count_{window}" for window in windows],
        *[f"customer_transactions__mean_amount_{window}" for window in windows],
        *[f"terminal_transactions__transactions_{window}" for window in windows],
        *[f"terminal_frauds__frauds_{window}" for window in windows],
        "calendar__weekend",
        "calendar__night",
        *[f"terminal_risk__risk_{window}" for window in windows],
    )
    assert {v.name: (v.entity, v.stream, v.delay // DAY) for v in declared.plan.views} == {
        "customer_transactions": ("customer_id", "transactions", 0),
        "terminal_transactions": ("terminal_id", "transactions", 7),
        "terminal_frauds": ("terminal_id", "chargebacks", 7),
    }
    assert not any(view.excludes_own or view.slide for view in declared.plan.views)
    flights = compile_plan(declared.repo, YAML, flight_delays.pipeline.service, LATENESS)
    assert (len(flights.views), flights.transforms) == (8, ())


def test_every_transaction_is_answered_in_its_order(served: Served, transactions: pd.DataFrame) -> None:
    assert served.dead == 0
    assert served.ids == transactions["TRANSACTION_ID"].tolist()
    assert (served.features["amount"] == transactions["TX_AMOUNT"]).all()


def test_every_feature_is_what_pandas_computes(served: Served, transactions: pd.DataFrame) -> None:
    expected = handbook.features(transactions)
    assert set(served.features) == set(expected)
    for name in expected:
        tolerance = 1e-9 if "mean" in name or "risk" in name else 0
        assert served.features[name].to_numpy() == pytest.approx(expected[name].to_numpy(), abs=tolerance), (
            name
        )
    assert (expected["terminal_frauds__frauds_1d"] > 0).sum() > 50
    assert expected["customer_transactions__count_30d"].max() > 100
    for name in ("calendar__weekend", "calendar__night"):
        assert 0.1 < expected[name].mean() < 0.4


def test_the_first_labels_do_not_make_everything_a_fraud(served: Served) -> None:
    day = (served.scores.index - served.scores.index[0]) // DAY
    assert served.scores[day < 7].max() < 0.02
    assert served.scores[(day >= 7) & (day < 9)].mean() < 0.03


def test_the_windows_that_fill_and_the_start_of_the_model_are_no_drift(served: Served) -> None:
    alarms = [signal for signal in served.signals if signal.severity == "critical"]
    assert [(alarm.kind, [column.name for column in alarm.columns]) for alarm in alarms] == []


def test_the_watch_waits_for_the_windows_and_delays_that_the_repository_declares(declared: Declared) -> None:
    columns = columns_of(pipeline, declared.plan)
    days = {name: column.fill / DAY for name, column in columns.items()}
    assert (days["amount"], days["customer_transactions__count_1d"]) == (0, 30)
    assert (days["terminal_frauds__frauds_1d"], days["terminal_risk__risk_7d"]) == (37, 37)
    assert days["calendar__weekend"] == math.inf


def test_a_fraud_changes_nothing_before_seven_days_have_passed(
    declared: Declared, served: Served, transactions: pd.DataFrame
) -> None:
    """With other outcomes of the last week the features are the same to the last transaction."""
    last = transactions["TX_DATETIME"] > transactions["TX_DATETIME"].max() - pd.Timedelta(days=7)
    changed = transactions.assign(TX_FRAUD=transactions["TX_FRAUD"] ^ last)
    pd.testing.assert_frame_equal(Served(declared.plan, changed).features, served.features)


def test_the_model_beats_both_baselines(served: Served) -> None:
    of = served.metrics
    assert of["model"]["ROCAUC"] > 0.7
    for baseline in ("majority", "no-change"):
        assert of["model"]["ROCAUC"] > of[baseline]["ROCAUC"] + 0.1
        assert of["model"]["LogLoss"] < of[baseline]["LogLoss"]


# The same features for a Feast client


def rows_at(time: int) -> list[Row]:
    """The rows of one customer and one terminal."""
    return [
        Row("customer_transactions", "596", time, [2, 9, 40, 10.5, 11.5, 12.5]),
        Row("terminal_transactions", "3156", time, [4, 8, 10]),
        Row("terminal_frauds", "3156", time, [1, 0, 5]),
    ]


EXPECTED = {
    "customer_transactions__count_7d": 9,
    "customer_transactions__mean_amount_30d": 12.5,
    "terminal_transactions__transactions_1d": 4,
    "terminal_frauds__frauds_30d": 5,
    "calendar__weekend": 1,
    "calendar__night": 1,
    "terminal_risk__risk_1d": 0.25,
    "terminal_risk__risk_7d": 0.0,
    "terminal_risk__risk_30d": 0.5,
}


def test_a_feast_client_reads_them_online(declared: Declared) -> None:
    store = open_store(declared.repo, YAML)
    OnlineStore(store, declared.plan).write(rows_at(round(NIGHT.timestamp() * 1000)))
    known = {"customer_id": "596", "terminal_id": "3156", "time": NIGHT}
    new = {"customer_id": "new", "terminal_id": "new", "time": NIGHT.replace(day=7, hour=12)}
    # under full names Feast leaves out what python mode computes, so the bare ones must be unique
    answer = store.get_online_features(store.get_feature_service("card_fraud"), [known, new]).to_dict()
    assert answer.keys() == {"customer_id", "terminal_id", *map(bare, declared.plan.names)}
    assert len(answer) == 2 + len(declared.plan.names)
    assert {name: answer[bare(name)][0] for name in EXPECTED} == EXPECTED
    assert answer["count_7d"][1] is None
    assert [answer[name][1] for name in ("weekend", "night", "risk_1d", "risk_7d", "risk_30d")] == [0] * 5


def bare(name: str) -> str:
    return name.partition("__")[2]


def test_a_feast_client_reads_their_history(declared: Declared) -> None:
    store = open_store(declared.repo, YAML)
    time = round(NIGHT.timestamp() * 1000)
    OfflineStore(offline_folders(store, declared.plan), declared.plan).append(rows_at(time - 1000), time)
    asked = pd.DataFrame(
        {"customer_id": ["596"], "terminal_id": ["3156"], "time": [NIGHT], "event_timestamp": [NIGHT]}
    )
    answer = store.get_historical_features(
        asked, store.get_feature_service("card_fraud"), full_feature_names=True
    ).to_df()
    assert answer[list(EXPECTED)].iloc[0].to_dict() == EXPECTED


# The model


def given(amount: float, count: int = 0, mean: float | None = None, risk: float = 0.0) -> dict[str, Any]:
    windows = ("1d", "7d", "30d")
    return {
        "amount": amount,
        **{f"customer_transactions__count_{window}": count for window in windows},
        **{f"customer_transactions__mean_amount_{window}": mean for window in windows},
        **{f"terminal_transactions__transactions_{window}": count for window in windows},
        **{f"terminal_frauds__frauds_{window}": 0 for window in windows},
        **{f"terminal_risk__risk_{window}": risk for window in windows},
        "calendar__weekend": 0,
        "calendar__night": 1,
    }


@pytest.mark.parametrize(("amount", "count", "mean"), [(0.0, 0, None), (1e6, 100_000, 1e6), (9.5, 1, 0.0)])
def test_the_model_gets_the_same_finite_numbers_from_every_event(
    amount: float, count: int, mean: float | None
) -> None:
    features = prepare(given(amount, count, mean, 1.0))
    assert features.keys() == prepare(given(1.0)).keys()
    assert all(type(value) in (int, float) and math.isfinite(value) for value in features.values())


def test_a_learned_model_survives_pickling_and_tells_a_risky_terminal() -> None:
    learned = model()
    for number in range(2_000):
        learned.learn_one(given(50.0, 9, 45.0, risk=0.9 if number % 4 == 0 else 0.0), number % 4 == 0)
    again = pickle.loads(pickle.dumps(learned))  # noqa: S301 made here
    risky, safe = given(50.0, 9, 45.0, risk=0.9), given(50.0, 9, 45.0)
    assert again.predict_proba_one(risky) == learned.predict_proba_one(risky)
    assert learned.predict_proba_one(risky)[True] > 0.5 > 0.1 > learned.predict_proba_one(safe)[True]


def test_a_model_without_labels_takes_fraud_for_rare() -> None:
    assert 0 < model().predict_proba_one(given(50.0))[True] < 0.05
