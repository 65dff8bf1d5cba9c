"""Trains scikit-learn's scaler and logistic regression on the events of a file, for MLServer.

Arguments: the file, one event a line, and the file of the model.
"""

import json
import sys
from pathlib import Path

import joblib
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

events = [json.loads(line) for line in Path(sys.argv[1]).read_text().splitlines()]
rows = [[event[f"f{number}"] for number in range(10)] for event in events]
model = make_pipeline(StandardScaler(), LogisticRegression())
joblib.dump(model.fit(rows, [event["y"] for event in events]), sys.argv[2])
