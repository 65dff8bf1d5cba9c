"""The predictor: scores the questions of a batch with the models in service, which may change within it."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

from flows.core.features.batch import Question
from flows.core.features.intake import Batch
from flows.core.features.plan import FeaturePlan
from flows.core.features.transforms import Transformer
from flows.core.models.announcements import Announcement
from flows.core.models.model import Lineup
from flows.core.models.snapshots import Sealer
from flows.core.serving import prediction_message
from flows.core.serving.scoring import EventScorer
from flows.core.stream.broker import Outgoing, Record
from flows.core.stream.dead_letter import dead_letter
from flows.core.user_code import describe
from flows.errors import SnapshotError, StaleSnapshot, SupersededSnapshot


class Predictor:
    """Scores one slot's questions with its models.

    The model's features are the event fields `inputs`, then those of the plan. Errors of user code go to
    `failed`.
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
    ) -> None:
        self.lineup = lineup
        self._pipeline = pipeline
        self._scorer = EventScorer(inputs, plan)
        self._plan = plan
        self._transformer = transformer
        self._sealer = sealer
        self._failed = failed
        self._predictions = f"{pipeline}.predictions"
        self._dead_letters = f"{pipeline}.dead-letters"

    def score(self, batch: Batch, vectors: Sequence[list[Any]]) -> list[Outgoing]:
        """Return the predictions and dead letters of a batch.

        `vectors` hold the features of views and lookups. A model in the batch scores the questions after it.
        """
        out = list(batch.dead)
        faults = self._transformer.extend([q for q in batch.items if isinstance(q, Question)], vectors)
        asked = enumerate(zip(batch.records, vectors, strict=True))
        for item in batch.items:
            if isinstance(item, Question):
                row, (record, vector) = next(asked)
                if row in faults:
                    out.append(self._dead(record, "transform", faults[row]))
                else:
                    out.append(self._answer(item, record, vector))
            elif isinstance(item, Record):
                out += self._take(item)
        return out

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
            self.lineup.apply(announced.role, self._sealer.load(announced))
        self.lineup.advance(announced.sequence, announced.digest)

    def _answer(self, question: Question, record: Record, vector: Sequence[Any]) -> Outgoing:
        try:
            prediction = self._scorer.predict(question, vector, self.lineup, self._failed)
        except Exception as fault:  # user code: one event must not stop the flow
            return self._dead(record, "model", fault)
        published = tuple(h for h in record.headers if h[0] == prediction_message.PUBLISHED_AT)
        keys = [question.payload.get(entity) for entity in self._plan.entities]
        asked = prediction_message.Asked(keys, question.read, question.moment)
        return prediction_message.encode(
            self._predictions, record.partition, prediction, self._plan.hash, asked, published
        )

    def _dead(self, record: Record, reason: Literal["model", "transform"], error: Exception) -> Outgoing:
        self._failed(error)
        return dead_letter(self._dead_letters, record, reason, detail_of(reason, error))


def detail_of(reason: Literal["model", "transform"], error: Exception) -> str:
    """Return the detail of the dead letter for an event on which user code failed."""
    return f"the model cannot score it: {describe(error)}" if reason == "model" else describe(error)
