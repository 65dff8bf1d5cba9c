"""A signed pickle reaches only the classes of the declared model."""

import operator
import pickle
import random
from types import SimpleNamespace
from typing import Any

import pytest
from river import compose, linear_model, naive_bayes, preprocessing, stats, tree, utils

from flows.core.models.unpickling import Unpickler, classes_of_models, plain_values
from flows.errors import ConfigError, SnapshotError
from flows.pipelines import flight_delays

DECLARED = [flight_delays.model(), tree.HoeffdingTreeClassifier()]
TABLE = {**plain_values(), **classes_of_models(DECLARED)}


def text(name: str) -> bytes:
    return b"\x8c" + bytes([len(name)]) + name.encode()


def found(module: str, name: str) -> bytes:
    """The opcodes that look a name up."""
    return text(module) + text(name) + b"\x93"


def calling(module: str, name: str, *arguments: Any) -> bytes:
    """A pickle that calls what is found at that name, written opcode by opcode."""
    return b"\x80\x04" + found(module, name) + pickle.dumps(arguments, protocol=4)[2:-1] + b"R."


def rolling(held: Any) -> Any:
    """Return River's `Rolling` around any object, as a pickle can create it without its check."""
    made = utils.Rolling.__new__(utils.Rolling)
    made.__dict__["obj"] = held
    return made


def loaded(content: bytes) -> Any:
    return Unpickler(content, TABLE).load()


KNOWN_WAYS = [
    ("os", "system"),
    ("posix", "system"),
    ("subprocess", "Popen"),
    ("builtins", "eval"),
    ("builtins", "exec"),
    ("builtins", "compile"),
    ("builtins", "__import__"),
    ("builtins", "open"),
    ("builtins", "type"),
    ("builtins", "setattr"),
    ("builtins", "map"),
    ("builtins", "object.__subclasses__"),
    ("builtins", "dict.fromkeys"),
    ("importlib", "import_module"),
    ("pickle", "loads"),
    ("types", "FunctionType"),
    ("types", "CodeType"),
    ("types", "MethodType"),
    ("operator", "attrgetter"),
    ("operator", "methodcaller"),
    ("functools", "partial"),
    ("functools", "reduce"),
    ("copy", "deepcopy"),
    ("copyreg", "pickle"),
    ("copyreg", "add_extension"),
    ("copyreg", "constructor"),
    ("copyreg", "__newobj_ex__"),
    ("collections", "namedtuple"),
    ("collections", "_sys.modules"),
    ("random", "_os.system"),
    ("random", "Random.__init__.__globals__"),
    ("numpy", "load"),
    ("numpy", "memmap"),
    ("numpy", "fromfile"),
    ("numpy", "vectorize"),
    ("numpy.testing._private.utils", "runstring"),
    ("code", "InteractiveInterpreter"),
    ("timeit", "Timer"),
    ("ctypes", "CDLL"),
    ("webbrowser", "open"),
    ("river.utils.rolling", "Rolling.__getattr__"),
    ("river.stream.cache", "Cache"),
    ("river.stream.iter_csv", "iter_csv"),
    ("river.datasets.base", "RemoteDataset"),
    ("river.drift.datasets.base", "ChangePointFileDataset"),
    ("river.checks.common", "pickle"),
    ("river.compose.func", "FuncTransformer.transform_one"),
    ("river.compat.river_to_sklearn", "convert_river_to_sklearn"),
    ("river.linear_model.log_reg", "optim.base.abc"),
    ("flows.runtime.supervisor", "subprocess.Popen"),
    ("flows.runtime.supervisor", "Supervisor"),
    ("flows.core.models.snapshots", "Sealer"),
    ("flows.core.models.quick_river", "_Later"),
    ("flows.core.learning.learner", "Learner"),  # of a flow's state, not of a model
    ("flows.pipelines.flights_data", "read_csv"),
    ("flows.pipelines.flight_delays", "log1p"),  # the pipeline imports it
    ("flows.pipelines.flight_delays", "model"),  # the pipeline defines it, but its model does not refer to it
    ("flows.pipelines.flight_delays", "prepare.__globals__"),
]


@pytest.mark.parametrize(("module", "name"), KNOWN_WAYS, ids=str)
def test_nothing_is_found_but_what_the_declared_models_are_made_of(module, name):
    with pytest.raises(SnapshotError, match="allow-list"):
        loaded(calling(module, name))


@pytest.mark.parametrize(
    "opcodes", [b"\x80\x02cos\nsystem\n(X\x04\x00\x00\x00truetR.", b"(S'true'\nios\nsystem\n."]
)
def test_the_old_opcodes_find_no_more_than_the_new_ones(opcodes):
    with pytest.raises(SnapshotError, match=r"os\.system"):
        loaded(opcodes)


def test_the_extension_registry_and_persistent_ids_lead_nowhere():
    for opcodes in (b"\x80\x02\x82\x01.", b"\x80\x02X\x01\x00\x00\x00aQ."):
        with pytest.raises((SnapshotError, pickle.UnpicklingError, ValueError)):
            loaded(opcodes)


def test_partial_over_eval_is_refused_where_the_declaration_itself_has_partials():
    table = {**plain_values(), **classes_of_models([naive_bayes.GaussianNB()])}
    assert ("functools", "partial") in table
    partial = b"\x80\x04" + found("functools", "partial") + found("builtins", "eval") + b"\x85R."
    with pytest.raises(SnapshotError, match="allow-list"):
        Unpickler(partial, table).load()


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (linear_model.LogisticRegression, "__init__"),
        (linear_model.LogisticRegression, "__subclasses__"),
        (linear_model.LogisticRegression(), "__class__"),
        (linear_model.LogisticRegression(), "__reduce_ex__"),
        (linear_model.LogisticRegression(), "__dict__"),
        (linear_model.LogisticRegression(), "loss"),
        ({}, "get"),
        (random.Random(), "seed"),
        (flight_delays.prepare, "__globals__"),
        (flight_delays.prepare, "__call__"),
        (rolling(flight_delays.prepare), "__globals__"),  # it forwards to what it holds
        (rolling(stats.Mean()), "no_method_of_its_own"),
        (linear_model.LogisticRegression(), 7),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else value,
)
def test_getattr_gives_bound_methods_of_models_and_nothing_else(owner, name):
    content = b"\x80\x04" + found("builtins", "getattr") + pickle.dumps((owner, name), 4)[2:-1] + b"R."
    with pytest.raises(SnapshotError, match="allow-list"):
        loaded(content)


def test_the_helper_that_led_to_eval_does_so_no_more():
    """River's `Rolling` forwards every attribute, and a function's globals hold the built-in functions."""
    helper = rolling(flight_delays.prepare)
    assert helper.__globals__["__builtins__"]["eval"] is eval  # so it would
    for step in (
        calling("builtins", "getattr", helper, "__globals__"),
        calling("river.utils.rolling", "Rolling.__getattr__", helper, "__globals__"),
        calling("operator", "attrgetter", "__globals__"),
    ):
        with pytest.raises(SnapshotError, match="allow-list"):
            loaded(step)
    assert operator.attrgetter("__globals__")(helper)


def test_a_bound_method_of_a_model_comes_back():
    class_of = compose.FuncTransformer(stats.Mean().get)
    table = {**plain_values(), **classes_of_models([class_of])}
    back = Unpickler(pickle.dumps(class_of, 5), table).load()
    assert back.func() == 0.0
    assert isinstance(back.func.__self__, stats.Mean)


def test_functions_are_those_that_the_declared_model_refers_to():
    functions = {f"{module}.{name}" for (module, name), found in TABLE.items() if not isinstance(found, type)}
    ours = {name for name in functions if name.startswith("flows")}
    assert ours == {"flows.pipelines.flight_delays.prepare"}


def test_what_another_model_is_made_of_is_not_found():
    table = {**plain_values(), **classes_of_models([linear_model.PAClassifier()])}
    with pytest.raises(SnapshotError, match=r"river\.tree\.hoeffding_tree_classifier"):
        Unpickler(pickle.dumps(tree.HoeffdingTreeClassifier(), 5), table).load()


def test_a_table_for_no_model_holds_plain_values_only():
    assert classes_of_models([]) == {}
    value = {"a": [1, 2.5, (True, None)], "b": {"x"}, "c": b"\x00"}
    assert Unpickler(pickle.dumps(value, 5), plain_values()).load() == value


def test_a_model_that_pickle_cannot_store_is_a_mistake_of_the_declaration():
    with pytest.raises(ConfigError, match="the model must be one that pickle can store"):
        classes_of_models([compose.FuncTransformer(lambda x: x) | preprocessing.StandardScaler()])


def test_a_class_of_the_same_name_in_another_module_is_not_taken_for_the_models():
    fake = type("LogisticRegression", (SimpleNamespace,), {"run": lambda _: None})
    fake.__module__ = "river.linear_model.log_reg"
    with pytest.raises(SnapshotError):
        Unpickler(b"\x80\x04N.", TABLE)._bound_method(fake(), "run")
