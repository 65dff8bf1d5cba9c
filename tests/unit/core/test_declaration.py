"""A wrong declaration is refused with the file, the line and the correction."""

import re
from dataclasses import replace
from datetime import timedelta
from math import inf, nan
from pathlib import Path

import pytest
from river import linear_model

from flows.core.evaluation.costs import Costs
from flows.core.stream.fields import Flag, Key, Number, Text, Time
from flows.errors import ConfigError
from flows.pipeline import Pipeline, Stream
from flows.policies import DriftPolicy, Floor, RetrainPolicy, Search

IDS = {"id": Text(), "at": Time()}


def stream(topic="sales", id_field="id", time="at", **fields) -> Stream:
    return Stream(topic, id_field, time, {**IDS, **fields})


def shop(**members) -> Pipeline:
    declared = {
        "name": "fraud",
        "events": stream(region=Text(), amount=Number()),
        "labels": stream("labels", fraud=Flag()),
        "target": "fraud",
        "entities": ("region",),
        "service": "shop",
        "model": linear_model.LogisticRegression,
    }
    return Pipeline(**{**declared, **members})


WRONG = {
    "a class in place of a field": (lambda: stream(region=str), "got the class str; write Text()"),
    "an integer class": (lambda: stream(n=int), "write Number(), or Key() for the key of an entity"),
    "a field without its brackets": (lambda: stream(region=Text), "got the class Text; write Text()"),
    "a value in place of a field": (lambda: stream(region="text"), "got 'text'; write one of Text(), Key(),"),
    "fields that are a list": (lambda: Stream("t", "id", "at", ["id"]), "`fields` must be a dict"),
    "an id that is a number": (lambda: stream(id=Number()), "must declare 'id' as a required Text or Key"),
    "an id that may be missing": (lambda: stream(id=Key(required=False)), "'id' as a required Text or Key"),
    "a time that is a text": (lambda: stream(at=Text()), "must declare 'at' as a required Time, with Time()"),
    "an id that is no field": (lambda: stream(id_field="key"), "topic 'sales': must declare 'key'"),
    "a topic that is a path": (
        lambda: stream("../x"),
        "`topic` must have only letters, digits, '.', '_' and",
    ),
    "a topic that is no text": (lambda: stream(None), "`topic` must be a str, got None"),
    "low above high": (lambda: Number(1, 0), "got 1 and 0; write Number(0, 1)"),
    "a low that is NaN": (lambda: Number(nan, 0), "Number: `low` must be a number, got nan"),
    "a high that is NaN": (lambda: Number(0, nan), "Number: `high` must be a number, got nan"),
    "a bound that is a text": (lambda: Number("0", 1), "`low` must be a number, got '0'"),
    "a bound that is a flag": (lambda: Number(True, 1), "`low` must be a number, got True"),
    "no length": (lambda: Text(longest=0), "`longest` must be a whole number of at least 1, got 0"),
    "a length as the first argument": (lambda: Text(256), "`required` must be True or False, got 256"),
    "an unknown unit": (lambda: Time(unit="min"), "`unit` must be one of 's', 'ms', 'us', 'ns', got 'min'"),
    "an unknown kind of key": (lambda: Key(kind=int), "must be one of 'text', 'integer', got the class int"),
    "a flag of two types": (lambda: Flag(true="1", false=0), "two different values of one type, such as Fl"),
    "a flag of one value": (lambda: Flag(true=0), "two different values of one type"),
    "a flag of no value": (lambda: Flag(true=None, false=0), "`true` must be a bool or int or float or str"),
    "entities that are a text": (
        lambda: shop(entities="region"),
        "`entities` must be a tuple, got 'region'; write ('region',)",
    ),
    "inputs that are a text": (
        lambda: shop(inputs="amount"),
        "`inputs` must be a tuple, got 'amount'; write ('amount',)",
    ),
    "slices that are a text": (
        lambda: shop(slices="region"),
        "`slices` must be a tuple, got 'region'; write ('region',)",
    ),
    "sources that are a stream": (
        lambda: shop(sources=stream("s")),
        "`sources` must be a tuple, such as (St",
    ),
    "a source that is a topic": (lambda: shop(sources=("s",)), "member 0 must be a Stream, got 's'"),
    "an input twice": (lambda: shop(inputs=("amount", "amount")), "`inputs` must not have 'amount' twice"),
    "an input that is no field": (
        lambda: shop(inputs=("price",)),
        "`inputs` names 'price', which is not a field",
    ),
    "an entity that is no text": (lambda: shop(entities=(7,)), "its member 0 must be a str, got 7"),
    "events that are a topic": (lambda: shop(events="sales"), "`events` must be a Stream, got 'sales'"),
    "a model that is made": (lambda: shop(model=3), "`model` must be a function or a class, got 3"),
    "metrics that are made": (lambda: shop(metrics=3), "`metrics` must be a function or a class, got 3"),
    "a task that is none": (lambda: shop(task="ranking"), "must be one of binary, "),
    "a negative wait": (lambda: shop(label_wait=timedelta(days=-1)), "`label_wait` must not be negative"),
    "a wait that is a number": (
        lambda: shop(label_wait=7),
        "`label_wait` must be a timedelta, such as timed",
    ),
    "a negative lateness": (lambda: shop(lateness=timedelta(seconds=-1)), "`lateness` must not be negative"),
    "no partitions": (lambda: shop(partitions=0), "`partitions` must be a whole number of at least 1, got 0"),
    "half a partition": (lambda: shop(partitions=1.5), "`partitions` must be a whole number"),
    "costs that are a tuple": (lambda: shop(costs=(1, 2)), "`costs` must be a Costs, got (1, 2)"),
    "a cost that is a text": (lambda: shop(costs=Costs("1", 2)), "`costs` must be numbers above 0"),
    "a cost without end": (lambda: shop(costs=Costs(1, inf)), "`costs` must be numbers above 0"),
    "a drift policy that is none": (
        lambda: shop(drift="adwin"),
        "`drift` must be a DriftPolicy, got 'adwin'",
    ),
    "a retrain policy that is none": (lambda: shop(retrain=None), "`retrain` must be a RetrainPolicy"),
    "a default label in the topic's own values": (
        lambda: shop(labels=stream("l", fraud=Flag(true=1, false=0)), default_label=0),
        "`default_label` must be true or false",
    ),
    "a data set that is a function": (lambda: shop(dataset=list), "`dataset` must be a non-empty str"),
    "a delta above 1": (lambda: DriftPolicy(delta=2), "`delta` must be a number above 0 and below 1, got 2"),
    "a cool-down that is a number": (lambda: DriftPolicy(cool_down=7), "`cool_down` must be a timedelta"),
    "a negative cool-down": (
        lambda: DriftPolicy(cool_down=timedelta(-1)),
        "`cool_down` must not be negative",
    ),
    "kinds that are a text": (
        lambda: DriftPolicy(kinds="concept"),
        "`kinds` must be a tuple, got 'concept'; write ('concept',)",
    ),
    "an unknown kind of drift": (
        lambda: DriftPolicy(kinds=("x",)),
        "its member 0 must be one of 'concept', 'feature'",
    ),
    "a period that is a number": (lambda: DriftPolicy(period=24), "`period` must be a timedelta"),
    "a warm-up that is a duration": (lambda: DriftPolicy(warm_up=timedelta(1)), "`warm_up` must be a whole"),
    "an unknown detector": (lambda: DriftPolicy(detector="cusum"), "no drift detector 'cusum'"),
    "options that are a list": (lambda: DriftPolicy(options=[1]), "`options` must be a dict"),
    "no labels to train on": (lambda: RetrainPolicy(minimum_labels=0), "`minimum_labels` must be a whole"),
    "a significance of 1": (lambda: RetrainPolicy(significance=1), "`significance` must be a number above 0"),
    "no patience": (lambda: RetrainPolicy(patience=0), "`patience` must be a whole number of at least 1"),
    "no block": (lambda: RetrainPolicy(block=None), "`block` must be a whole number of at least 1, got None"),
    "a schedule without a window": (
        lambda: RetrainPolicy(schedule=timedelta(days=7)),
        "`window` must be declared with `schedule` or `floor`: it is the history",
    ),
    "a floor without a window": (
        lambda: RetrainPolicy(floor=Floor("ROCAUC", 0.7)),
        "`window` must be declared with `schedule` or `floor`",
    ),
    "a floor that is a number": (lambda: RetrainPolicy(floor=0.7), "`floor` must be a Floor, got 0.7"),
    "a floor of a metric that is not declared": (
        lambda: shop(retrain=RetrainPolicy(window=timedelta(1), floor=Floor("F1", 0.7))),
        "the floor's `metric` must be one of ROCAUC, LogLoss, got 'F1'",
    ),
    "a floor without a value": (lambda: Floor("ROCAUC", "0.7"), "Floor: `value` must be a number"),
    "a schedule of no time": (
        lambda: RetrainPolicy(schedule=timedelta(0), window=timedelta(1)),
        "`schedule` must be longer than 0",
    ),
    "no budget": (lambda: RetrainPolicy(budget=timedelta(0)), "`budget` must be longer than 0"),
    "a budget in seconds": (lambda: RetrainPolicy(budget=60), "`budget` must be a timedelta"),
    "no memory": (lambda: RetrainPolicy(memory=0), "`memory` must be a whole number of at least 1"),
    "a search that is a dict": (lambda: RetrainPolicy(search={}), "`search` must be a Search, got {}"),
    "a search without models": (lambda: Search({}), "`models` must name at least one family"),
    "a search of a model that is made": (
        lambda: Search({"a": 3}),
        "`models` must have functions; 'a' must be a function or a class, got 3",
    ),
    "parameters of no family": (
        lambda: Search({"a": dict}, {"b": {"x": (1,)}}),
        "`parameters` names 'b', which is not one of `models`",
    ),
    "parameters that are a tuple": (
        lambda: Search({"a": dict}, {"a": (1,)}),
        "the `parameters` of 'a' must be a dict with str keys, got (1,)",
    ),
    "a parameter with one value": (
        lambda: Search({"a": linear_model.LogisticRegression}, {"a": {"l2": 0.1}}),
        "parameter 'l2' of 'a' must be a tuple of the values to try, got 0.1; write (0.1,)",
    ),
    "a parameter that the model does not have": (
        lambda: Search({"a": linear_model.LogisticRegression}, {"a": {"depth": (1, 2)}}),
        "family 'a' must take the declared `parameters`: got an unexpected keyword argument 'depth'",
    ),
    "too many configurations": (
        lambda: Search({"a": linear_model.LogisticRegression}, {"a": {"l2": tuple(range(65))}}),
        "there must be at most 64 configurations, got 65; try fewer values",
    ),
    "a first search without the declared model": (
        lambda: shop(retrain=RetrainPolicy(search=Search({"a": dict}, first=100))),
        "a search with `first` must have the pipeline's `model` among its `models`",
    ),
    "a first search of a part of a label": (
        lambda: Search({"a": dict}, first=0.5),
        "`first` must be",
    ),
    "a search for a task without labels": (
        lambda: shop(task="anomaly", retrain=RetrainPolicy(search=Search({"a": dict}))),
        "`search` compares models by labels, and task 'anomaly' learns without",
    ),
    "its own output as its input": (
        lambda: shop(sources=(stream("fraud.predictions"),)),
        "topic 'fraud.predictions' cannot be an input: the pipeline itself writes 'fraud.predictions'",
    ),
    "an output but for the dot": (
        lambda: shop(sources=(stream("fraud_drift"),)),
        "'fraud_drift' cannot be an input: the pipeline itself writes 'fraud.drift'; rename one",
    ),
    "a topic twice": (
        lambda: shop(sources=(stream("sales"),)),
        "topic 'sales' is used twice in `events`, `sources` and `labels`",
    ),
    "labels from the events' topic": (
        lambda: shop(labels=stream("sales", fraud=Flag())),
        "topic 'sales' is used twice in `events`, `sources` and `labels`",
    ),
    "topics that differ in the dot": (
        lambda: shop(sources=(stream("a.b"), stream("a_b"))),
        "topics 'a.b' and 'a_b' differ only in '.' and '_'; Kafka refuses that",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_declaration_is_refused_with_its_place_and_what_to_write(what):
    declare, said = WRONG[what]
    with pytest.raises(ConfigError, match=re.escape(said)) as error:
        declare()
    here, line = Path(__file__), declare.__code__.co_firstlineno
    place, number, _ = str(error.value).split(":", 2)
    assert (Path(place), "\n" in str(error.value)) == (here, False)
    assert line <= int(number) <= line + 3 or said_of_a_stream(int(number))


def said_of_a_stream(number: int) -> bool:
    """Whether the line is one of the helpers above, which declare for a case."""
    return Path(__file__).read_text().splitlines()[number - 1].strip().startswith("return ")


NAMES = ["", ".", "..", "../../../outside/x", "a/b", "a b", "a\0", "a\n", "käse", "a" * 250, 7, None, b"a"]


@pytest.mark.parametrize("name", NAMES, ids=repr)
@pytest.mark.parametrize("role", ["name", "service", "topic", "entity"])
def test_names_are_those_that_kafka_takes(role, name):
    declare = {
        "name": lambda: shop(name=name),
        "service": lambda: shop(service=name),
        "topic": lambda: stream(name),
        "entity": lambda: shop(entities=(name,)),
    }
    with pytest.raises(ConfigError, match=r"must (be a str|have|not be)"):
        declare[role]()


def test_the_longest_name_of_a_pipeline_leaves_room_for_its_topics():
    longest = shop(name="n" * 236)
    assert max(map(len, longest.output_topics)) == 249
    with pytest.raises(ConfigError, match=r"`name` must have 1 to 236 characters, got 237"):
        replace(longest, name="n" * 237)


def test_what_is_right_is_taken():
    events = stream(
        region=Key(), amount=Number(-inf, inf), paid=Flag(true="Y", false="N"), due=Time(unit="us")
    )
    declared = shop(
        events=events,
        entities=["region"],
        inputs=("region", "amount", "paid"),
        slices=("region", "paid"),
        sources=[stream("returns.v2"), stream("stock-levels")],
        costs=Costs(1, 2.5),
        default_label=False,
        lateness=timedelta(0),
        drift=DriftPolicy(period=None, kinds=()),
    )
    assert [each.topic for each in declared.input_streams] == [
        "sales",
        "returns.v2",
        "stock-levels",
        "labels",
    ]
