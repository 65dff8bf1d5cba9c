"""The events, and the model that each program has learned before it begins.

A copy is in the benchmark's Driftline project, so it needs only River.
"""

import os
import random
from collections.abc import Iterator
from functools import cache
from itertools import islice
from typing import Any

from river import forest, linear_model, preprocessing

NAMES = tuple(f"f{number}" for number in range(10))
BEGIN = 1_700_000_000_000  # ms
TRAINED_ON = 1_000  # events; an untrained linear model has no weights, and scores without work


def events(count: int, step: int = 10, begin: int = BEGIN) -> Iterator[dict[str, Any]]:
    """Yield `count` events, `step` ms apart: ten numbers, and whether their noisy sum is above 0."""
    draw = random.Random(1)  # noqa: S311  the same each time
    for number in range(count):
        x = {name: round(draw.gauss(0, 1), 6) for name in NAMES}
        y = sum(x.values()) + draw.gauss(0, 1) > 0
        time, user = begin + number * step, f"u{draw.randrange(1000)}"
        yield {"id": f"e{number:07d}", "ts": time, "user": user, **x, "y": int(y)}


class OtherRegression(linear_model.LogisticRegression):  # type: ignore[misc]
    """River's regression under another name, so that no engine recognises and compiles it."""


MODELS = {
    "linear": lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression(),
    "other": lambda: preprocessing.StandardScaler() | OtherRegression(),
    "forest": lambda: forest.ARFClassifier(n_models=10, seed=1),
}
MODEL = os.environ.get("BENCH_MODEL", "linear")


def trained_model() -> Any:
    """Return the model that the environment names, after it has learned the first events."""
    model = MODELS[MODEL]()
    for event in _first_events():
        model.learn_one({name: event[name] for name in NAMES}, bool(event["y"]))
    return model


@cache
def _first_events() -> tuple[dict[str, Any], ...]:
    return tuple(islice(events(TRAINED_ON), TRAINED_ON))
