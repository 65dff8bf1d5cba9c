"""The feature engine as one object, for backtest and backfill; the predict flow runs its parts by key."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from types import MappingProxyType
from typing import NamedTuple

from flows.core.features import entity_state
from flows.core.features.batch import Assembler, EntityKey, Question, Row, Splitter, Update
from flows.core.features.entity import EntityFeatures
from flows.core.features.idle import IdleIndex
from flows.core.features.intake import Intake
from flows.core.features.plan import FeaturePlan
from flows.core.features.transforms import Transformer
from flows.core.features.windows.sliding import Value
from flows.core.stream.broker import Outgoing, Record
from flows.core.stream.dead_letter import dead_letter
from flows.core.user_code import describe


class FeatureVector(NamedTuple):
    """A question with its feature vector and its record."""

    record: Record
    question: Question
    vector: list[Value]


class Computed(NamedTuple):
    """The results of a batch; `dead` are dead letters for the topic `dead_letters`.

    `errors` are what transforms raised; each is the cause of a dead letter.
    """

    answers: list[FeatureVector]
    rows: list[Row]
    dead: list[Outgoing]
    errors: list[Exception]


class FeatureEngine:
    """Computes features from batches of records, in the order in which a flow would read them.

    `intakes` holds the intake of each slot; partition p belongs to slot p mod slots. As in the flow, entities
    that were idle for all of their windows are dropped. `looked_up` holds the values of the plan's batch
    views by id and time (ms) of the events; other events get nulls.
    """

    def __init__(
        self,
        intakes: Sequence[Intake],
        plan: FeaturePlan,
        transformer: Transformer,
        dead_letters: str,
        looked_up: Mapping[tuple[str, int], list[Value]] = MappingProxyType({}),
    ) -> None:
        self.intakes = intakes
        self._plan = plan
        self._transformer = transformer
        self._dead_letters = dead_letters
        self._looked_up = looked_up
        self._nulls: list[Value] = [None] * len(plan.looked_up)
        self._splitter = Splitter(plan)
        self._assembler = Assembler(plan)
        self._entities: dict[str, EntityFeatures] = {}
        self._idle = IdleIndex(plan.lateness)
        self._now = 0  # the newest event time (ms)

    def __len__(self) -> int:
        """Return the number of entities in memory."""
        return len(self._entities)

    def take(self, records: Iterable[Record]) -> Computed:
        """Process a batch; return the answers to its questions, in order."""
        items: list[Update | Question] = []
        asked: list[Record] = []
        dead: list[Outgoing] = []
        for slot, of_slot in groupby(records, lambda record: record.partition % len(self.intakes)):
            batch = self.intakes[slot].take(list(of_slot))
            items += batch.items
            asked += batch.records
            dead += batch.dead
        parts = [self._entity(key).run(steps) for key, steps in self._splitter.split(items)]
        self._forget_idle(items)
        questions = [item for item in items if isinstance(item, Question)]
        vectors = self._assembler.assemble(len(questions), parts)
        errors = self._extend(questions, vectors)
        dead += [
            dead_letter(self._dead_letters, asked[row], "transform", describe(error))
            for row, error in errors.items()
        ]
        answers = [
            FeatureVector(*answer)
            for row, answer in enumerate(zip(asked, questions, vectors, strict=True))
            if row not in errors
        ]
        return Computed(answers, [row for part in parts for row in part.rows], dead, list(errors.values()))

    def entities(self) -> Iterator[tuple[str, bytes]]:
        """Yield the name of each entity and its state as a flow stores it."""
        for name, features in self._entities.items():
            yield name, entity_state.pack(name, features.expires, features.snapshot())

    def _extend(self, questions: Sequence[Question], vectors: Sequence[list[Value]]) -> dict[int, Exception]:
        """Append the features of lookups and transforms; return the errors of transforms, by row."""
        for question, vector in zip(questions, vectors, strict=True):
            vector += self._looked_up.get((question.id, question.time), self._nulls)
        return self._transformer.extend(questions, vectors)

    def _entity(self, key: EntityKey) -> EntityFeatures:
        features = self._entities.get(key.name)
        if features is None:
            features = EntityFeatures(key, self._plan.views_of(key.entity), self._plan.lateness)
            self._entities[key.name] = features
            self._idle.put(key.name, 0)
        return features

    def _forget_idle(self, items: Iterable[Update | Question]) -> None:
        self._now = max(self._now, max((item.time for item in items), default=0))
        for name in self._idle.due(self._now):
            expires = self._entities[name].expires
            if expires <= self._now:
                del self._entities[name]
            else:
                self._idle.put(name, expires)
