"""The work of each program on an event: score it, and learn it if LEARN=1."""

import os
from typing import Any

from model import NAMES, trained_model

BROKER = os.environ.get("BROKER", "")
EVENTS = os.environ.get("EVENTS", "")
ANSWERS = os.environ.get("ANSWERS", "")
LEARN = os.environ.get("LEARN") == "1"
PROGRESS_SECONDS = float(os.environ.get("PROGRESS_SECONDS", "2"))  # between two commits of offsets

model = trained_model()


def work(event: dict[str, Any]) -> dict[str, Any]:
    """Return the prediction for one event."""
    x = {name: event[name] for name in NAMES}
    score = model.predict_proba_one(x).get(True, 0.5)
    if LEARN:
        model.learn_one(x, bool(event["y"]))
    return {"id": event["id"], "p": score}
