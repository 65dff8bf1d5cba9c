"""Every error that Driftline raises on purpose, in one tree.

DriftlineError            something a person can act on; its text says what to do
├── ConfigError           a setting, the project file or a declaration is wrong
├── BrokerError           the broker is missing, refuses or fails
│   ├── AccessDenied      an ACL that the client needs is missing
│   ├── UnknownTopic      a topic that should exist does not
│   │   └── UnknownPartition   a topic has fewer partitions than are asked for
│   ├── OffsetExpired     a stored offset is no longer in the log
│   ├── BrokerAway        the broker does not answer now: it may later
│   └── DeliveryError     records were not taken
│       ├── Unacknowledged   records may or may not be in the log
│       └── RecordTooLarge   a record is larger than the broker takes
├── EngineConflict        another engine runs the flow
├── StoreError            Feast, its registry or one of its stores fails
├── StateError            the stored state of a flow cannot be read or written
├── StateTooLarge         the state of a step does not fit the recovery store
└── SnapshotError         a snapshot is not ours or cannot be read
    ├── StaleSnapshot        a model message does not advance the pipeline's sequence
    └── SupersededSnapshot   an artifact was removed for a newer one
InvalidRecord             bad input; never leaves a flow, it becomes a dead letter
"""


class DriftlineError(Exception):
    """Something a person can act on. The command line prints its text and no stack trace."""


class ConfigError(DriftlineError):
    """A setting, the project file or a declaration is wrong: correct it and start again."""


class BrokerError(DriftlineError):
    """The broker is missing, refuses or fails: check its address and that it runs."""


class AccessDenied(BrokerError):
    """Kafka refuses an operation on a topic or group: add the ACL that the text names."""


class UnknownTopic(BrokerError):
    """A topic that should exist does not; `advice` says what to do, by default to run `driftline apply`."""

    def __init__(self, topic: str, advice: str = "create it with `driftline apply`") -> None:
        super().__init__(f"topic {topic!r} does not exist; {advice}")


class UnknownPartition(UnknownTopic):
    """A topic has fewer partitions than are asked for: add partitions to it."""

    def __init__(self, topic: str, number: int, partitions: int) -> None:
        BrokerError.__init__(
            self,
            f"topic {topic!r} has {partitions} partitions and no partition {number}; add partitions to it",
        )


class OffsetExpired(BrokerError):
    """An offset is not in the log: retention removed records, or the topic was made again."""


class BrokerAway(BrokerError):
    """The broker does not answer now: check its address and that it runs, and ask again."""


class DeliveryError(BrokerError):
    """The broker did not take records; the flow stops before it forgets them."""


class Unacknowledged(DeliveryError):
    """The broker did not acknowledge records in time, so they may or may not be in the log."""


class RecordTooLarge(DeliveryError):
    """A record is larger than the broker takes: writing it again would fail again, so a person has to act."""

    def __init__(self, failure: str) -> None:
        super().__init__(
            f"{failure}; raise `max.message.bytes` of the topic and DRIFTLINE_KAFKA_MESSAGE_MAX_BYTES, and "
            "start the flows again"
        )


class EngineConflict(DriftlineError):
    """Another engine runs the same flow of the same pipeline on the broker: let only one of them run."""


class StoreError(DriftlineError):
    """Feast, its registry or one of its stores fails."""


class StateError(DriftlineError):
    """The stored state of a flow cannot be read or written: look after the disk of the state directory."""


class SnapshotError(DriftlineError):
    """A model snapshot is unsigned, altered, of another project, or cannot be read."""


class StaleSnapshot(SnapshotError):
    """A signed model message that is repeated, older than one taken before, or of another pipeline."""


class SupersededSnapshot(SnapshotError):
    """The artifact of an older model was removed, and a newer one is there: nothing is wrong."""


class StateTooLarge(DriftlineError):
    """What a step keeps under one key is more than the recovery store takes: let it keep less."""

    def __init__(self, step: str, size: int, largest: int) -> None:
        super().__init__(
            f"the state of step {step!r} has {size:,} bytes under one key, and the recovery store takes "
            f"{largest:,}; keep less: a model that does not grow without bound (hash texts, limit "
            "depth), a smaller `max_pending` or `label_wait` for the learner, shorter or tiled windows for "
            "predict"
        )


class InvalidRecord(Exception):
    """A record that the engine cannot use; `reason` is one of `flows.core.stream.dead_letter.Reason`."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
