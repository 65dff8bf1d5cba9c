"""Makes a model version again from its lineage, and compares the bytes."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from flows.adapters.git.repository import code_version
from flows.core.learning.candidates.cuts import ASSUMED
from flows.core.learning.candidates.search import Configuration
from flows.core.learning.replay import RegisteredState
from flows.core.lineage import SnapshotDigest
from flows.core.models.model import Model
from flows.core.registry.entry import Entry
from flows.core.registry.registry import RegisteredVersion
from flows.core.stream.broker import Broker, TopicPartition
from flows.core.stream.times import milliseconds
from flows.errors import ConfigError, SnapshotError
from flows.host.libraries import library_versions
from flows.jobs.models.commands import read_registry
from flows.jobs.models.replay import ModelReplays
from flows.runtime.engine import Engine
from flows.runtime.training.candidates import copy_of, training_of
from flows.runtime.training.logged_rows import LoggedRows


class Reproduction(NamedTuple):
    """A version that was made again: how, from how many rows, and the SHA-256 of both estimators.

    `differences` names the libraries and the commit that have changed since.
    """

    version: str
    made: str
    rows: int
    recorded: str
    again: str
    differences: Sequence[str] = ()

    @property
    def is_same(self) -> bool:
        """Whether both have the same bytes."""
        return self.recorded == self.again

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain data."""
        return {**self._asdict(), "same": self.is_same}


class Reproducer:
    """Makes versions of a pipeline again."""

    def __init__(self, engine: Engine, broker: Broker) -> None:
        self._engine = engine
        self._broker = broker
        self._sealer = engine.sealer()
        self._registry, _ = read_registry(engine, broker)

    def reproduce(self, name: str, advance: Callable[[int], None]) -> Reproduction:
        """Make a version again as it was born; `advance` counts the rows that a training learned.

        Raises `ConfigError` for an unknown version or one without what is needed, and `SnapshotError` if a
        state or a record that it was made from is gone.
        """
        version = self._registry.find(name)
        lineage = version.born.lineage
        if "restores" in lineage:
            return self._restored(version, str(lineage["restores"]))
        if "sha256" in lineage:
            return self._trained(version, lineage, advance)
        if "kind" in lineage:
            raise ConfigError(
                f"version {version.name!r} must have the SHA-256 of its training in its lineage, got none: "
                "it was trained by an older Driftline; reproduce a newer version"
            )
        recorded = self._digest(self._state(version.born).estimator)
        fresh = self._engine.pipeline.new_model(version.name).estimator
        # what was read has other equal objects in common than what was made, which its bytes show
        again = self._digest(self._sealer.open_state(self._sealer.seal_state(fresh)))
        return Reproduction(version.name, "declared", 0, recorded, again)

    def _restored(self, version: RegisteredVersion, restores: str) -> Reproduction:
        """Compare the state of a rollback with the last one of the version before it."""
        stored = [
            entry
            for entry in self._registry.versions[restores].entries
            if entry.snapshot is not None and entry.number < version.born.number
        ]
        recorded, again = (self._digest(self._state(entry).estimator) for entry in (version.born, stored[-1]))
        return Reproduction(version.name, f"restored from {restores}", 0, recorded, again)

    def _trained(
        self, version: RegisteredVersion, lineage: Mapping[str, Any], advance: Callable[[int], None]
    ) -> Reproduction:
        engine = self._engine
        plan = engine.state.plan().hash
        if lineage["plan"] != plan:
            raise ConfigError(
                f"version {version.name!r} must have been trained with the present feature plan {plan}, got "
                f"{lineage['plan']}; run `driftline apply` with the declaration of that time"
            )
        training = training_of(engine, self._origin(version.name, lineage))
        ends = {
            TopicPartition(topic, int(number)): offset
            for kind, topic in self._topics().items()
            for number, offset in lineage["read"][kind].items()
            if int(number) != ASSUMED
        }
        rows = LoggedRows(self._broker, engine.pipeline, milliseconds(lineage["since"]))
        for row in rows.read_again(milliseconds(lineage["until"]), ends):
            training.learn(row)
            advance(1)
        again = self._digest(training.model.estimator)
        return Reproduction(
            version.name,
            str(lineage["kind"]),
            training.rows,
            lineage["sha256"],
            again,
            tuple(self._differences(lineage)),
        )

    def _origin(self, version: str, lineage: Mapping[str, Any]) -> Model:
        """Return the untrained candidate."""
        pipeline = self._engine.pipeline
        if copied := lineage.get("copy_of"):
            champion = ModelReplays(self._engine, self._broker).model(copied["version"], copied["learned"])
            return copy_of(champion, version).model
        if found := lineage.get("search"):
            return pipeline.configured_model(version, self._configuration(version, found["winner"]))
        return pipeline.new_model(version)

    def _configuration(self, version: str, name: str) -> Configuration:
        search = self._engine.pipeline.retrain.search
        declared = {each.name: each for each in (search.configurations() if search else ())}
        if name not in declared:
            raise ConfigError(
                f"version {version!r} must have a configuration that the search declares, got {name}; "
                "declare it again"
            )
        return declared[name]

    def _differences(self, lineage: Mapping[str, Any]) -> Iterator[str]:
        """Yield what has changed since the training and may change its result."""
        now = library_versions()
        for name, version in lineage["libraries"].items():
            if now.get(name) != version:
                yield f"{name} was {version} then, and is {now.get(name)} now"
        code, then = code_version(self._engine.project.directory), lineage["code"]
        now_at, then_at = _commit(None if code is None else code._asdict()), _commit(then)
        if now_at != then_at:
            yield f"the project's commit was {then_at} then, and is {now_at} now"

    def _topics(self) -> Mapping[str, str]:
        pipeline = self._engine.pipeline
        return {"labels": pipeline.labels.topic, "predictions": pipeline.topic("predictions")}

    def _state(self, entry: Entry) -> RegisteredState:
        """Return the state that was stored with an entry; raises `SnapshotError`."""
        if entry.snapshot is None:
            raise SnapshotError(
                f"entry {entry.number} of the registry must have a stored state, got none: the "
                "artifact store failed then; reproduce another version"
            )
        return RegisteredState.restored(self._sealer, entry.snapshot)

    def _digest(self, estimator: Any) -> str:
        """Return the SHA-256 of a pickled estimator."""
        model = Model("", estimator)
        return SnapshotDigest.of(self._sealer.pickle(model)).sha256


def _commit(code: Mapping[str, Any] | None) -> str:
    if code is None:
        return "unknown (no git repository)"
    return str(code["commit"])[:12] + ("" if code["clean"] else " with changes")
