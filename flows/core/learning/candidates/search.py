"""The search for a better model: successive halving over the declared configurations.

All configurations are compared on few rows, the worse half is dropped, and the others are compared on twice
as many rows (Jamieson and Talwalkar, "Non-stochastic best arm identification and hyperparameter
optimization", 2016). The rows are the newest ones, and a loss is the prequential one: each row is scored
before it is learned.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

LEAST_ROWS = 100  # in a rung; fewer compare nothing


class Configuration(NamedTuple):
    """A family of models and the arguments of its function."""

    family: str
    arguments: tuple[tuple[str, Any], ...]

    @property
    def name(self) -> str:
        """The configuration as text.

        >>> Configuration("forest", (("n_models", 10), ("seed", 1))).name
        'forest(n_models=10, seed=1)'
        """
        return f"{self.family}({', '.join(f'{name}={value!r}' for name, value in self.arguments)})"


def configurations(
    models: Mapping[str, Callable[..., Any]], parameters: Mapping[str, Mapping[str, Sequence[Any]]]
) -> tuple[Configuration, ...]:
    """Return every combination of the values of each family's parameters.

    >>> [each.name for each in configurations({"a": dict, "b": dict}, {"a": {"x": (1, 2)}})]
    ['a(x=1)', 'a(x=2)', 'b()']
    """
    return tuple(
        Configuration(family, tuple(zip(values, chosen, strict=True)))
        for family, values in ((family, parameters.get(family, {})) for family in models)
        for chosen in product(*values.values())
    )


class Rung(NamedTuple):
    """The mean loss of each configuration over the newest `rows`; None for one that was dropped."""

    rows: int
    losses: Mapping[str, float | None]


class SearchResult(NamedTuple):
    """The best configuration, None if none could be compared, and what was tried."""

    winner: Configuration | None
    rungs: tuple[Rung, ...]

    def told(self) -> dict[str, Any]:
        """Return what was tried, for the lineage of the winner."""
        return {
            "winner": None if self.winner is None else self.winner.name,
            "rungs": [{"rows": rung.rows, "losses": dict(rung.losses)} for rung in self.rungs],
        }


def rung_rows(count: int, rows: int) -> list[int]:
    """Return the rows of each rung for `count` configurations: each twice that of the one before, up to all.

    >>> rung_rows(8, 80_000), rung_rows(5, 700), rung_rows(1, 700)
    ([20000, 40000, 80000], [175, 350, 700], [700])
    """
    rungs = max(1, (count - 1).bit_length())
    return [max(min(rows, LEAST_ROWS), rows >> (rungs - 1 - number)) for number in range(rungs)]


def best_of(
    found: Sequence[Configuration],
    rows: int,
    loss_of: Callable[[Configuration, int], float | None],
    is_over: Callable[[], bool],
) -> SearchResult:
    """Return the winner of one comparison over the newest `rows`, for all configurations.

    Without halving nothing is dropped for being slow to learn. The other arguments are those of `halve`.
    """
    return _ranked(found, [rows], loss_of, is_over)


def halve(
    found: Sequence[Configuration],
    rows: int,
    loss_of: Callable[[Configuration, int], float | None],
    is_over: Callable[[], bool],
) -> SearchResult:
    """Return the winner of successive halving over the newest `rows`.

    `loss_of` returns the mean loss of a configuration over so many of the newest rows, and None for one that
    cannot be compared, which is dropped. If `is_over` before a rung is complete, the best configuration of
    the last complete one wins. Of equal losses the one declared first is better.
    """
    return _ranked(found, rung_rows(len(found), rows), loss_of, is_over)


def _ranked(
    found: Sequence[Configuration],
    sizes: Sequence[int],
    loss_of: Callable[[Configuration, int], float | None],
    is_over: Callable[[], bool],
) -> SearchResult:
    alive, rungs = list(found), list[Rung]()
    for size in sizes:
        losses = {each: loss_of(each, size) for each in alive if not is_over()}
        if is_over() or not losses:
            break
        rungs.append(Rung(size, {each.name: loss for each, loss in losses.items()}))
        compared = [(loss, each) for each, loss in losses.items() if loss is not None]
        ranked = [each for _, each in sorted(compared, key=lambda pair: pair[0])]
        alive = ranked[: (len(ranked) + 1) // 2]
    return SearchResult(alive[0] if rungs and alive else None, tuple(rungs))
