"""The card_fraud pipeline; with BENCH_CALLS=FILE the calls of its model are stored in that file."""

import atexit
import os
import pickle
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from river import base

from flows.pipelines import card_fraud

CALLS: list[tuple[Mapping[str, Any], bool | None]] = []  # features, and the label of a call that learns


class Recorder(base.Classifier):  # type: ignore[misc]
    """A classifier that notes the calls of the model which it passes them to."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def predict_proba_one(self, x: Mapping[str, Any]) -> Any:
        """Return the model's probabilities."""
        CALLS.append((dict(x), None))
        return self.model.predict_proba_one(x)

    def learn_one(self, x: Mapping[str, Any], y: bool) -> None:
        """Let the model learn."""
        CALLS.append((dict(x), y))
        self.model.learn_one(x, y)


def _recorded() -> Any:
    return Recorder(card_fraud.model())


pipeline = card_fraud.pipeline
if file := os.environ.get("BENCH_CALLS"):
    pipeline = replace(pipeline, model=_recorded)
    atexit.register(lambda: Path(file).write_bytes(pickle.dumps(CALLS)))
