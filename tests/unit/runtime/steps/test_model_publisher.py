"""The model publisher: sequence numbers, and the bounded cost of large models."""

import logging
from typing import Any

import pytest
from river import linear_model

from flows.core.models.model import Model
from flows.core.models.snapshots import INLINE_BYTES, Sealer
from flows.core.stream.broker import Record
from flows.runtime.steps import model_publisher
from flows.runtime.steps.model_publisher import ModelPublisher

NOW = 1_357_035_300_000


class Disk:
    """An artifact store that takes its time."""

    def __init__(self, clock: list[float], seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds

    def put(self, name: str, content: bytes) -> None:
        self._clock[0] += self._seconds

    def get(self, name: str, size: int) -> bytes | None:
        return None

    def names(self) -> list[str]:
        return []


def sealer(disk: Disk | None = None, secret: bytes = b"s" * 32) -> Sealer:
    return Sealer(secret, [linear_model.LogisticRegression()], disk)


def model(size: int = 0) -> Model:
    estimator = linear_model.LogisticRegression()
    estimator.ballast = bytes(size)
    return Model("v1", estimator, 3)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(model_publisher.time, "monotonic", lambda: now[0])
    return now


def publisher(using: Sealer, sequence: int = 0) -> ModelPublisher:
    return ModelPublisher("p", "p.models", using, sequence, interval=0.2)


def read(using: Sealer, out: Any) -> Any:
    return using.announced(Record("p.models", 0, 0, NOW, out.key, out.value, out.headers))


def test_each_message_has_the_next_sequence_and_the_lineage_of_its_version():
    using = sealer()
    publishing = publisher(using, 41)
    first, second = publishing.publication(
        [("champion", model()), ("challenger", model())], NOW, {"v1": {"drift": "d"}}, {"v1": 0.25}
    )
    third = publishing.record("retired", model(), NOW, {})
    assert [read(using, out).sequence for out in (first, second, third)] == [42, 43, 44]
    assert [read(using, out).role for out in (first, second, third)] == ["champion", "challenger", "retired"]
    assert [read(using, out).share for out in (first, third)] == [0.25, 0.0]
    assert read(using, first).lineage == {"drift": "d"}
    assert publishing.sequence == 44
    assert len({dict(out.headers)["id"] for out in (first, second, third)}) == 3


@pytest.mark.usefixtures("clock")
def test_small_models_are_published_at_the_set_interval():
    publishing = publisher(sealer())
    publishing.publication([("champion", model())], NOW, {}, {})
    assert publishing.pause == 0.2


def test_large_models_take_no_more_than_a_megabyte_a_second_of_the_store(clock):
    publishing = publisher(sealer(Disk(clock, 0.001)))
    publishing.publication([("champion", model(5_000_000))], NOW, {}, {})
    assert publishing.pause == pytest.approx(5.0, rel=0.01)
    publishing.publication([("champion", model())], NOW, {}, {})
    assert publishing.pause == 0.2


def test_publishing_takes_no_more_than_a_tenth_of_the_time(clock):
    publishing = publisher(sealer(Disk(clock, 3.0)))
    publishing.publication([("champion", model(1_000_000))], NOW, {}, {})
    assert publishing.pause == pytest.approx(30.0)


def test_a_model_that_outgrows_a_message_is_warned_of_once_and_at_each_doubling(clock, caplog):
    caplog.set_level(logging.WARNING)
    publishing = publisher(sealer(Disk(clock, 0.0)))
    for size in (
        1000,
        INLINE_BYTES + 1,
        INLINE_BYTES + 2,
        2 * INLINE_BYTES,
        9 * INLINE_BYTES,
        INLINE_BYTES + 3,
    ):
        publishing.publication([("champion", model(size))], NOW, {}, {})
    warned = [record.getMessage() for record in caplog.records]
    assert len(warned) == 3
    assert warned[0].startswith(f"model v1 has {INLINE_BYTES:,}"[:14])
    assert all("FeatureHasher" in text and "524,288" in text for text in warned)
