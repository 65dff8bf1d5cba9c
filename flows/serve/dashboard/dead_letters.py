"""The dead letters of a pipeline by reason, and the newest ones."""

from collections import Counter, deque
from contextlib import suppress
from typing import Any

from flows.core.stream.broker import Broker
from flows.core.stream.dead_letter import DeadLetter, read
from flows.errors import InvalidRecord
from flows.jobs.dead_letters import inputs_of
from flows.pipeline import Pipeline
from flows.serve.dashboard.tail_reader import TailReader

MOST_LETTERS = 100_000  # of each partition, that are counted at first
_NEWEST = 50  # that are shown
_SHOWN = 2000  # bytes of a value that are shown


class DeadLetters:
    """Reads the dead letters as far as they are new, when it is asked."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._reader = TailReader(pipeline.topic("dead-letters"), MOST_LETTERS)
        self._inputs = inputs_of(pipeline)
        self._counts: Counter[tuple[str, str]] = Counter()
        self._newest: deque[DeadLetter] = deque(maxlen=_NEWEST)

    def read(self, broker: Broker) -> dict[str, Any]:
        """Return the counts by reason and topic, the most frequent first, and the newest letters."""
        for record in self._reader.new_records(broker):
            with suppress(InvalidRecord):
                letter = read(record)
                self._counts[letter.reason, letter.origin] += 1
                self._newest.append(letter)
        return {
            "total": self._counts.total(),
            "inputs": self._inputs,
            "counts": [
                {"reason": reason, "topic": topic, "records": records}
                for (reason, topic), records in self._counts.most_common()
            ],
            "newest": [_row(letter) for letter in reversed(self._newest)],
        }


def _row(letter: DeadLetter) -> dict[str, Any]:
    return {
        "place": letter.place,
        "time": letter.time,
        "reason": letter.reason,
        "topic": letter.origin,
        "detail": letter.detail,
        "value": (letter.value or b"")[:_SHOWN].decode(errors="backslashreplace"),
    }
