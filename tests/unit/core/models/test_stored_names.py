"""Stored data have stable names of the engine's classes, and no module path."""

import importlib
import io
import pickle
from inspect import isabstract
from typing import Any

import pytest
from river import compose, metrics

from flows.core.models.baselines import ShareBaseline
from flows.core.models.model import Lineup, Model, ModelMessage
from flows.core.models.pickling import NamedPickling
from flows.core.models.snapshots import Sealer
from flows.core.models.stored_names import MODULE, NAMES, STATE_MODULES, by_stored_place, stored_place
from flows.core.models.tasks import TASKS
from flows.core.models.unpickling import Unpickler, classes_of
from flows.errors import SnapshotError
from flows.pipelines import card_fraud, flight_delays

# Stored by every version from 0.2.0 on: a name can be added, but neither renamed nor removed without a new
# version of the formats in `flows.core.stored_format`.
PINNED = [
    "attribution",
    "baseline.class",
    "baseline.flag",
    "baseline.mean",
    "baseline.share",
    "bins.card_fraud",
    "bins.flight_delays",
    "calibration",
    "columns.categories",
    "columns.category",
    "columns.comparison",
    "columns.counts",
    "columns.number",
    "columns.slice_means",
    "concept",
    "concept.recovery",
    "concept.slices",
    "concept.window",
    "contest",
    "contest.blocks",
    "contest.lead",
    "contest.policy",
    "contest.rival",
    "contest.roles",
    "cost_curve",
    "costs",
    "drift.column_move",
    "drift.context",
    "drift.gate",
    "drift.monitor",
    "drift.position",
    "drift.settings",
    "drift.signal",
    "drift.slice_move",
    "error.brier",
    "error.flag",
    "error.scaled",
    "error.squared",
    "evaluation",
    "evaluation.baselines",
    "evaluation.losses",
    "evaluation.slices",
    "features",
    "features.compared",
    "features.comparison",
    "features.group",
    "features.policy",
    "features.reference",
    "label",
    "label_join",
    "label_join.learned",
    "label_join.pending",
    "learner",
    "learner.policy",
    "lineup",
    "lineup.canary",
    "model",
    "order.run",
    "outliers",
    "outliers.range",
    "outliers.ranges",
    "prepare.card_fraud",
    "prepare.flight_delays",
    "quality",
    "quality.column",
    "quality.policy",
    "quality.references",
    "quality.tally",
    "quality.trackers",
    "recent.rows",
    "recent_items",
    "record",
    "task.anomaly",
    "task.binary",
    "task.multiclass",
    "task.regression",
]


def named(name: str) -> Any:
    (module, qualified) = next(place for place, known in NAMES.items() if known == name)
    found: Any = importlib.import_module(module)
    for part in qualified.split("."):
        found = getattr(found, part)
    return found


def places(content: bytes) -> set[tuple[str, str]]:
    """What a pickle looks up."""
    table = _Recording(io.BytesIO(content))
    table.load()
    return table.found


class _Recording(pickle.Unpickler):
    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.found: set[tuple[str, str]] = set()

    def find_class(self, module: str, name: str) -> Any:
        self.found.add((module, name))
        return named(name) if module == MODULE else super().find_class(module, name)


def test_the_names_are_those_that_are_promised() -> None:
    assert sorted(NAMES.values()) == PINNED


@pytest.mark.parametrize("name", PINNED)
def test_each_name_is_that_of_one_class_or_function(name: str) -> None:
    found = named(name)
    assert stored_place(found.__module__, found.__qualname__) == (MODULE, name)


def is_stateful(found: type) -> bool:
    """Whether it is more than a value or an interface."""
    is_interface = isabstract(found) or getattr(found, "_is_protocol", False)
    return not is_interface and not issubclass(found, tuple)


def test_every_stateful_class_of_the_modules_that_states_are_made_of_has_a_name() -> None:
    """The values among them, which are tuples, are found by the check that tests/conftest.py makes."""
    found = {place for place, each in classes_of(STATE_MODULES).items() if isinstance(each, type)}
    stateful = {place for place in found if is_stateful(named_at(*place))}
    assert stateful - NAMES.keys() == set()


def named_at(module: str, name: str) -> Any:
    return getattr(importlib.import_module(module), name)


SEALER = Sealer(b"s" * 32, [flight_delays.model()], states=[metrics.LogLoss()])


@pytest.mark.parametrize("make", [flight_delays.model, card_fraud.model])
def test_a_model_of_a_ready_pipeline_refers_to_its_function_by_a_name(make: Any) -> None:
    sealer = Sealer(b"s" * 32, [make()])
    content = sealer.pickle(Model("v1", make()))
    assert b"flows." not in content
    assert {name for module, name in places(content) if module == MODULE} <= set(PINNED)
    message = ModelMessage("p", "champion", 0, Model("v1", make()), {}, 1)
    assert type(sealer.open(*sealer.seal(message)).model.estimator) is compose.Pipeline


def test_a_state_refers_to_our_classes_by_names_and_to_those_of_river_by_their_paths() -> None:
    lineup = Lineup(Model("v1", flight_delays.model(), task=TASKS["regression"]))
    stored = SEALER.seal_state((lineup, {"a": ShareBaseline()}))
    assert b"flows." not in stored
    found = places(stored[stored.index(b"\n") + 1 + 32 :])
    assert {
        (MODULE, "lineup"),
        (MODULE, "model"),
        (MODULE, "task.regression"),
        (MODULE, "baseline.share"),
    } < found
    assert ("river.linear_model.log_reg", "LogisticRegression") in found
    restored, baselines = SEALER.open_state(stored)
    assert (type(restored), type(restored.champion)) == (Lineup, Model)
    assert type(baselines["a"]) is ShareBaseline


def test_a_class_of_the_user_keeps_its_path() -> None:
    content = NamedPickling({}).dumps(Mine())
    assert content == pickle.dumps(Mine(), 5)
    assert places(content) == {(__name__, "Mine")}


class Mine:
    pass


class Before:
    pass


class After:
    """The same in another place."""


def test_a_class_that_was_moved_or_renamed_is_found_under_its_name() -> None:
    stored = NamedPickling({(MODULE, "lineup"): Before}).dumps(Before())
    assert type(Unpickler(stored, {(MODULE, "lineup"): After}).load()) is After


def test_a_name_that_this_version_does_not_know_is_refused() -> None:
    body = pickle.PROTO + b"\x05" + pickle.GLOBAL + b"driftline\nof_a_newer_version\n" + pickle.STOP
    with pytest.raises(SnapshotError, match=r"driftline\.of_a_newer_version, which is not on the allow-list"):
        Unpickler(body, by_stored_place({})).load()
