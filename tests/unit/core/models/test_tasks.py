"""The four tasks: valid estimators and targets, and the loss of a prediction."""

from math import inf, log, nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from river import anomaly, ensemble, linear_model, metrics, multiclass, preprocessing, stats, tree

from flows.core.models.baselines import ClassBaseline, FlagBaseline, MeanBaseline
from flows.core.models.model import Model
from flows.core.models.tasks import TASKS, log_loss, task_of
from flows.errors import ConfigError

BINARY, MULTICLASS, REGRESSION, ANOMALY = TASKS.values()


class Answers:
    """An estimator that is none of River's."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def predict_one(self, features: Any) -> Any:
        return self.answer

    def learn_one(self, features: Any, truth: Any) -> None: ...


class Probable(Answers):
    def predict_proba_one(self, features: Any) -> Any:
        return self.answer


class Scorer(anomaly.HalfSpaceTrees):
    """A detector with one answer."""

    answer = 0.5

    def score_one(self, x: Any) -> float:
        return self.answer


def half_space() -> Any:
    return anomaly.QuantileFilter(anomaly.HalfSpaceTrees(), q=0.9)


@pytest.mark.parametrize(
    ("task", "estimator"),
    [
        (BINARY, linear_model.LogisticRegression()),
        (BINARY, Probable({})),
        (MULTICLASS, preprocessing.StandardScaler() | linear_model.SoftmaxRegression()),
        (MULTICLASS, Probable({})),
        (REGRESSION, preprocessing.StandardScaler() | linear_model.LinearRegression()),
        (REGRESSION, Answers(1.0)),
        (ANOMALY, half_space()),
        (ANOMALY, preprocessing.MinMaxScaler() | half_space()),
    ],
)
def test_an_estimator_of_the_tasks_kind_fits(task, estimator):
    task.check(estimator)


@pytest.mark.parametrize(
    ("task", "estimator", "said"),
    [
        (BINARY, linear_model.LinearRegression(), "got LinearRegression; it fits task='regression'"),
        (BINARY, preprocessing.StandardScaler() | half_space(), "it fits task='anomaly'"),
        (BINARY, preprocessing.StandardScaler(), "declare another model or another task"),
        (
            MULTICLASS,
            preprocessing.StandardScaler() | linear_model.LogisticRegression(),
            "a classifier of more than two classes, got LogisticRegression; it fits task='binary'",
        ),
        (
            MULTICLASS,
            multiclass.OutputCodeClassifier(linear_model.LogisticRegression(), code_size=3),
            "OutputCodeClassifier gives no probabilities",
        ),
        (BINARY, ensemble.VotingClassifier([tree.HoeffdingTreeClassifier()] * 2), "gives no probabilities"),
        (REGRESSION, tree.HoeffdingTreeClassifier(), "it fits task='binary'"),
        (REGRESSION, Probable({}), "it fits task='binary'"),
        (ANOMALY, anomaly.HalfSpaceTrees(), r"anomaly.QuantileFilter\(anomaly.HalfSpaceTrees\(\), q=0.99\)"),
        (ANOMALY, anomaly.QuantileFilter(anomaly.GaussianScorer(), q=0.9), "got QuantileFilter"),
        (ANOMALY, linear_model.LogisticRegression(), "it fits task='binary'"),
    ],
)
def test_another_one_is_refused_with_what_would_fit(task, estimator, said):
    with pytest.raises(ConfigError, match=said):
        task.check(estimator)


def test_a_task_that_there_is_not_is_refused_with_those_that_there_are():
    assert task_of("regression") is REGRESSION
    with pytest.raises(ConfigError, match="no task 'ranking'; declare one of binary, multiclass, regression"):
        task_of("ranking")


@pytest.mark.parametrize("answer", [nan, inf, -inf, 1e151])
def test_a_number_that_the_predictions_topic_would_not_take_is_no_answer(answer):
    with pytest.raises(ArithmeticError, match="v1 gives"):
        Model("v1", Answers(answer), task=REGRESSION).score({})
    with pytest.raises(ArithmeticError, match="v1 gives"):
        Model("v1", Probable({"a": 0.5, "b": answer}), task=MULTICLASS).score({})


def test_a_regressor_without_an_answer_says_zero_as_most_of_rivers_do_before_the_first_label():
    assert Model("v1", Answers(None), task=REGRESSION).score({}) == 0.0


def test_a_class_that_is_no_text_is_no_answer():
    with pytest.raises(TypeError, match="must be a string, got 3"):
        Model("v1", Probable({3: 1.0}), task=MULTICLASS).score({})


def test_a_detector_that_gives_nan_is_not_taught_so_that_rivers_quantile_does_not_panic():
    """The panic is of Rust, and no `except Exception` holds it; without the guard this test ends with it."""
    model = Model("v1", anomaly.QuantileFilter(Scorer(), q=0.9), task=ANOMALY)
    assert model.learn({"a": 1.0}, None) is None
    model.estimator.anomaly_detector.answer = nan
    assert str(model.learn({"a": 1.0}, None)) == "the score of the detector must be finite, got nan"
    model.estimator.anomaly_detector.answer = 0.75
    for _ in range(10):
        assert model.learn({"a": 1.0}, None) is None
        assert model.score({"a": 1.0})["score"] == 0.75


def test_an_anomaly_is_what_lies_above_the_quantile_of_the_scores_before():
    model = Model("v1", anomaly.QuantileFilter(Scorer(), q=0.9), task=ANOMALY)
    detector = model.estimator.anomaly_detector
    assert model.score({"a": 1.0}) == {"score": 0.5, "anomaly": 0.0}
    for number in range(100):
        detector.answer = number / 100
        assert model.learn({"a": 1.0}, None) is None
    for answer, flag in ((0.5, 0.0), (0.85, 0.0), (0.95, 1.0)):
        detector.answer = answer
        assert model.score({"a": 1.0}) == {"score": answer, "anomaly": flag}


@pytest.mark.parametrize(
    ("task", "score", "truth", "loss"),
    [
        (BINARY, 0.8, True, -log(0.8)),
        (BINARY, 0.8, False, -log(0.2)),
        (MULTICLASS, {"a": 0.7, "b": 0.3}, "b", -log(0.3)),
        (MULTICLASS, {"a": 0.7, "b": 0.3}, "c", -log(1e-15)),
        (MULTICLASS, {}, "c", -log(1e-15)),
        (REGRESSION, 3.0, 5, 4.0),
        (REGRESSION, 1e150, -1e150, 4e300),
        (ANOMALY, {"score": 9.0, "anomaly": 1.0}, True, 0.0),
        (ANOMALY, {"score": 9.0, "anomaly": 0.0}, True, 1.0),
    ],
)
def test_the_loss_of_an_answer(task, score, truth, loss):
    assert task.loss(score, truth) == pytest.approx(loss)


@given(st.floats(0, 1))
def test_the_log_loss_of_any_likelihood_is_finite(likelihood):
    assert 0 <= log_loss(likelihood) <= -log(1e-15)


@given(st.floats(0, 1), st.booleans())
def test_of_two_classes_the_brier_score_is_the_squared_error(score, truth):
    error, wrong = BINARY.error_measure()(score, truth)
    of_classes = MULTICLASS.error_measure()({"no": 1 - score, "yes": score}, "yes" if truth else "no")
    assert of_classes == pytest.approx((error, wrong))
    assert BINARY.loss(score, truth) == pytest.approx(log_loss(score if truth else 1 - score))


def test_no_answer_is_wrong_and_its_brier_score_is_one_half():
    assert MULTICLASS.error_measure()({}, "a") == (0.5, True)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60), st.sampled_from([0.001, 1000.0]))
def test_the_error_of_a_number_is_between_0_and_1_whatever_its_unit(errors, unit):
    measure = REGRESSION.error_measure()
    for error in errors:
        scaled, wrong = measure(error * unit, 0.0)
        assert 0 <= scaled <= 1
        assert wrong in (False, True)


def test_the_error_of_a_number_is_one_half_where_it_is_the_median_of_those_before():
    measure, median = REGRESSION.error_measure(), stats.Quantile(0.5)
    for number in range(200):
        error = float(number * 37 % 101)
        usual = median.get()
        expected = (0.5, False) if usual is None else (error / (error + usual) if error else 0, error > usual)
        assert measure(7.0 - error, 7.0) == pytest.approx(expected)
        median.update(error)
    assert measure(median.get(), 0.0) == (0.5, False)


def test_an_error_that_grows_sixfold_stands_out_on_its_scale():
    measure = REGRESSION.error_measure()
    before = [measure(1.0 + number % 7 / 7, 0.0)[0] for number in range(500)]
    after = [measure(6.0 * (1.0 + number % 7 / 7), 0.0)[0] for number in range(100)]
    assert sum(before) / 500 < 0.52
    assert sum(after) / 100 > 0.8


@pytest.mark.parametrize(
    ("task", "good", "bad"),
    [
        (BINARY, [0.5, 1], [{}, {"a": 0.5}]),
        (REGRESSION, [-7.5], [{"score": 1.0, "anomaly": 0.0}]),
        (MULTICLASS, [{}, {"a": 0.5}], [0.5]),
        (ANOMALY, [{"score": 1.0, "anomaly": 0.0}], [0.5, {}, {"score": 1.0}]),
    ],
)
def test_a_score_that_is_read_back_is_known_by_its_form(task, good, bad):
    assert all(task.serves(score) for score in good)
    assert not any(task.serves(score) for score in bad)


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_the_default_metrics_take_the_baselines_answers(task):
    truth: Any = {"binary": True, "multiclass": "a", "regression": 2.5, "anomaly": True}[task.name]
    metric, baseline = task.metrics(), task.baseline()
    for _ in range(3):
        for score in (baseline.majority, baseline.no_change):
            takes_labels = getattr(metric, "requires_labels", False)
            answer = task.predicted_label(score) if takes_labels else task.metric_input(score, truth)
            if answer is not None:
                metric.update(truth, answer)
        baseline.learn(truth)
    assert all(isinstance(part.get(), float) for part in metric)


def test_scores_of_anomalies_are_ranked_by_metrics_that_take_them():
    ranking = metrics.RollingROCAUC()
    for score, truth in ((9.0, True), (3.0, False), (5.0, True), (4.0, False)):
        ranking.update(truth, ANOMALY.metric_input({"score": score, "anomaly": 0.0}, truth))
    assert ranking.get() == 1.0


def test_the_baseline_of_classes_is_their_shares_so_far_and_the_last_one():
    baseline = ClassBaseline()
    assert (baseline.majority, baseline.no_change) == ({}, {})
    for truth in "abbab":
        baseline.learn(truth)
    assert (baseline.majority, baseline.no_change) == ({"a": 0.4, "b": 0.6}, {"b": 1.0})


def test_the_baseline_of_classes_counts_a_thousand_of_them():
    baseline = ClassBaseline()
    for number in range(1500):
        baseline.learn(str(number))
    assert len(baseline.majority) == 1000
    assert baseline.no_change == {"1499": 1.0}
    assert sum(baseline.majority.values()) == pytest.approx(1)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1))
def test_the_baseline_of_numbers_is_their_mean_and_the_last_one(truths):
    baseline = MeanBaseline()
    assert (baseline.majority, baseline.no_change) == (0.0, 0.0)
    for truth in truths:
        baseline.learn(truth)
    assert baseline.majority == pytest.approx(sum(truths) / len(truths), abs=1e-6)
    assert baseline.no_change == truths[-1]


def test_the_baseline_of_anomalies_flags_what_most_labels_say():
    baseline = FlagBaseline()
    assert baseline.majority == {"score": 0.5, "anomaly": 0.0}
    for truth in (True, True, False):
        baseline.learn(truth)
    assert baseline.majority == {"score": 2 / 3, "anomaly": 1.0}
    assert baseline.no_change == {"score": 0.0, "anomaly": 0.0}
