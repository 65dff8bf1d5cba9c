"""Commands to the learner at random, as `driftline models` sends them."""

from collections.abc import Callable
from random import Random

from flows.core.registry.command import Action, Learning
from flows.jobs.models.commands import carry_out, new_command
from flows.runtime.engine import Engine

# what a frozen champion would go on with, if nobody unfroze it
_FREEZING = {("freeze", "continue"), ("rollback", "frozen"), ("rollback", "shadow")}
_ORDERS: tuple[tuple[Action, str, Learning], ...] = (
    ("retrain", "", "continue"),
    ("retrain", "", "continue"),
    ("promote", "challenger", "continue"),
    ("retire", "challenger", "continue"),
    ("rollback", "previous", "continue"),
    ("rollback", "previous", "shadow"),
    ("rollback", "v1", "frozen"),
    ("freeze", "", "continue"),
)
_UNFREEZE: tuple[Action, str, Learning] = ("unfreeze", "", "continue")


class Commander:
    """Sends commands without waiting for their answers; `seed` draws them, and `say` gets a line for each.

    A champion that a command froze is unfrozen by the next one.
    """

    def __init__(self, engine: Engine, seed: int, say: Callable[[str], None]) -> None:
        self._engine = engine
        self._random = Random(seed)  # noqa: S311 (no secret)
        self._say = say
        self._is_frozen = False

    def send(self) -> None:
        """Send the next command."""
        action, version, learning = _UNFREEZE if self._is_frozen else self._random.choice(_ORDERS)
        self._is_frozen = (action, learning) in _FREEZING
        self._send(action, version, learning)

    def ask_for_training(self) -> None:
        """Send a command for a training out of turn."""
        self._send("retrain", "", "continue")

    def _send(self, action: Action, version: str, learning: Learning) -> None:
        command = new_command(self._engine.pipeline, action, version, "chaos", "at random", learning)
        carry_out(self._engine, command, seconds=0.0)
        self._say(" ".join(("command:", action, version, learning if action == "rollback" else "")).rstrip())
