"""Exact contributions in Hoeffding trees and forests of them, by path-dependent TreeSHAP.

A feature that is not known sends the row down each branch with the share of the learned events that took it
(Lundberg et al., 2020, "From local explanations to global understanding with explainable AI for trees").
A leaf then has a weight that is a product with one factor for each feature on its path. If each feature is
known with probability t, the expected weight is a polynomial in t, and the Shapley values are integrals of
its parts over t (Owen, 1972, "Multilinear extensions of games"). Gauss-Legendre quadrature is exact for them.
Only trees whose leaves give constants have them.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from river import forest, tree
from river.forest.adaptive_random_forest import BaseTreeClassifier, BaseTreeRegressor
from river.tree.nodes.branch import DTBranch

from flows.core.explaining.attribution import Attribution, RowContributions
from flows.core.explaining.steps import keep_features_apart, steps_of, transformed
from flows.core.models.tasks import Features

Floats = npt.NDArray[np.float64]

_CLASSIFIERS = (tree.HoeffdingTreeClassifier, tree.HoeffdingAdaptiveTreeClassifier, BaseTreeClassifier)
_REGRESSORS = (tree.HoeffdingTreeRegressor, tree.HoeffdingAdaptiveTreeRegressor, BaseTreeRegressor)


class _Varies(Exception):
    """The output is no sum of constants of leaves."""


class _Member(NamedTuple):
    """A tree, and the constant weight of its output."""

    tree: Any
    weight: float


class _Condition(NamedTuple):
    """The factors of a feature in the weight of a leaf: while it is unknown, and when it is known.

    The first is the same for all rows, the second has a number for each row.
    """

    unknown: float
    known: Floats


_Path = Mapping[str, _Condition]


def tree_attribution(estimator: Any, features: Features, label: Any) -> Attribution | None:
    """Return the Shapley values in trees; None for any other estimator, and for leaves that are models.

    `label` is the class whose probability is explained. The base is the mean over what each tree learned,
    as the weights of its leaves have it.
    """
    *transformers, predictor = steps_of(estimator)
    if not keep_features_apart(transformers):
        return None
    found = tree_contributions(predictor, [transformed(transformers, features)], [label])
    if found is None:
        return None
    contributions = {name: values[0] for name, values in found.contributions.items()}
    return Attribution(found.bases[0], 0, {**dict.fromkeys(features, 0.0), **contributions})


def tree_contributions(
    predictor: Any, rows: Sequence[Features], labels: Sequence[Any]
) -> RowContributions | None:
    """Return the Shapley values for rows of the predictor's inputs; None as for `tree_attribution`.

    `labels` has for each row the class whose probability is explained. An input on no path is left out.
    """
    bases: Floats = np.zeros(len(rows))
    contributions: dict[str, Floats] = {}
    leaves = 0
    try:
        for member in _members(predictor):
            for leaf, path in _leaves(member.tree._root, rows, {}):
                leaves += 1
                values = member.weight * _constants(member.tree, leaf, labels)
                bases += values * np.prod([condition.unknown for condition in path.values()])
                for name, share in zip(path, _shares(path), strict=True):
                    contributions[name] = contributions.get(name, 0.0) + values * share
    except _Varies:
        return None
    of_rows = {name: values.tolist() for name, values in contributions.items()}
    return RowContributions(bases.tolist(), of_rows, leaves)


def _members(predictor: Any) -> list[_Member]:
    """Return the trees of which the predictor gives a weighted sum; raises `_Varies`."""
    if type(predictor) in (*_CLASSIFIERS, *_REGRESSORS):
        members = [_Member(predictor, 1.0)]
    elif type(predictor) is forest.ARFClassifier:
        members = _classifiers(predictor)
    elif type(predictor) is forest.ARFRegressor and predictor.aggregation_method == "mean":
        members = _regressors(predictor)
    else:
        raise _Varies
    members = [member for member in members if member.tree._root is not None]
    if not members:
        raise _Varies
    return members


def _classifiers(ensemble: Any) -> list[_Member]:
    """Return the members of a forest, whose votes are weighted by their metric and divided by their sum."""
    weights = []
    for member, metric in zip(ensemble, ensemble._metrics, strict=True):
        known = 0.0 if member._root is None else metric.get()
        unweighted = ensemble.disable_weighted_vote or known <= 0
        weights.append(float(member._root is not None) if unweighted else known)
    total = sum(weights)
    return [_Member(member, weight / total) for member, weight in zip(ensemble, weights, strict=True)]


def _regressors(ensemble: Any) -> list[_Member]:
    """Return the members of a forest, whose values are weighted by the errors of the others."""
    count = len(ensemble)
    errors = [metric.get() for metric in ensemble._metrics]
    total = sum(errors)
    if ensemble.disable_weighted_vote or not total:
        return [_Member(member, 1 / count) for member in ensemble]
    weights = [(total - error) / (total * (count - 1)) for error in errors]
    return [_Member(member, weight / count) for member, weight in zip(ensemble, weights, strict=True)]


def _leaves(node: Any, rows: Sequence[Features], path: _Path) -> Iterator[tuple[Any, _Path]]:
    """Yield the leaves that a row can reach when some features are unknown, with their conditions."""
    if not isinstance(node, DTBranch):
        yield node, path
        return
    total = node.total_weight
    if not total or getattr(node, "_alternate_tree", None) is not None:
        raise _Varies
    taken = np.array([_taken(node, row) for row in rows])
    before = path.get(node.feature, _Condition(1.0, np.ones(len(rows))))
    for number, child in enumerate(node.children):
        share = child.total_weight / total
        condition = _Condition(before.unknown * share, before.known * (taken == number))
        if condition.unknown or condition.known.any():
            yield from _leaves(child, rows, {**path, node.feature: condition})


def _taken(branch: Any, row: Features) -> int:
    """Return the number of the child that River takes; it takes the usual one for an unseen value."""
    try:
        number = branch.branch_no(row)
    except KeyError:
        number, _ = branch.most_common_path()
    return int(number)


def _constants(owner: Any, leaf: Any, labels: Sequence[Any]) -> Floats:
    """Return what a leaf gives for each row; raises `_Varies` if that depends on the row."""
    of_label = {label: _constant(owner, leaf, label) for label in dict.fromkeys(labels)}
    return np.array([of_label[label] for label in labels])


def _constant(owner: Any, leaf: Any, label: Any) -> float:
    """Return what a leaf gives for any row; raises `_Varies` if that depends on the row."""
    if type(owner) in _CLASSIFIERS:
        total = sum(leaf.stats.values())
        if not total or _is_bayesian(owner, leaf):
            raise _Varies
        return float(leaf.stats.get(label, 0.0) / total)
    if owner.leaf_prediction != "mean" and not _gives_mean(owner, leaf):
        raise _Varies
    return float(leaf.stats.mean.get())


def _is_bayesian(owner: Any, leaf: Any) -> bool:
    """Return whether a leaf predicts by naive Bayes, and not by the shares of its classes."""
    if owner.leaf_prediction == "mc" or not leaf.is_active():
        return False
    if owner.leaf_prediction == "nb":
        return bool(leaf.total_weight >= owner.nb_threshold)
    return bool(leaf._nb_correct_weight >= leaf._mc_correct_weight)


def _gives_mean(owner: Any, leaf: Any) -> bool:
    """Return whether an adaptive leaf predicts by its mean, and not by its model."""
    return bool(owner.leaf_prediction == "adaptive" and leaf._fmse_mean < leaf._fmse_model)


def _shares(path: _Path) -> Floats:
    """Return the Shapley values in the weight of a leaf, one line for each feature on its path.

    That of a feature is the integral over t of the product of the other features' factors
    `(1 - t) unknown + t known`, times the change of its own factor when it becomes known.
    """
    if not path:
        return np.empty((0, 0))
    points, weights = _quadrature(len(path))
    unknown = np.array([condition.unknown for condition in path.values()])[:, None]
    known = np.array([condition.known for condition in path.values()])
    factors = np.multiply.outer(1 - points, unknown) + np.multiply.outer(points, known)
    # A factor is 0 only if the feature has neither share; then its own change is 0 too.
    others = np.divide(factors.prod(axis=1, keepdims=True), factors, where=factors > 0, out=factors)
    shares: Floats = (known - unknown) * np.tensordot(weights, others, axes=1)
    return shares


@cache
def _quadrature(degree: int) -> tuple[Floats, Floats]:
    """Return points and weights on [0, 1] that integrate polynomials of at most this degree exactly."""
    points, weights = np.polynomial.legendre.leggauss(degree // 2 + 1)
    return (points + 1) / 2, weights / 2
