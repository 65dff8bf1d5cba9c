"""Gates: the limits that a model must keep to before it may be served, and whether it does."""

from collections.abc import Collection, Iterator, Mapping
from math import isfinite
from typing import Any, NamedTuple

from flows.errors import ConfigError

LIMITS = ("at_most", "at_least")
CHANGES = ("change_at_most", "change_at_least")  # against what was served
NAMED = ("metrics", "slices")  # sections with a gate for each name
UNSERVED = ("labels", "latency", "size")  # figures that served scores do not have, so there is no change


class ModelGate(NamedTuple):
    """A limit of one figure, such as "metrics.LogLoss"; `limit` is one of `LIMITS` or `CHANGES`."""

    figure: str
    limit: str
    bound: float


class Figure(NamedTuple):
    """A figure of a model, and the change against that of the served scores, if they have one."""

    value: float
    change: float | None = None


class CheckedGate(NamedTuple):
    """A gate, the value that it limits, and whether that keeps to the limit; NaN never does."""

    figure: str
    limit: str
    bound: float
    value: float
    passed: bool


def parse_gates(raw: Any, names: Mapping[str, Collection[str]]) -> list[ModelGate]:
    """Return the gates in the tables of a file.

    `names` has the sections that the pipeline has, and the names in those with a gate for each name. Raises
    `ConfigError` for everything else, and if there is no gate.
    """
    gates: list[ModelGate] = []
    for section, content in _table("the file", raw).items():
        if section not in names:
            raise ConfigError(
                f"a gate of the pipeline must be one of {', '.join(names)}, got {section!r}; correct it"
            )
        if section not in NAMED:
            gates += _gates(section, content)
            continue
        for name, limits in _table(section, content).items():
            if name not in names[section]:
                known = ", ".join(names[section]) or "none"
                raise ConfigError(
                    f"{section}.{name} must be one of the declared {section} ({known}); correct the name, or "
                    "declare it"
                )
            gates += _gates(f"{section}.{name}", limits)
    if not gates:
        raise ConfigError(f"a file of gates must have one of {', '.join(names)}, got none; add a limit")
    return gates


def sections(
    metrics: Collection[str], slices: Collection[str], is_binary: bool
) -> dict[str, Collection[str]]:
    """Return the sections that a pipeline has; only a binary model is judged by slices and calibration."""
    of_binary = {"slices": slices, "calibration": ()} if is_binary else {}
    return {"labels": (), "metrics": metrics, **of_binary, "latency": (), "size": ()}


def check(gates: list[ModelGate], figures: Mapping[str, Figure]) -> list[CheckedGate]:
    """Return each gate with the value that it limits, and whether it is passed.

    >>> gate = ModelGate("calibration", "change_at_most", 0.0)
    >>> [checked] = check([gate], {"calibration": Figure(0.4, 0.1)})
    >>> checked.value, checked.passed
    (0.1, False)
    """
    return [_checked(gate, figures[gate.figure]) for gate in gates]


def _checked(gate: ModelGate, figure: Figure) -> CheckedGate:
    value = figure.value if gate.limit in LIMITS else figure.change
    assert value is not None, "`parse_gates` refuses a change of what the served scores do not have"
    passed = value <= gate.bound if gate.limit.endswith("at_most") else value >= gate.bound
    return CheckedGate(*gate, value, passed)


def _gates(figure: str, limits: Any) -> Iterator[ModelGate]:
    allowed = LIMITS if figure in UNSERVED else (*LIMITS, *CHANGES)
    found = _table(figure, limits)
    if not found:
        raise ConfigError(f"{figure} must have a limit ({', '.join(allowed)}), got none; add one")
    for limit, bound in found.items():
        if limit not in allowed:
            raise ConfigError(
                f"a limit of {figure} must be one of {', '.join(allowed)}, got {limit!r}; correct its name"
            )
        if isinstance(bound, bool) or not isinstance(bound, int | float) or not isfinite(bound):
            raise ConfigError(f"{figure}.{limit} must be a number, got {bound!r}; correct it")
        yield ModelGate(figure, limit, bound)


def _table(name: str, content: Any) -> Mapping[str, Any]:
    if not isinstance(content, Mapping):
        raise ConfigError(f"{name} must be a table, got {content!r}; see `driftline models gate --help`")
    return content
