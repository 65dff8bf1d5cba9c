"""The models in service, as a reader without state knows them from the models topic."""

from typing import Any

from river import linear_model

from flows.core.models.model import Model, ModelMessage, Role
from flows.core.models.snapshots import Sealer
from flows.core.serving.inference.models_in_service import ModelsInService
from flows.core.stream.broker import Record

SEALER = Sealer(b"s" * 32, [linear_model.LogisticRegression()])


def message(
    role: Role, version: str, sequence: int, sealer: Sealer = SEALER, of: str = "p", learned: int = 0
) -> Record:
    model = Model(version, linear_model.LogisticRegression(), learned)
    out = sealer.record("p.models", ModelMessage(of, role, 0, model, {}, sequence))
    return Record("p.models", 0, sequence, 0, out.key, out.value, out.headers)


def reader() -> ModelsInService:
    return ModelsInService("p", Model("v1", linear_model.LogisticRegression()), SEALER, ("x",))


def shown(models: ModelsInService) -> tuple[str, dict[str, Any]]:
    return models.now.champion, {version: model.learned for version, model in models.now.models.items()}


def test_without_a_message_the_declared_model_is_served_untrained():
    assert shown(reader()) == ("v1", {"v1": 0})


def test_the_newest_message_of_each_version_decides():
    models = reader()
    models.take([message("champion", "v1", 1, learned=5), message("challenger", "v2", 2, learned=3)])
    assert shown(models) == ("v1", {"v1": 5, "v2": 3})
    models.take([message("champion", "v1", 3, learned=6), message("champion", "v2", 4, learned=7),
                 message("challenger", "v1", 5, learned=8)])  # fmt: skip
    assert shown(models) == ("v2", {"v2": 7, "v1": 8})
    models.take([message("retired", "v1", 6)])
    assert shown(models) == ("v2", {"v2": 7})


def test_old_foreign_and_unsigned_messages_and_candidates_change_nothing():
    models = reader()
    models.take([message("champion", "v1", 5, learned=5)])
    models.take(
        [
            message("champion", "v0", 4),
            message("champion", "v9", 6, Sealer(b"t" * 32, [linear_model.LogisticRegression()])),
            message("champion", "v9", 7, of="q"),
            message("candidate", "v9", 8),
        ]
    )
    assert shown(models) == ("v1", {"v1": 5})
    assert models.skipped == 1
