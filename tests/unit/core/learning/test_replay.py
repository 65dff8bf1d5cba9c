"""A replay goes on from a stored state as the learner did."""

import pickle

from river import linear_model, preprocessing

from flows.core.learning.outliers import OutlierFilter
from flows.core.learning.replay import RegisteredState, Replay
from flows.core.learning.training import LabelledRow, Training
from flows.core.models.model import Model

NAMES = ("a", "b")
ROWS = [
    LabelledRow([number % 7, 1e6 if number == 50 else number % 3], number % 2 == 0) for number in range(90)
]


def test_a_replay_of_the_later_rows_gives_the_model_of_all_rows_with_its_outliers() -> None:
    def failed(error: Exception) -> None:
        raise error

    model = Model("v1", preprocessing.StandardScaler() | linear_model.LogisticRegression())
    outliers = OutlierFilter(NAMES, "clip")
    training = Training(model, NAMES, outliers, failed)
    for row in ROWS[:40]:
        training.learn(row)
    stored = RegisteredState(*pickle.loads(pickle.dumps((model.estimator, outliers, 40))))  # noqa: S301
    for row in ROWS[40:]:
        training.learn(row)

    replay = Replay(stored, Model("v1", stored.estimator, model.learned - 50), NAMES)
    for row in ROWS[40:]:
        replay.learn(row)
    assert (replay.row, replay.model.learned) == (90, model.learned)
    assert outliers.rows == 1
    row = {"a": 3.0, "b": 2.0}
    assert replay.model.score(row) == model.score(row)
