"""Streams of River's generators whose concept changes at a known place."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from random import Random
from typing import Any, Literal, NamedTuple

from river import linear_model, optim, preprocessing, tree
from river.datasets import base, synth

Change = Literal["abrupt", "gradual", "recurring", "noise", "none"]

CHANGE = 5_000  # events before the first change
ABRUPT = 50  # events that an abrupt change takes; River's sigmoid overflows with fewer
WIDTH = 2_000  # events that a gradual change takes
NOISE = 0.25  # the share of wrong labels while a stream is noisy
RETURN = 10_000  # events before a recurring concept is back
LENGTH = 12_000


class Row(NamedTuple):
    """The features of an event and its truth."""

    features: tuple[float, ...]
    truth: bool


class Task(NamedTuple):
    """Two concepts, and the model that learns them; `concept(number, seed)` returns an endless stream."""

    name: str
    concept: Callable[[int, int], Iterable[tuple[dict[Any, Any], Any]]]
    model: Callable[[], Any]


class Stream(NamedTuple):
    """A stream of one task, made from a seed.

    `began` is the number of events before the first change, and `changed` before the last one is complete.
    """

    seed: int
    names: tuple[str, ...]
    rows: Sequence[Row]
    began: int
    changed: int


def linear() -> Any:
    """Return logistic regression with a step size for each weight, as `flight_delays` has."""
    return preprocessing.StandardScaler() | linear_model.LogisticRegression(optim.AdaGrad(0.1))


def growing_tree() -> Any:
    """Return a tree that grows and forgets nothing."""
    return tree.HoeffdingTreeClassifier()


def _sea(number: int, seed: int) -> Any:
    return synth.SEA(variant=(2, 3)[number], noise=0.1, seed=seed)


def _hyperplane(number: int, seed: int) -> Any:
    return synth.Hyperplane(seed=2 * seed + number, n_features=10, noise_percentage=0.1)


def _agrawal(number: int, seed: int) -> Any:
    return synth.Agrawal(classification_function=(0, 2)[number], perturbation=0.1, seed=seed)


def _stagger(number: int, seed: int) -> Any:
    return synth.STAGGER(classification_function=(0, 2)[number], seed=seed)


TASKS: Sequence[Task] = (
    Task("SEA, linear", _sea, linear),
    Task("Hyperplane, linear", _hyperplane, linear),
    Task("Agrawal, tree", _agrawal, growing_tree),
    Task("STAGGER, tree", _stagger, growing_tree),
)


def stream(task: Task, change: Change, seed: int, length: int = LENGTH) -> Stream:
    """Return a stream with one change, or one that changes and returns; the same for the same seed."""
    old, new = (task.concept(number, seed) for number in (0, 1))
    if change == "none":
        return _stream(seed, old, length, length, length)
    if change == "noise":
        return _stream(seed, _noisy(old, seed), length, CHANGE, CHANGE + WIDTH)
    if change == "gradual":
        middle = CHANGE + WIDTH // 2
        return _stream(seed, _changing(old, new, middle, WIDTH, seed), length, CHANGE, CHANGE + WIDTH)
    if change == "abrupt":
        return _stream(seed, _changing(old, new, CHANGE, ABRUPT, seed), length, CHANGE, CHANGE)
    back = _changing(new, task.concept(0, seed + 1_000), RETURN - CHANGE, ABRUPT, seed)
    return _stream(seed, _changing(old, back, CHANGE, ABRUPT, seed), RETURN + length - CHANGE, CHANGE, RETURN)


def _noisy(source: Any, seed: int) -> Iterator[tuple[dict[Any, Any], Any]]:
    """Yield the rows of one concept, with wrong labels for a while."""
    random = Random(seed)  # noqa: S311
    for number, (x, y) in enumerate(source):
        wrong = CHANGE <= number < CHANGE + WIDTH and random.random() < NOISE
        yield x, bool(y) != wrong


def _changing(old: Any, new: Any, place: int, width: int, seed: int) -> base.SyntheticDataset:
    return synth.ConceptDriftStream(old, new, position=place, width=width, seed=seed)


def _stream(
    seed: int, source: Iterable[tuple[dict[Any, Any], Any]], length: int, began: int, changed: int
) -> Stream:
    found = list(islice(source, length))
    names = tuple(found[0][0])
    rows = [Row(tuple(float(x[name]) for name in names), bool(y)) for x, y in found]
    return Stream(seed, tuple(map(str, names)), rows, began, changed)
