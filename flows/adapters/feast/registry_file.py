"""Feast's registry file and SQLite file, prepared so that a crash or a full disk leaves them whole."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import flows.adapters.feast.quick_feast  # noqa: F401  first

# isort: split
from feast import FeatureStore
from feast.infra.registry.file import FileRegistryStore
from feast.repo_config import RegistryConfig

from flows.host.files import replacing


class WholeFileRegistryStore(FileRegistryStore):  # type: ignore[misc]  # Feast is untyped
    """Feast's file registry, replaced atomically.

    Feast's own store truncates the file first; on a full disk it leaves a partial registry without an error.
    """

    def __init__(self, registry_config: RegistryConfig, repo_path: Path) -> None:
        super().__init__(registry_config, repo_path)
        self._file = repo_path / registry_config.path

    def update_registry_proto(self, registry_proto: Any) -> None:
        registry_proto.version_id = str(uuid4())
        registry_proto.last_updated.FromDatetime(datetime.now(UTC))
        with replacing(self._file) as unfinished:
            unfinished.write_bytes(registry_proto.SerializeToString())


def write_registry_whole(store: FeatureStore) -> None:
    """Make `store` use `WholeFileRegistryStore` if its registry is a file; call before it is opened."""
    registry = store.config.registry
    if registry.registry_type == "file" and not registry.registry_store_type and "://" not in registry.path:
        registry.registry_store_type = f"{__name__}.{WholeFileRegistryStore.__name__}"


def prepare_files(store: FeatureStore) -> None:
    """Create the folders of Feast's files, since Feast creates only the last level, and the SQLite file.

    The SQLite file is set to WAL mode, which persists: clients can read while the engine writes.
    """
    registry, online = store.config.registry.path, getattr(store.config.online_store, "path", "")
    for path in (registry, online):
        if path and "://" not in path:
            (store.repo_path / path).parent.mkdir(parents=True, exist_ok=True)
    if online and store.config.online_store.type == "sqlite":
        with closing(sqlite3.connect(store.repo_path / online)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
