"""The plan of a run with kills, drawn from a seed."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from random import Random

from flows.runtime.runner import FLOWS

PROCESSES = (2, 1, 3)  # of the predict flow, in turns


@dataclass
class Plan:
    """The kills that a seed draws: `due` holds each victim with the number of predictions at which it is due.

    Of the `flows` that run, each of the `victims` (default: all of them) gets the same number of kills. There
    is at least one phase for each number of processes, and every second phase ends with a SIGKILL of the
    supervisor instead of a drain. The predict and learn flows are kept up to `backlog` records behind, so
    that kills find them at work. At most `pace` events are sent in a second. `orders` are the numbers of
    predictions at which a command to the learner is due.
    """

    events: int
    kills: int
    seed: int
    flows: Sequence[str] = FLOWS
    backlog: int = 8_000
    victims: Sequence[str] = ()
    pace: float = inf
    commands: int = 0
    phases: list[int] = field(init=False)
    due: list[tuple[int, str]] = field(init=False)
    orders: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.random = Random(self.seed)  # noqa: S311 (no secret)
        all_victims = self.victims or self.flows
        processes = PROCESSES if "predict" in all_victims else PROCESSES[1:2]
        number = max(len(processes), self.kills // 6)
        self.phases = [processes[n % len(processes)] for n in range(number)]
        victims = [all_victims[n % len(all_victims)] for n in range(self.kills)]
        self.random.shuffle(victims)
        self.due = list(zip(self._moments(self.kills), victims, strict=True))
        self.orders = self._moments(self.commands)

    def _moments(self, number: int) -> list[int]:
        return sorted(self.random.randrange(self.events // 50, self.events * 9 // 10) for _ in range(number))
