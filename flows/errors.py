"""Every error that Driftline raises, in one tree.

DriftlineError            base class; the text says what to do
├── ConfigError           a setting, the project file or a declaration is wrong
├── BrokerError           the broker is unreachable, or a request failed
│   ├── AccessDenied      an ACL is missing
│   ├── UnknownTopic      a topic does not exist
│   │   └── UnknownPartition   a topic does not have this partition
│   ├── OffsetExpired     a stored offset is no longer in the log
│   ├── BrokerAway        the broker does not answer; a retry may succeed
│   └── DeliveryError     records were not written
│       ├── Unacknowledged   records may or may not be in the log
│       └── RecordTooLarge   a record exceeds the broker's limit
├── EngineConflict        another engine runs the flow
├── RoleError             a model cannot get a role
├── StoreError            Feast, its registry or one of its stores failed
├── StateError            the stored state of a flow cannot be read or written
├── StateTooLarge         the state of a step exceeds the limit of the recovery store
├── RegistryError         a command or an entry of the registry is not trusted or cannot be read
├── CommandRefused        a command asks for what is not possible
│   └── UnknownVersion       no version has this name
└── SnapshotError         a snapshot is not trusted or cannot be read
    ├── StaleSnapshot        a model message does not advance the pipeline's sequence
    └── SupersededSnapshot   an artifact was deleted after a newer one was stored
InvalidRecord             bad input; it becomes a dead letter and never leaves a flow
InvalidRequest            bad input of an HTTP request, which is answered with the text
NotAllowed                a caller over HTTP has no valid token or scope
"""


class DriftlineError(Exception):
    """Base class of errors that a user can fix. The command line prints the text without a stack trace."""


class ConfigError(DriftlineError):
    """A setting, the project file or a declaration is wrong; correct it and start again."""


class BrokerError(DriftlineError):
    """The broker is unreachable, or a request failed; check its address and that it runs."""


class AccessDenied(BrokerError):
    """Kafka denied an operation on a topic or group; add the ACL that the text names."""


class UnknownTopic(BrokerError):
    """A topic does not exist; `advice` says what to do, by default to run `driftline apply`."""

    def __init__(self, topic: str, advice: str = "create it with `driftline apply`") -> None:
        super().__init__(f"topic {topic!r} does not exist; {advice}")


class UnknownPartition(UnknownTopic):
    """A topic does not have this partition; add partitions to it."""

    def __init__(self, topic: str, number: int, partitions: int) -> None:
        BrokerError.__init__(
            self,
            f"topic {topic!r} has {partitions} partitions and no partition {number}; add partitions to it",
        )


class OffsetExpired(BrokerError):
    """An offset is not in the log: retention removed records, or the topic was recreated."""


class BrokerAway(BrokerError):
    """The broker does not answer; check its address and that it runs, or retry."""


class DeliveryError(BrokerError):
    """Records were not written; the flow stops, and writes them after a restart."""


class Unacknowledged(DeliveryError):
    """Records were not acknowledged in time; they may or may not be in the log."""


class RecordTooLarge(DeliveryError):
    """A record exceeds the broker's limit; a retry would fail as well, so the limit must be raised."""

    def __init__(self, failure: str) -> None:
        super().__init__(
            f"{failure}; raise `max.message.bytes` of the topic and DRIFTLINE_KAFKA_MESSAGE_MAX_BYTES, and "
            "restart the flows"
        )


class EngineConflict(DriftlineError):
    """Another engine runs the same flow of the same pipeline on the broker; stop one of them."""


class RoleError(DriftlineError):
    """A model cannot get the role that was asked for; the text names those that can."""


class StoreError(DriftlineError):
    """Feast, its registry or one of its stores failed."""


class StateError(DriftlineError):
    """The stored state of a flow cannot be read or written; check the disk of the state directory."""


class RegistryError(DriftlineError):
    """A command or an entry of the registry is unsigned, altered, of another pipeline, or unreadable."""


class CommandRefused(DriftlineError):
    """A command asks for what is not possible; the text says what is."""


class UnknownVersion(CommandRefused):
    """No version of the model has this name; the text names those that exist."""


class SnapshotError(DriftlineError):
    """A model snapshot is unsigned, altered, from another project, or unreadable."""


class StaleSnapshot(SnapshotError):
    """A signed model message is a repetition, older than an accepted one, or from another pipeline."""


class SupersededSnapshot(SnapshotError):
    """The artifact of an older model was deleted, and a newer one exists; no action is needed."""


class StateTooLarge(DriftlineError):
    """The state of a step under one key exceeds the limit of the recovery store; reduce the state."""

    def __init__(self, step: str, size: int, largest: int) -> None:
        super().__init__(
            f"the state of step {step!r} has {size:,} bytes under one key, and the recovery store takes "
            f"{largest:,}; reduce it: a model of bounded size (hash texts, limit depth), a smaller "
            "`max_pending` or `label_wait` for the learner, shorter or tiled windows for predict"
        )


class InvalidRecord(Exception):
    """The engine cannot use a record; `reason` is one of `flows.core.stream.dead_letter.Reason`."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class InvalidRequest(Exception):
    """An HTTP request cannot be used; the text says what it must be."""


class NotAllowed(Exception):
    """A request over HTTP is refused with this status; `challenge` says which token it needs, if any."""

    def __init__(self, status: int, text: str, challenge: str = "") -> None:
        super().__init__(text)
        self.status = status
        self.headers = {"WWW-Authenticate": challenge} if challenge else {}
