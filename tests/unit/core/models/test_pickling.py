"""River's distributions are pickled without the random generators that nobody seeded."""

import pickle
from random import Random
from typing import Any

from river import forest, proba

from flows.core.models.model import Model, ModelMessage
from flows.core.models.snapshots import Sealer


def learned_forest() -> forest.ARFClassifier:
    model, draw = forest.ARFClassifier(n_models=3, seed=1), Random(1)
    for _ in range(300):
        x = {name: draw.gauss(0, 1) for name in "abcd"}
        model.learn_one(x, sum(x.values()) > 0)
    return model


def restored(model: Any) -> Any:
    sealer = Sealer(b"s" * 32, [model])
    message = ModelMessage("p", "champion", 0, Model("v1", model), {}, 1)
    return sealer.open(*sealer.seal(message)).model.estimator


def test_a_forest_is_stored_in_a_fraction_of_its_pickle_and_learns_on_as_it_would_have() -> None:
    model = learned_forest()
    content = Sealer(b"s" * 32, [model]).pickle(Model("v1", model))
    assert len(content) < len(pickle.dumps(model, protocol=5)) / 4
    again, draw = restored(model), Random(2)
    for _ in range(300):
        x = {name: draw.gauss(0, 1) for name in "abcd"}
        assert again.predict_proba_one(x) == model.predict_proba_one(x)
        for each in (model, again):
            each.learn_one(x, x["a"] > 0)


def test_a_distribution_with_a_seed_goes_on_with_its_numbers_and_one_without_draws_others() -> None:
    seeded = restored(proba.Gaussian(seed=7))
    assert [seeded.sample() for _ in range(3)] == [
        s.sample() for s in [proba.Gaussian(seed=7)] for _ in range(3)
    ]
    model = proba.Gaussian()
    model.update(1.0)
    model.update(2.0)
    assert restored(model).sample() != restored(model).sample()
