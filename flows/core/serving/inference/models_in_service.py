"""The models in service, by version: what the models topic says, for readers that keep no state."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from flows.core.models.announcements import Announcement
from flows.core.models.frozen import FrozenModel
from flows.core.models.model import Lineup, Model
from flows.core.models.snapshots import Sealer
from flows.core.stream.broker import Record
from flows.errors import SnapshotError


class ServedModel(NamedTuple):
    """A model that scores, and the number of events that it has learned."""

    version: str
    learned: int
    frozen: FrozenModel


class InService(NamedTuple):
    """The champion and the models in its shadow, by version; never changed, only replaced."""

    champion: str
    models: Mapping[str, ServedModel]


class ModelsInService:
    """Reads the models topic; `now` has the models in service after the records taken so far.

    Without a record it is the `untrained` model, as in the predictor. `names` are the models' features. Only
    messages are read that are signed by this project, of this pipeline, and newer than those before.
    """

    def __init__(self, pipeline: str, untrained: Model, sealer: Sealer, names: Sequence[str]) -> None:
        self._pipeline = pipeline
        self._task = untrained.task.name
        self._sealer = sealer
        self._names = names
        self._lineup = Lineup(untrained)
        self.skipped = 0  # messages that could not be read
        self.now = self._frozen()

    def take(self, records: Sequence[Record]) -> None:
        """Read the next records; of the messages about a version only the last one is unpickled."""
        newest: dict[str, Announcement] = {}
        for record in records:
            try:
                announced = self._sealer.announced(record)
            except SnapshotError:
                self.skipped += 1
                continue
            if self._is_next(announced):
                self._lineup.advance(announced.sequence, announced.digest)
                newest[announced.version] = announced
        for announced in sorted(newest.values(), key=lambda each: each.sequence):
            self._apply(announced)
        if newest:
            self.now = self._frozen()

    def _is_next(self, announced: Announcement) -> bool:
        is_ours = (announced.pipeline, announced.task) == (self._pipeline, self._task)
        return is_ours and announced.role != "candidate" and announced.sequence > self._lineup.sequence

    def _apply(self, announced: Announcement) -> None:
        if announced.role == "retired":
            self._lineup.retire(announced.version)
            return
        try:
            self._lineup.apply(announced.role, self._sealer.load(announced), announced.share)
        except SnapshotError:  # its artifact was removed for a newer one, which follows
            self.skipped += 1

    def _frozen(self) -> InService:
        champion = self._lineup.champion
        models = {champion.version: champion, **self._lineup.challengers}
        served = {v: ServedModel(v, m.learned, FrozenModel(m, self._names)) for v, m in models.items()}
        return InService(champion.version, served)
