"""Artifacts of large models: written atomically, verified before unpickling, and bounded in number."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import orjson
import pytest
from river import linear_model

from flows.adapters.fsspec import artifacts
from flows.adapters.fsspec.artifacts import KEPT, KEPT_SECONDS, ArtifactStore, artifact_store
from flows.core.models.artifacts import LargeEstimators
from flows.core.models.model import Model, ModelMessage
from flows.core.models.signing_keys import SigningKey
from flows.core.models.snapshots import INLINE_BYTES, SIGNATURE, Sealer
from flows.core.stream.broker import Record
from flows.errors import ConfigError, SnapshotError, StoreError, SupersededSnapshot

SECRET = b"s" * 32


@pytest.fixture(params=["folder", "file://", "memory://"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    folder = str(tmp_path / "artifacts")
    yield {"folder": folder, "file://": f"file://{folder}", "memory://": "memory://artifacts"}[request.param]
    fsspec.filesystem("memory").store.clear()


def sealer(store: ArtifactStore | None) -> Sealer:
    return Sealer(SECRET, [linear_model.LogisticRegression()], store)


def large(sequence: int = 1, role: Any = "champion", size: int = INLINE_BYTES + 1) -> ModelMessage:
    estimator = linear_model.LogisticRegression()
    estimator.ballast = bytes(size)
    return ModelMessage("p", role, 1_357_035_300_000, Model("v1", estimator, 7), {}, sequence)


def test_a_large_model_is_in_the_store_and_its_message_is_small(url):
    store = artifact_store(url, "p")
    body, signature = sealer(store).seal(large(size=3_000_000))
    assert len(body) < 1000
    raw = orjson.loads(body)
    assert "estimator" not in raw
    assert store.names() == [f"model-{1:016d}-{raw['artifact']['sha256']}"]
    back = sealer(artifact_store(url, "p")).open(body, signature)
    assert (back.model.version, back.model.learned) == ("v1", 7)
    assert back.model.estimator.ballast == bytes(3_000_000)


def test_a_model_that_fits_into_a_message_is_in_it(url):
    store = artifact_store(url, "p")
    body, _ = sealer(store).seal(large(size=INLINE_BYTES - 10_000))
    assert "estimator" in orjson.loads(body)
    assert len(body) < 1_000_000  # what Kafka takes by default
    assert store.names() == []


def test_without_a_store_a_large_model_is_refused_with_the_remedy():
    with pytest.raises(SnapshotError, match="set DRIFTLINE_ARTIFACTS"):
        sealer(None).seal(large())


def altered(folder: Path, change: Any) -> None:
    (file,) = (folder / "p").iterdir()
    content = bytearray(file.read_bytes())
    change(content)
    file.write_bytes(content)


def flip(content: bytearray) -> None:
    content[-5] ^= 1


def shorten(content: bytearray) -> None:
    del content[-5:]


def extend(content: bytearray) -> None:
    content += b"x" * 100


@pytest.mark.parametrize("change", [flip, shorten, extend, bytearray.clear])
def test_an_altered_artifact_is_not_unpickled(tmp_path, change):
    store = artifact_store(str(tmp_path), "p")
    body, signature = sealer(store).seal(large())
    altered(tmp_path, change)
    with pytest.raises(SnapshotError, match=r"does not have the SHA-256 .* it was not read"):
        sealer(store).open(body, signature)


def test_an_artifact_that_another_secret_signed_is_not_unpickled(tmp_path):
    """Also where its hash is right: whoever wrote it had the key for messages only."""
    store = artifact_store(str(tmp_path), "p")
    ours, other = sealer(store), sealer(store)
    other._large = LargeEstimators(store, SigningKey(b"t" * 32, "artifacts"))
    with pytest.raises(SnapshotError, match="and the signature"):
        ours.open(*other.seal(large()))


def test_a_missing_artifact_is_told_and_one_that_was_superseded_is_nothing_wrong(tmp_path):
    store = artifact_store(str(tmp_path), "p")
    message = sealer(store).seal(large(sequence=5))
    (name,) = store.names()
    (tmp_path / "p" / name).unlink()
    with pytest.raises(SnapshotError, match="DRIFTLINE_ARTIFACTS is the same for all flows") as told:
        sealer(store).open(*message)
    assert not isinstance(told.value, SupersededSnapshot)
    sealer(store).seal(large(sequence=6, role="candidate"))
    with pytest.raises(SnapshotError) as told:
        sealer(store).open(*message)
    assert not isinstance(told.value, SupersededSnapshot)
    sealer(store).seal(large(sequence=6))
    with pytest.raises(SupersededSnapshot):
        sealer(store).open(*message)


def test_of_a_kind_the_newest_are_kept_and_those_that_a_slow_predictor_may_still_read(url, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(artifacts.time, "monotonic", lambda: now[0])
    store = artifact_store(url, "p")
    store.put("candidate-1-a", b"c")
    for number in range(1, 11):
        store.put(f"model-{number:02}-a", b"m")
        now[0] += KEPT_SECONDS / 4
    assert sorted(store.names()) == ["candidate-1-a", *(f"model-{n:02}-a" for n in range(6, 11))]
    now[0] += 10 * KEPT_SECONDS
    store.put("model-11-a", b"m")
    assert sorted(store.names()) == ["candidate-1-a", *(f"model-{n:02}-a" for n in range(12 - KEPT, 12))]


def test_the_states_of_registered_versions_are_kept_for_good_and_restored_as_they_were(url, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(artifacts.time, "monotonic", lambda: now[0])
    ours = sealer(artifact_store(url, "p"))
    stored = []
    for number in range(2 * KEPT):
        stored.append(ours.store(large(size=number).model.estimator))
        now[0] += 10 * KEPT_SECONDS
    restored = ours.restore(stored[0])
    assert ours.pickle(Model("r7", restored)) == ours.pickle(large(size=0).model)


@pytest.mark.parametrize("change", [lambda content: content[:-1], lambda content: b"x" + content[1:]])
def test_an_altered_state_of_a_registered_version_is_not_unpickled(tmp_path, change):
    ours = sealer(artifact_store(str(tmp_path), "p"))
    stored = ours.store(large().model.estimator)
    (file,) = (tmp_path / "p").iterdir()
    file.write_bytes(change(file.read_bytes()))
    with pytest.raises(SnapshotError, match="does not have the SHA-256"):
        ours.restore(stored)
    file.unlink()
    with pytest.raises(SnapshotError, match=r"registered-\w+ is not in the artifact store; restore it"):
        ours.restore(stored)


def test_a_pipeline_does_not_see_another_one_s_artifacts(url):
    artifact_store(url, "p").put("model-1-a", b"m")
    assert artifact_store(url, "q").names() == []
    assert artifact_store(url, "q").get("model-1-a", 1) is None


def test_an_artifact_appears_whole_or_not_at_all(tmp_path, monkeypatch):
    store = artifact_store(str(tmp_path), "p")

    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(StoreError, match=r"No space left on device; .* set DRIFTLINE_ARTIFACTS"):
        store.put("model-1-a", b"m")
    assert store.names() == []


def test_the_folder_is_its_owner_s_only(tmp_path):
    artifact_store(str(tmp_path / "a"), "p").put("model-1-a", b"m")
    assert (tmp_path / "a" / "p").stat().st_mode & 0o077 == 0
    assert (tmp_path / "a").stat().st_mode & 0o077 == 0


def test_a_url_that_no_library_opens_is_a_mistake_of_the_settings():
    with pytest.raises(ConfigError, match="DRIFTLINE_ARTIFACTS must be a folder or a URL"):
        artifact_store("nonsense://bucket", "p")


def test_a_store_that_fails_is_a_snapshot_that_cannot_be_read(monkeypatch):
    store = artifact_store("memory://failing", "p")
    message = sealer(store).seal(large())

    def fails(*_: object, **__: object) -> None:
        raise ConnectionError("bucket is gone")

    monkeypatch.setattr(store._files._files, "cat_file", fails)
    with pytest.raises(SnapshotError, match="ConnectionError: bucket is gone"):
        sealer(store).open(*message)


def test_a_record_says_what_it_announces_without_reading_the_artifact(tmp_path):
    store = artifact_store(str(tmp_path), "p")
    out = sealer(store).record("p.models", large(sequence=9))
    for name in store.names():
        (tmp_path / "p" / name).unlink()
    record = Record("p.models", 0, 0, 0, out.key, out.value, out.headers)
    announced = sealer(store).announced(record)
    assert (announced.pipeline, announced.sequence, announced.version) == ("p", 9, "v1")
    assert announced.digest == dict(out.headers)[SIGNATURE]
