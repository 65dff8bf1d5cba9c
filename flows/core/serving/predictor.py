"""The predictor: scores the questions of a batch with the models in service, which may change within it."""

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, Literal, NamedTuple

from flows.core.features.batch import Question
from flows.core.features.intake import Batch
from flows.core.features.plan import FeaturePlan
from flows.core.features.transforms import Transformer
from flows.core.models.announcements import Announcement
from flows.core.models.frozen import FrozenLineup
from flows.core.models.model import Canary, Lineup
from flows.core.models.snapshots import Sealer
from flows.core.serving import prediction_message
from flows.core.serving.scoring import InputReader
from flows.core.stream.broker import Outgoing, Record
from flows.core.stream.dead_letter import dead_letter
from flows.core.user_code import describe
from flows.errors import SnapshotError, StaleSnapshot, SupersededSnapshot


class Predictor:
    """Scores one slot's questions with its models.

    The model's features are the event fields `inputs`, then those of the plan. Errors of user code go to
    `failed`. A canary is served by the event field `entity`.
    """

    def __init__(
        self,
        pipeline: str,
        inputs: Sequence[str],
        plan: FeaturePlan,
        transformer: Transformer,
        lineup: Lineup,
        sealer: Sealer,
        failed: Callable[[Exception], object],
        entity: str,
    ) -> None:
        self.lineup = lineup
        self._entity = entity
        self._pipeline = pipeline
        self._inputs = InputReader(inputs)
        self._names = (*inputs, *plan.names)
        self._models = FrozenLineup(lineup, self._names)
        self._plan = plan
        self._transformer = transformer
        self._sealer = sealer
        self._failed = failed
        self._topic = f"{pipeline}.predictions"
        self._dead_letters = f"{pipeline}.dead-letters"

    def score(self, batch: Batch, vectors: Sequence[list[Any]]) -> list[Outgoing]:
        """Return the predictions and dead letters of a batch.

        `vectors` hold the features of views and lookups. A model in the batch scores the questions after it.
        """
        faults = self._transformer.extend(batch.questions, vectors)
        asked = _Asked(batch.questions, batch.records, self._features(batch.questions, vectors))
        out = list(batch.dead)
        start = 0
        stops: list[tuple[int, Record | Exception]] = [*batch.models, *faults.items()]
        for row, stop in sorted(stops, key=itemgetter(0)):  # a model before the question of its row
            out += self._answers(asked.part(start, row))
            if isinstance(stop, Record):
                out += self._take(stop)
                start = row
            else:
                out.append(self._dead(batch.records[row], "transform", stop))
                start = row + 1
        return out + self._answers(asked.part(start, len(asked.questions)))

    def _take(self, record: Record) -> list[Outgoing]:
        """Put a model in service; return a dead letter, and change nothing, if that is not possible."""
        try:
            announced = self._sealer.announced(record)
            if self._advances(announced):
                self._apply(announced)
        except SupersededSnapshot:
            pass  # a newer snapshot follows on the topic
        except StaleSnapshot as fault:
            return [dead_letter(self._dead_letters, record, "stale", str(fault))]
        except SnapshotError as fault:
            return [dead_letter(self._dead_letters, record, "signature", str(fault))]
        return []

    def _advances(self, announced: Announcement) -> bool:
        """Return whether to apply a message; raises `StaleSnapshot` if it is old or of another pipeline.

        After a restart, the last message applied may come again. Candidates are for the learner only.
        """
        expected = self._pipeline, self.lineup.champion.task.name
        if (announced.pipeline, announced.task) != expected:
            raise StaleSnapshot(
                f"a model message must be of pipeline {expected[0]!r} and task {expected[1]!r}, got "
                f"{announced.pipeline!r} and {announced.task!r}; it was not applied"
            )
        if announced.role == "candidate" or announced.digest == self.lineup.digest:
            return False
        if announced.sequence <= self.lineup.sequence:
            raise StaleSnapshot(
                f"the sequence of a model message must be above {self.lineup.sequence}, got "
                f"{announced.sequence}: an old message was sent again, or two engines learn this pipeline; "
                "it was not applied"
            )
        return True

    def _apply(self, announced: Announcement) -> None:
        if announced.role == "retired":
            self.lineup.retire(announced.version)
        else:
            self.lineup.apply(announced.role, self._sealer.load(announced), announced.share)
        self.lineup.advance(announced.sequence, announced.digest)
        self._models = FrozenLineup(self.lineup, self._names)

    def _features(
        self, questions: Sequence[Question], vectors: Sequence[list[Any]]
    ) -> Sequence[Sequence[Any]]:
        inputs = self._inputs.rows([question.payload for question in questions])
        if not self._plan.names:
            return inputs
        return [(*given, *vector) for given, vector in zip(inputs, vectors, strict=True)]

    def _answers(self, asked: "_Asked") -> list[Outgoing]:
        """Return a prediction for each question, or a dead letter if the champion cannot score it."""
        scores = self._models.score(asked.features)
        faults = {row: score for row, score in enumerate(scores) if isinstance(score, Exception)}
        out, start = [], 0
        for row, fault in faults.items():
            out += self._predictions(asked.part(start, row), scores[start:row])
            out.append(self._dead(asked.records[row], "model", fault))
            start = row + 1
        return out + self._predictions(asked.part(start, len(scores)), scores[start:])

    def _predictions(self, asked: "_Asked", scores: Sequence[Any]) -> list[Outgoing]:
        shadows = self._models.shadow_scores(asked.features, self._failed)
        answered = prediction_message.AnsweredBatch(
            asked.questions,
            asked.records,
            [self._models.version] * len(scores),
            [self._models.learned] * len(scores),
            scores,
            shadows,
            asked.features,
        )
        if (canary := self.lineup.canary) is not None:
            learned = self.lineup.challengers[canary.version].learned
            answered = with_canary(answered, canary, learned, self._entity)
        return prediction_message.encode(self._topic, self._plan, answered)

    def _dead(self, record: Record, reason: Literal["model", "transform"], error: Exception) -> Outgoing:
        self._failed(error)
        return dead_letter(self._dead_letters, record, reason, detail_of(reason, error))


class _Asked(NamedTuple):
    """Questions, their records and what the models read for each, in columns."""

    questions: Sequence[Question]
    records: Sequence[Record]
    features: Sequence[Sequence[Any]]

    def part(self, start: int, stop: int) -> "_Asked":
        return _Asked(self.questions[start:stop], self.records[start:stop], self.features[start:stop])


def with_canary(
    answered: prediction_message.AnsweredBatch, canary: Canary, learned: int, entity: str
) -> prediction_message.AnsweredBatch:
    """Return the answers with the canary's score served for its share, and the champion's in the shadow.

    `learned` is the number of events that the canary had learned. If the canary cannot score an event, the
    champion answers it.
    """
    versions, counts = [*answered.versions], [*answered.learned]
    scores, shadows = [*answered.scores], [*answered.shadows]
    for row, question in enumerate(answered.questions):
        others = shadows[row]
        if canary.version in others and canary.serves(question.payload.get(entity)):
            rest = {version: score for version, score in others.items() if version != canary.version}
            shadows[row] = {versions[row]: scores[row], **rest}
            versions[row], counts[row], scores[row] = canary.version, learned, others[canary.version]
    return answered._replace(versions=versions, learned=counts, scores=scores, shadows=shadows)


def detail_of(reason: Literal["model", "transform"], error: Exception) -> str:
    """Return the detail of the dead letter for an event on which user code failed."""
    return f"the model cannot score it: {describe(error)}" if reason == "model" else describe(error)
