"""Updates with many labels at once, compared with River's own update for each label."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from river import metrics

from flows.core.evaluation.metric_updates import Answers, update_many
from flows.core.models.tasks import TASKS

thresholds = st.integers(0, 19).map(lambda n: n / 19)
probabilities = st.floats(0, 1) | thresholds
binary = st.tuples(st.booleans(), probabilities)
numbers = st.floats(-1e6, 1e6)
shares = st.dictionaries(st.sampled_from("abcd"), st.floats(0, 1), max_size=4)
flags = st.builds(
    lambda score, flag: {"score": score, "anomaly": float(flag)}, st.floats(0, 9), st.booleans()
)

ROWS: dict[str, Any] = {
    "binary": binary,
    "multiclass": st.tuples(st.sampled_from("abcd"), shares),
    "regression": st.tuples(numbers, numbers),
    "anomaly": st.tuples(st.booleans(), flags),
}
METRICS: list[tuple[str, Callable[[], Any]]] = [
    ("binary", lambda: metrics.ROCAUC(n_thresholds=20)),
    ("binary", lambda: metrics.ROCAUC(pos_val=False)),
    ("binary", metrics.LogLoss),
    ("binary", metrics.CrossEntropy),
    ("binary", metrics.RollingROCAUC),
    ("binary", metrics.Rand),
    ("binary", lambda: metrics.F1(pos_val=False)),
    ("binary", lambda: metrics.MCC() + metrics.Precision() + metrics.Jaccard()),
    ("binary", lambda: metrics.ROCAUC() + metrics.LogLoss() + metrics.Accuracy() + metrics.CrossEntropy()),
    ("multiclass", TASKS["multiclass"].metrics),
    ("multiclass", lambda: metrics.CohenKappa() + metrics.WeightedF1() + metrics.FowlkesMallows()),
    ("multiclass", metrics.ROCAUC),
    ("regression", TASKS["regression"].metrics),
    ("regression", lambda: metrics.R2() + metrics.SMAPE() + metrics.MAPE()),
    ("anomaly", TASKS["anomaly"].metrics),
    ("anomaly", metrics.ROCAUC),
]


def updated_by_river(metric: Any, task: Any, truths: list[Any], scores: list[Any]) -> Any:
    takes_labels = getattr(metric, "requires_labels", False)
    for truth, score in zip(truths, scores, strict=True):
        answer = task.predicted_label(score) if takes_labels else task.metric_input(score, truth)
        if answer is not None:
            metric.update(truth, answer)
    return metric


@pytest.mark.parametrize(("name", "make"), METRICS)
@given(data=st.data())
def test_blocks_of_any_size_give_the_value_of_one_update_for_each_label(name, make, data):
    task = TASKS[name]
    rows = data.draw(st.lists(ROWS[name], max_size=60))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=3)))
    truths, scores = [truth for truth, _ in rows], [score for _, score in rows]
    metric = make()
    for start, end in zip([0, *cuts], [*cuts, len(rows)], strict=True):
        update_many(metric, Answers(task, truths[start:end], scores[start:end]))
    assert repr(metric.get()) == repr(updated_by_river(make(), task, truths, scores).get())


@given(st.lists(binary, min_size=1, max_size=40))
def test_the_confusion_matrices_are_those_of_river_down_to_the_number_of_samples(rows):
    truths, scores = zip(*rows, strict=True)
    many, one_by_one = (metrics.ROCAUC(), metrics.Accuracy()), (metrics.ROCAUC(), metrics.Accuracy())
    for metric, oracle in zip(many, one_by_one, strict=True):
        update_many(metric, Answers(TASKS["binary"], truths, scores))
        updated_by_river(oracle, TASKS["binary"], truths, scores)
    for found, expected in zip(
        [*many[0].cms, many[1].cm], [*one_by_one[0].cms, one_by_one[1].cm], strict=True
    ):
        assert (found.n_samples, found.total_weight) == (expected.n_samples, expected.total_weight)
        assert found.total_true_positives == expected.total_true_positives
        cells = [(truth, label) for truth in (False, True) for label in (False, True)]
        assert [found[t][p] for t, p in cells] == [expected[t][p] for t, p in cells]


def test_a_metric_of_the_user_gets_each_label_in_order():
    class Last(metrics.base.RegressionMetric):
        seen: tuple[Any, ...] = ()

        def update(self, y_true: float, y_pred: float) -> None:
            self.seen += ((y_true, y_pred),)

        def revert(self, y_true: float, y_pred: float) -> None: ...

        def get(self) -> float:
            return self.seen[-1][1]

    metric = Last()
    update_many(metric, Answers(TASKS["regression"], [1.0, 2.0], [3.0, 4.0]))
    assert metric.seen == ((1.0, 3.0), (2.0, 4.0))
