"""The short form of `scripts/chaos models`; its verifier must fail when the log is not what it should be."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any

import orjson
import pytest
from harness import PATIENCE

from flows.core.stream.broker import Outgoing, Record
from scripts.faults import chaos, flights, verify
from scripts.faults.checks import learned, registry
from scripts.faults.checks.check import Check
from scripts.faults.checks.topics import as_sent
from scripts.faults.kills import Chaos
from scripts.faults.plan import Plan
from scripts.faults.site import Log, Site, fresh_site

EVENTS, TURN = 2_600, 1_200  # flights, and the number after which the meaning of their features turns over
FLOWS, KILLED = ("predict", "learn", "retrain"), ("learn", "retrain")
KILLS, COMMANDS, SEED = 4, 3, 10
PACE = 60.0  # flights in a second, so that candidates are trained between them

Change = Callable[[Log, list[Record]], Sequence[Outgoing]]


@pytest.fixture(scope="module")
def ran(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A project after a run with kills, candidates and commands."""
    directory = tmp_path_factory.mktemp("models") / "project"
    servers = {"DRIFTLINE_BROKER": f"kafka://{kafka}", "DRIFTLINE_FEATURE_STORE": "feature_store.yaml"}
    site = fresh_site(directory, {**chaos.SETTINGS, **servers, "DRIFTLINE_BATCH": "50"}, "models_pipeline")
    plan = Plan(EVENTS, KILLS, SEED, FLOWS, victims=KILLED, pace=PACE, commands=COMMANDS)
    run = Chaos(site, plan, 4 * PATIENCE, print, lambda *_: None)
    run.run(flights.turning(EVENTS, TURN))
    assert (len(run.kills), set(run.by_flow())) == (KILLS, set(KILLED))
    return site


def test_kills_while_models_come_and_go_leave_a_registry_that_is_right(ran: Site) -> None:
    assert chaos.report(verify.verify_models(ran)) == 0
    with ran.log() as log:
        changes = {entry["change"] for entry in registry.entries(log)}
        assert {"born", "promoted", "requested", "frozen", "unfrozen"} <= changes


# What the verifier says when the log is not what the engine wrote


@pytest.fixture(scope="module")
def copied(ran: Site, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A project on the embedded log, for copies of the topics."""
    own = {name: value for name, value in ran.environment.items() if name != "DRIFTLINE_BROKER"}
    site = fresh_site(tmp_path_factory.mktemp("copied") / "project", own, "models_pipeline")
    shutil.copytree(ran.directory / ".driftline" / "artifacts", site.directory / ".driftline" / "artifacts")
    return site


@pytest.fixture
def copy(ran: Site, copied: Site) -> Iterator[Callable[[str, Change], Log]]:
    """Return a function that copies the topics of the run, one of them with a change."""
    running = copied.engine()
    with closing(running.open_broker()) as broker:

        def copy_with(kind: str, change: Change) -> Log:
            pipeline = running.pipeline
            broker.delete_topics(pipeline.topics)
            broker.create_topics(pipeline.topic_specs())
            topics = [
                pipeline.labels.topic,
                *map(pipeline.topic, ("predictions", "models", "commands", "registry", "metrics")),
            ]
            with ran.log() as log, closing(broker.producer()) as producer:
                for topic in topics:
                    records = list(log.records(topic))
                    sent = [as_sent(record) for record in records]
                    producer.send(change(log, records) if topic == pipeline.topic(kind) else sent)
            return Log(running, broker)

        yield copy_with


def body_of(record: Record) -> dict[str, Any]:
    body: dict[str, Any] = orjson.loads(record.value or b"")
    return body


def as_it_is(_: Log, records: list[Record]) -> list[Outgoing]:
    return [as_sent(record) for record in records]


def without_an_entry(_: Log, records: list[Record]) -> list[Outgoing]:
    return [as_sent(record) for record in records[:2] + records[3:]]


def promoted_again(_: Log, records: list[Record]) -> list[Outgoing]:
    return [as_sent(record) for record in [*records, records[1]]]


def by_another_version(_: Log, records: list[Record]) -> list[Outgoing]:
    sent = [as_sent(record) for record in records]
    sent[5] = sent[5]._replace(value=orjson.dumps({**body_of(records[5]), "model": "v9"}))
    return sent


def with_an_old_message(_: Log, records: list[Record]) -> list[Outgoing]:
    return [as_sent(record) for record in [*records, records[0]]]


def without_the_champion(_: Log, records: list[Record]) -> list[Outgoing]:
    return [as_sent(record) for record in records if body_of(record)["version"] != "v1"]


def with_a_command_more(_: Log, records: list[Record]) -> list[Outgoing]:
    more = as_sent(records[0])
    return [*map(as_sent, records), more._replace(value=orjson.dumps({**body_of(records[0]), "id": "new"}))]


def answered_twice(_: Log, records: list[Record]) -> list[Outgoing]:
    (asked, *_) = [record for record in records if body_of(record)["change"] == "requested"]
    return [as_sent(record) for record in [*records, asked]]


def learned_twice(log: Log, records: list[Record]) -> list[Outgoing]:
    return [*map(as_sent, records), changed_model(log, records, lambda times: [times[0], 1 << 7])]


def not_learned(log: Log, records: list[Record]) -> list[Outgoing]:
    return [*map(as_sent, records), changed_model(log, records, lambda times: [times[0] & ~(1 << 7)])]


def changed_model(log: Log, records: list[Record], change: Callable[[list[int]], list[int]]) -> Outgoing:
    """Return a last message of the first version, whose model has learned other flights."""
    sealer = log.running.sealer()
    message = [sealer.read(record) for record in records if body_of(record)["version"] == "v1"][-1]
    message.model.estimator.times = change(message.model.estimator.times)
    return sealer.record(records[-1].topic, message._replace(role="challenger"))


@pytest.mark.parametrize(
    ("kind", "change", "check"),
    [
        ("registry", promoted_again, registry.one_champion),
        ("registry", answered_twice, registry.answered),
        ("predictions", by_another_version, registry.served_by_the_champion),
        ("models", with_an_old_message, registry.announced),
        ("models", without_the_champion, registry.announced),
        ("commands", with_a_command_more, registry.answered),
        ("models", learned_twice, learned.learned_each_once),
        ("models", not_learned, learned.learned_each_once),
    ],
    ids=lambda each: getattr(each, "__name__", each),
)
def test_a_log_that_is_not_as_it_should_be_is_found(
    copy: Callable[[str, Change], Log], kind: str, change: Change, check: Callable[[Log], Check]
) -> None:
    assert not check(copy(kind, as_it_is)).wrong
    assert check(copy(kind, change)).wrong


def test_an_entry_that_is_missing_is_found(copied: Site, copy: Callable[[str, Change], Log]) -> None:
    log = copy("registry", without_an_entry)
    number, *_, command = registry.chained(copied, log).wrong
    assert number.startswith("entry 4 at offset 2")
    assert "exits with code 1" in command
