"""Models that retraining must cope with; trainers import this module."""

import time
from pathlib import Path
from typing import Any

from river import anomaly, base, linear_model, optim, preprocessing

from flows.pipelines.flight_delays import prepare

MARK = "origin_departures__mean_delay_1h"  # different for each made flight


class Counting(base.Classifier):
    """Writes down which flights it has learned."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def predict_proba_one(self, x: dict[str, Any]) -> dict[bool, float]:
        return {True: 0.5, False: 0.5}

    def learn_one(self, x: dict[str, Any], y: bool) -> None:
        self.seen.append(x[MARK])


class Slow(Counting):
    """Takes a second for each label, and leaves a file in the project when it has begun."""

    def learn_one(self, x: dict[str, Any], y: bool) -> None:
        Path("training").touch()
        time.sleep(1)


class Hungry(Counting):
    """Takes 4 MB for each label."""

    def learn_one(self, x: dict[str, Any], y: bool) -> None:
        self.seen.append(x[MARK])
        self.eaten: list[bytearray] = [*getattr(self, "eaten", []), bytearray(b"x" * 2**22)]
        time.sleep(0.005)  # so that it is seen while it grows


class Certain(Counting):
    """Is always sure that a flight is late, or with `late=False` that it is not."""

    def __init__(self, late: bool = True) -> None:
        super().__init__()
        self.late = late

    def predict_proba_one(self, x: dict[str, Any]) -> dict[bool, float]:
        return {self.late: 0.99, not self.late: 0.01}


class Threshold(Counting):
    """Knows what gives made flights away."""

    def __init__(self, certainty: float = 0.9) -> None:
        super().__init__()
        self.certainty = certainty

    def predict_proba_one(self, x: dict[str, Any]) -> dict[bool, float]:
        late = x[MARK] > 12
        return {late: self.certainty, not late: 1 - self.certainty}


class OddMinutes(base.Classifier):
    """Takes the flights of odd minutes for late, as sure as it was made."""

    def __init__(self, sure: float = 0.6) -> None:
        self.sure = sure
        self.learned = 0

    def predict_proba_one(self, x: dict[str, Any]) -> dict[bool, float]:
        return {True: self.sure if x["minute_of_day"] % 2 else 1 - self.sure}

    def learn_one(self, x: dict[str, Any], y: bool) -> None:
        self.learned += 1


def softmax() -> Any:
    return prepare | preprocessing.StandardScaler() | linear_model.SoftmaxRegression()


def linear() -> Any:
    return prepare | preprocessing.StandardScaler() | linear_model.LinearRegression(optim.SGD(0.001))


def trees() -> Any:
    detector = anomaly.QuantileFilter(anomaly.HalfSpaceTrees(3, window_size=20, seed=1), q=0.9)
    return prepare | preprocessing.MinMaxScaler() | detector
