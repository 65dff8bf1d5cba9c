"""The folder of an unfinished batch: what it scores and with which model, and the pieces written so far.

It is beside the output, and is removed with the last step. A process that is killed leaves whole pieces only,
so the next run goes on behind them.
"""

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from flows.adapters.parquet.records import write_parquet
from flows.core.models.model import Model
from flows.core.models.snapshots import Sealer
from flows.core.stored_format import BATCH
from flows.errors import ConfigError, StoreError
from flows.host.files import replacing
from flows.jobs.batch.history import Bounds, Part, size_of

_METADATA = b"driftline"


class BatchJob(NamedTuple):
    """What a batch scores, with what, and in which parts.

    `events` is the topic or the file, with its size and the time of its last change; `version` the version as
    a user named it; `plan` the hash of the feature plan.
    """

    pipeline: str
    events: str
    version: str
    plan: str
    bounds: Bounds
    parts: Sequence[Part]


class ScoredPiece(NamedTuple):
    """Some rows of a part, how far the part has come, and the events without a row, by reason."""

    rows: pa.Table
    done: Mapping[int, int]
    dead: Mapping[str, int]


class BatchFolder:
    """The folder of the batch that writes `out`."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.path = out.with_name(f"{out.name}.unfinished")

    def create(self, batch: BatchJob, sealed: bytes) -> None:
        """Begin a batch with a sealed model."""
        self.path.mkdir(exist_ok=True)
        (self.path / "model").write_bytes(sealed)
        document = {"format": str(BATCH), **_as_json(batch)}
        with replacing(self.path / "batch.json") as unfinished:
            unfinished.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2))

    def batch(self) -> BatchJob | None:
        """Return the batch that was begun, None if there is none; raises `ConfigError`."""
        try:
            raw = orjson.loads((self.path / "batch.json").read_bytes())
            mismatch = BATCH.mismatch(raw.get("format"))
            if mismatch is None:
                return _parsed(raw)
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            mismatch = f"must be JSON of a batch, got {type(error).__name__}: {error}"
        raise ConfigError(f"{self.path / 'batch.json'} {mismatch}; remove the folder to begin again")

    def model(self, sealer: Sealer) -> Model:
        """Return the model of the batch; raises `SnapshotError` if it is not sealed with this secret."""
        found: Model = sealer.open_state((self.path / "model").read_bytes())
        return found

    def left(self, number: int, part: Part) -> Part:
        """Return what is left of a part."""
        done: Mapping[str, int] = {}
        for piece in self._pieces(number):
            done = _told(piece)["done"]
        return {log: (max(start, done.get(str(log), start)), end) for log, (start, end) in part.items()}

    def add(self, number: int, piece: ScoredPiece) -> None:
        """Write the next piece of a part."""
        folder = self.path / f"part-{number:04}"
        folder.mkdir(exist_ok=True)
        told = orjson.dumps({"done": {str(log): at for log, at in piece.done.items()}, "dead": piece.dead})
        schema = piece.rows.schema.with_metadata({_METADATA: told})
        file = folder / f"{len(self._pieces(number)):06}.parquet"
        write_parquet(file, [piece.rows.replace_schema_metadata(schema.metadata)], schema)

    def finish(self, parts: int, schema: pa.Schema) -> tuple[int, Counter[str]]:
        """Join the pieces to the output and remove the folder; return the rows, and the dead by reason."""
        pieces = [piece for number in range(parts) for piece in self._pieces(number)]
        dead: Counter[str] = Counter()
        for piece in pieces:
            dead.update(_told(piece)["dead"])
        write_parquet(self.out, _tables(pieces), schema)
        rows = sum(pq.read_metadata(piece).num_rows for piece in pieces)
        shutil.rmtree(self.path)
        return rows, dead

    def _pieces(self, number: int) -> list[Path]:
        return sorted((self.path / f"part-{number:04}").glob("*.parquet"))


def _tables(pieces: Sequence[Path]) -> Iterator[pa.Table]:
    for piece in pieces:
        yield pq.read_table(piece).replace_schema_metadata(None)


def _told(piece: Path) -> dict[str, Any]:
    try:
        told: dict[str, Any] = orjson.loads(pq.read_schema(piece).metadata[_METADATA])
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
        raise StoreError(
            f"{piece} must be a piece of a batch, got {type(error).__name__}: {error}; remove its folder "
            "to begin again"
        ) from error
    return told


def _as_json(batch: BatchJob) -> dict[str, Any]:
    parts = [{str(log): bounds for log, bounds in part.items()} for part in batch.parts]
    return {**batch._asdict(), "bounds": batch.bounds._asdict(), "parts": parts}


def _parsed(raw: Mapping[str, Any]) -> BatchJob:
    parts = [
        {int(log): (int(start), int(end)) for log, (start, end) in part.items()} for part in raw["parts"]
    ]
    bounds = Bounds(int(raw["bounds"]["now"]), raw["bounds"]["ends"])
    return BatchJob(raw["pipeline"], raw["events"], raw["version"], raw["plan"], bounds, parts)


def left_over(folder: BatchFolder, batch: BatchJob) -> int:
    """Return the number of events that are not scored yet."""
    return sum(size_of(folder.left(number, part)) for number, part in enumerate(batch.parts))
