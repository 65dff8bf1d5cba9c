"""The four tasks: what an estimator predicts and learns, what is served, and how scores are judged.

| task | truth | score |
|---|---|---|
| binary | `Flag` | the probability of true; 0.5 before the first label |
| multiclass | `Text` | the probability of each class; empty before the first label |
| regression | `Number` | a number |
| anomaly | `Flag` | `score`, higher for stranger events, and `anomaly`, 1 above the filter's threshold |
"""

from flows.core.models.tasks.anomaly import Anomaly
from flows.core.models.tasks.classification import UNDECIDED, Binary, Multiclass, log_loss
from flows.core.models.tasks.regression import Regression
from flows.core.models.tasks.task import Features, Task, TaskName, Truth
from flows.errors import ConfigError

__all__ = [
    "BINARY",
    "TASKS",
    "UNDECIDED",
    "Binary",
    "Features",
    "Task",
    "TaskName",
    "Truth",
    "log_loss",
    "task_of",
]

BINARY = Binary()
TASKS: dict[str, Task] = {task.name: task for task in (BINARY, Multiclass(), Regression(), Anomaly())}


def task_of(name: str) -> Task:
    """Return the task of this name; raises `ConfigError` if there is none."""
    if name not in TASKS:
        raise ConfigError(f"there is no task {name!r}; declare one of {', '.join(TASKS)}")
    return TASKS[name]
