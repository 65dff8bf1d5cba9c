"""The baselines of each task, compared with the labels so far."""

from collections import Counter
from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.core.models.baselines import ClassBaseline, FlagBaseline, MeanBaseline, ShareBaseline


@given(st.lists(st.booleans(), min_size=1))
def test_of_true_and_false_the_share_of_true_and_the_last_label_are_answered(labels):
    baseline = ShareBaseline()
    for label in labels:
        baseline.learn(label)
    assert baseline.majority == labels.count(True) / len(labels)
    assert baseline.no_change == float(labels[-1])


@given(st.lists(st.booleans(), min_size=1))
def test_an_anomaly_is_flagged_where_most_labels_were_true(labels):
    baseline = FlagBaseline()
    for label in labels:
        baseline.learn(label)
    share = labels.count(True) / len(labels)
    assert baseline.majority == {"score": share, "anomaly": float(share > 0.5)}
    assert baseline.no_change == {"score": float(labels[-1]), "anomaly": float(labels[-1])}


@given(st.lists(st.sampled_from("abc"), min_size=1))
def test_of_classes_the_shares_and_the_last_one_are_answered(labels):
    baseline = ClassBaseline()
    for label in labels:
        baseline.learn(label)
    assert baseline.majority == {name: n / len(labels) for name, n in Counter(labels).items()}
    assert baseline.no_change == {labels[-1]: 1.0}


@given(st.lists(st.floats(-1e6, 1e6), min_size=1))
def test_of_numbers_the_mean_and_the_last_one_are_answered(labels):
    baseline = MeanBaseline()
    for label in labels:
        baseline.learn(label)
    assert baseline.majority == pytest.approx(mean(labels), abs=1e-6)
    assert baseline.no_change == labels[-1]


def test_before_the_first_label_each_baseline_has_a_neutral_answer():
    assert (ShareBaseline().majority, ShareBaseline().no_change) == (0.5, 0.0)
    assert (ClassBaseline().majority, ClassBaseline().no_change) == ({}, {})
    assert (MeanBaseline().majority, MeanBaseline().no_change) == (0.0, 0.0)
