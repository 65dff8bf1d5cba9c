"""Commands: what a person asks the learner to change, signed, each carried out once."""

from collections.abc import Sequence
from typing import Literal, get_args

from msgspec import Struct

from flows.core.registry.signed_json import SignedJson
from flows.core.stored_format import COMMAND
from flows.core.stream.broker import Outgoing, Record

Action = Literal["promote", "rollback", "freeze", "unfreeze", "retrain", "retire"]
Learning = Literal["continue", "frozen", "shadow"]
LEARNING: tuple[Learning, ...] = get_args(Learning)
ACTIONS: tuple[Action, ...] = get_args(Action)


class Command(Struct, frozen=True):
    """A command for the learner of one pipeline.

    - `id` is unique, and `issued` is the time by the sender's clock (ISO 8601).
    - `version` is empty if the action needs none.
    - `learning` says what follows a rollback. With "continue" the restored model learns on, with "frozen" it
      does not. With "shadow" it does not either, and the replaced champion learns on as its challenger.
    """

    format: str
    pipeline: str
    id: str
    action: Action
    version: str
    who: str
    why: str
    issued: str
    learning: Learning = "continue"


class CommandSealer:
    """Signs and reads the commands of one pipeline."""

    def __init__(self, pipeline: str, secrets: Sequence[bytes]) -> None:
        self._signed = SignedJson(pipeline, secrets, "commands", Command, COMMAND)

    def seal(self, topic: str, command: Command, timestamp: int) -> Outgoing:
        """Return the record of a command; it is read before events and labels after `timestamp` (ms)."""
        content, headers = self._signed.encode(command)
        headers = (("id", command.id.encode()), ("action", command.action.encode()), *headers)
        return Outgoing(topic, content, command.id.encode(), 0, timestamp, headers)

    def open(self, record: Record) -> Command:
        """Return the command in a record; raises `RegistryError` as `SignedJson.decode` does."""
        return self._signed.decode(record)
