"""The offline store: immutable parquet parts that Feast's duckdb store reads as `view/**/*.parquet`.

A part is written under a temporary name, renamed when it is complete, and never changes. Compaction merges
small parts into a larger one of the next level. The metadata of a merged part lists the parts that it
replaces, which are deleted after a grace period for readers that have listed them. So a reader never misses a
row; if it reads both, the duplicates do not change a point-in-time join. A kill at any moment leaves either
the old parts, or the old and the merged part with its metadata.
"""

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from flows.core.features.batch import Row
from flows.core.features.plan import FeaturePlan, View
from flows.core.features.windows.sliding import Value
from flows.core.serving.served_rows import ServedRow
from flows.errors import ConfigError, StoreError
from flows.host.arrow import KEY_TYPES, TYPES, write_whole
from flows.host.file_locks import try_exclusive_lock

FAN_IN = 64  # parts of one level that are merged into one part of the next level
GRACE = 600.0  # seconds that a replaced part is kept for readers that have listed it
_REPLACES = b"driftline.replaces"
_ROWS = 100_000  # rows in a row group of a merged part
_ORPHANED = 3600.0  # seconds after which a temporary file is considered abandoned
_Rows = dict[tuple[str | int, int], Sequence[Value]]  # features of one view by key and time (us)


class OfflineStore:
    """Appends feature rows to `folders`, one for each view; creates an empty part in an empty folder.

    The columns are the join key, `event_timestamp` and `created` (UTC, us), and the view's features. Several
    processes may append to a folder; one at a time compacts it. Raises `ConfigError` if existing parts have
    other columns, and `StoreError` if the disk fails.
    """

    def __init__(self, folders: Mapping[str, Path], plan: FeaturePlan) -> None:
        self._folders = {view.name: folders[view.name] for view in plan.views}
        self._schemas = {view.name: _schema(view) for view in plan.views}
        self._created = 0
        with _explained():
            self._make_readable()

    def _make_readable(self) -> None:
        for name, folder in self._folders.items():
            part, schema = next(folder.glob("**/*.parquet"), None), self._schemas[name]
            if part is None:
                _publish(folder / "empty.parquet", (), schema)
            elif not pq.read_schema(part).equals(schema):
                raise ConfigError(
                    f"the history of view {name!r} in {folder} has other columns than the view now has; "
                    "move that folder away, or give the changed view a new name"
                )

    def append(self, rows: Iterable[Row], created: int, served: Iterable[ServedRow] = ()) -> None:
        """Write one part for each view that has rows; `created` is the time of writing (ms).

        Of rows with an equal view, key and time the last one is kept; among rows of several calls Feast
        prefers the one created last. Raises `StoreError` if the disk fails; parts are written atomically.
        """
        self._created = max(created * 1000, self._created + 1)
        by_view: dict[str, _Rows] = defaultdict(dict)
        for row in rows:
            by_view[row.view][row.key, row.time * 1000] = row.values
        for answer in served:
            by_view[answer.view][answer.key, answer.moment] = answer.values
        day = datetime.fromtimestamp(created / 1000, UTC).date().isoformat()
        with _explained():
            for name, unique in by_view.items():
                table = _table(self._schemas[name], unique, self._created)
                _publish(self._folders[name] / day / _part(0), [table], table.schema)

    def compact(self, view: str, grace: float = GRACE) -> None:
        """Merge the view's parts of a level in each folder that has `FAN_IN` of them.

        The first call after `grace` seconds deletes the replaced parts. Does nothing while another process
        compacts the view. Raises `StoreError` if the disk fails.
        """
        folder = self._folders[view]
        with _explained(), try_exclusive_lock(folder / ".lock") as alone:
            if alone:
                for day in {part.parent for part in folder.glob("*/*.parquet")}:
                    _compact(day, self._schemas[view], grace)


def _compact(folder: Path, schema: pa.Schema, grace: float) -> None:
    replaced = _remove_replaced(folder, grace)
    levels: dict[int, list[Path]] = defaultdict(list)
    for part in folder.glob("*.parquet"):
        if part.name not in replaced:
            levels[_level(part)].append(part)
    for level, parts in levels.items():
        if len(parts) >= FAN_IN:
            names = orjson.dumps([part.name for part in parts])
            merged = folder / _part(level + 1)
            _publish(merged, _row_groups(parts), schema.with_metadata({_REPLACES: names}))
    for orphan in folder.glob("*.tmp"):
        if _age(orphan) > _ORPHANED:
            orphan.unlink()


def _remove_replaced(folder: Path, grace: float) -> set[str]:
    """Delete replaced parts whose grace period is over; return the names of those that must stay.

    Lower levels first: a part that lists replaced parts must outlive them.
    """
    staying: set[str] = set()
    for part in sorted(folder.glob("*.parquet"), key=_level):
        if _level(part) > 0:
            names = orjson.loads(pq.read_schema(part).metadata[_REPLACES])
            if _age(part) < grace:
                staying.update(names)
            else:
                for name in names:
                    (folder / name).unlink(missing_ok=True)
    return staying


def _row_groups(parts: Iterable[Path]) -> Iterator[pa.Table]:
    """Yield the rows of all parts in tables of at least `_ROWS`, so that memory is bounded."""
    tables: list[pa.Table] = []
    for part in parts:
        with pq.ParquetFile(part) as file:
            for group in range(file.num_row_groups):
                tables.append(file.read_row_group(group))
                if sum(table.num_rows for table in tables) >= _ROWS:
                    yield pa.concat_tables(tables).combine_chunks()
                    tables = []
    if tables:
        yield pa.concat_tables(tables).combine_chunks()


def _publish(path: Path, tables: Iterable[pa.Table], schema: pa.Schema) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, (table.replace_schema_metadata(schema.metadata) for table in tables), schema)


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise StoreError(
            f"the offline store cannot be written: {error}; check its folder and disk"
        ) from error


def _schema(view: View) -> pa.Schema:
    features = [(a.name, TYPES[a.dtype]) for a in view.aggregates]
    return pa.schema(
        [
            (view.entity, KEY_TYPES[view.key]),
            ("event_timestamp", pa.timestamp("us", "UTC")),
            ("created", pa.timestamp("us", "UTC")),
            *features,
        ]
    )


def _table(schema: pa.Schema, rows: _Rows, created: int) -> pa.Table:
    keys, times = zip(*rows, strict=True)
    columns = [keys, times, [created] * len(rows), *zip(*rows.values(), strict=True)]
    return pa.table([pa.array(c, t) for c, t in zip(columns, schema.types, strict=True)], schema=schema)


def _part(level: int) -> str:
    return f"{level}-{uuid4().hex}.parquet"


def _level(part: Path) -> int:
    return int(part.name.partition("-")[0])


def _age(path: Path) -> float:
    return time.time() - path.stat().st_mtime
