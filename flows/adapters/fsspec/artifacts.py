"""The artifact store: large estimators, each in a file named by the SHA-256 of its content.

The store is a folder or an fsspec URL. It keeps the newest artifacts of models in service and all that are
younger than ten minutes, so that a lagging predictor still finds the artifact that its message refers to. The
states of registered versions are never removed.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from flows.errors import ConfigError, StoreError
from flows.host.files import replacing, sync
from flows.host.state_dir import make_private

PASSING = ("model", "candidate")  # kinds of artifacts of which the newest are kept
KEPT = 4  # artifacts of a kind: champion and challenger of the last two publications
KEPT_SECONDS = 600.0

_UNFINISHED = ".tmp"


class _Files(Protocol):
    def write(self, name: str, content: bytes) -> None: ...

    def read(self, name: str, size: int) -> bytes | None: ...

    def names(self) -> list[str]: ...

    def remove(self, name: str) -> None: ...


class ArtifactStore:
    """The artifacts of one pipeline.

    Names are `KIND-SEQUENCE-SHA256`; the sequence is padded, so that names of a kind sort by it.
    """

    def __init__(self, files: _Files) -> None:
        self._files = files
        self._seen: dict[str, float] = {}  # monotonic time at which this process first saw each

    def put(self, name: str, content: bytes) -> None:
        """Store an artifact durably, and remove old ones of a passing kind; raises `StoreError`."""
        known = self.names()
        if name not in known:
            self._files.write(name, content)
        kind = name.partition("-")[0]
        if kind in PASSING:
            self._prune(kind, [*known, name])

    def get(self, name: str, size: int) -> bytes | None:
        """Return the artifact, None if it is missing, b"" if it has another size; raises `StoreError`."""
        return self._files.read(name, size)

    def names(self) -> list[str]:
        """Return the names of all artifacts; raises `StoreError`."""
        return [name for name in self._files.names() if not name.endswith(_UNFINISHED)]

    def _prune(self, kind: str, names: list[str]) -> None:
        now = time.monotonic()
        self._seen = {name: self._seen.get(name, now) for name in names}
        of_kind = sorted({name for name in names if name.partition("-")[0] == kind})
        for name in of_kind[:-KEPT]:
            if now - self._seen[name] > KEPT_SECONDS:
                self._files.remove(name)


def artifact_store(url: str, pipeline: str) -> ArtifactStore:
    """Return the store of a pipeline under `url`, a folder or an fsspec URL; raises `ConfigError`."""
    if "://" not in url or url.startswith("file://"):
        return ArtifactStore(_Folder(Path(url.removeprefix("file://")) / pipeline))
    return ArtifactStore(_Remote(url, pipeline))


class _Folder:
    """Files in a folder, each written under a temporary name, synced and renamed: it is whole or missing."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, name: str, content: bytes) -> None:
        with self._explained():
            make_private(self._folder)
            # one temporary name for each kind, so that crashes leave at most one unfinished file
            unfinished = self._folder / f"{name.partition('-')[0]}{_UNFINISHED}"
            with replacing(self._folder / name, unfinished):
                unfinished.write_bytes(content)
            sync(self._folder)

    def read(self, name: str, size: int) -> bytes | None:
        file = self._folder / name
        with self._explained(), suppress(FileNotFoundError):
            return file.read_bytes() if file.stat().st_size == size else b""
        return None

    def names(self) -> list[str]:
        with self._explained(), suppress(FileNotFoundError):
            return [file.name for file in self._folder.iterdir()]
        return []

    def remove(self, name: str) -> None:
        with self._explained():
            (self._folder / name).unlink(missing_ok=True)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreError(
                f"the artifact store {self._folder} failed: {error.strerror}; check that it has room and "
                "can be written, or set DRIFTLINE_ARTIFACTS"
            ) from error


class _Remote:
    """Objects at an fsspec URL; its stores replace an object atomically."""

    def __init__(self, url: str, pipeline: str) -> None:
        from fsspec.core import url_to_fs  # imported only if a URL is set

        try:
            self._files, root = url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise ConfigError(
                f"DRIFTLINE_ARTIFACTS must be a folder or a URL that fsspec can open: {error}"
            ) from error
        self._root = f"{root.rstrip('/')}/{pipeline}"

    def write(self, name: str, content: bytes) -> None:
        with self._explained():
            self._files.makedirs(self._root, exist_ok=True)
            self._files.pipe_file(f"{self._root}/{name}", content)

    def read(self, name: str, size: int) -> bytes | None:
        path = f"{self._root}/{name}"
        with self._explained(), suppress(FileNotFoundError):
            content: bytes = self._files.cat_file(path) if self._files.size(path) == size else b""
            return content
        return None

    def names(self) -> list[str]:
        with self._explained(), suppress(FileNotFoundError):
            self._files.invalidate_cache(self._root)
            found: list[Any] = self._files.ls(self._root, detail=False)
            return [str(path).rpartition("/")[2] for path in found]
        return []

    def remove(self, name: str) -> None:
        with self._explained(), suppress(FileNotFoundError):
            self._files.rm_file(f"{self._root}/{name}")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # each fsspec store has its own errors
            raise StoreError(
                f"the artifact store {self._root} failed: {type(error).__name__}: {error}; check that it "
                "answers, or set DRIFTLINE_ARTIFACTS"
            ) from error
