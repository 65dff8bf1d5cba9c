"""Engine, publisher and reader on a Kafka with TLS, SCRAM and the ACLs of docs/how-to/deployment.md."""

import re
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import orjson
import pytest
from confluent_kafka.admin import NewTopic
from harness import PATIENCE, KafkaNode, Project, wait_until
from made_flights import HOUR, MINUTE, NOON, event, label
from places import DOCS
from secured import Acl, SecuredKafka

from flows.adapters.kafka.broker import KafkaBroker
from flows.adapters.kafka.membership import Membership, await_member
from flows.core.stream.broker import Outgoing, TopicPartition, TopicSpec, read_range
from flows.errors import AccessDenied, BrokerError
from flows.pipeline import OUTPUTS

PAGE = DOCS / "how-to" / "deployment.md"
USERS = ("engine", "publisher", "reader")
INPUTS = ("flights", "departures", "arrivals", "flight_labels")
OWN = "flight_delays.predictions"
MODELS = "flight_delays.models"
WRONG = {"sasl_password": "wrong"}


def documented() -> list[Acl]:
    """Return the rows of the page's table, with `INPUT` and `PIPELINE` unreplaced."""
    text = PAGE.read_text()
    part = text[text.index("<!-- acls: checked by") : text.index("<!-- acls: end -->")]
    row = re.compile(r"^\| (\w+) \| (\w+) \| (topic|group) `(\S+)` \|", re.MULTILINE)
    return [Acl(*found) for found in row.findall(part)]


def of_the_flights(acl: Acl) -> list[Acl]:
    """The row for the example's pipeline."""
    name = acl.name.replace("PIPELINE", "flight_delays")
    return [acl._replace(name=each) for each in (INPUTS if name == "INPUT" else (name,))]


@pytest.fixture(scope="module")
def secured(kafka_node: Callable[..., KafkaNode], tmp_path_factory: pytest.TempPathFactory) -> SecuredKafka:
    kafka = SecuredKafka(kafka_node, tmp_path_factory.mktemp("secured"))
    for user in USERS:
        kafka.add_user(user)
    return kafka


def write_lines(file: Path, records: list[Outgoing]) -> str:
    file.write_bytes(b"".join(record.value + b"\n" for record in records))
    return str(file)


def make_with_retention(kafka: SecuredKafka, topic: str) -> None:
    """As somebody else made it, before `apply`."""
    new = NewTopic(topic, 1, config={"retention.ms": "-1", "retention.bytes": "1000000000"})
    for future in kafka.admin.create_topics([new]).values():
        future.result()


def test_engine_publisher_and_reader_work_with_the_documented_acls_alone(
    secured: SecuredKafka, project: Project, tmp_path: Path
) -> None:
    secured.forbid_everything()
    secured.allow(acl for row in documented() for acl in of_the_flights(row))
    make_with_retention(secured, "flights")
    engine, publisher, reader = (
        project.with_settings(HTTP_PORT=0, EPOCH_SECONDS=0.5, **secured.settings(user)) for user in USERS
    )
    flights = write_lines(tmp_path / "flights", [event(f"F{n}", NOON + n * MINUTE) for n in range(5)])
    known = write_lines(tmp_path / "labels", [label(f"F{n}", NOON + 8 * HOUR, n == 0) for n in range(5)])

    applied = engine.run("apply")
    assert applied.returncode == 0, applied.stderr
    assert "topic 'flights': retention.bytes = 1000000000: the oldest records" in applied.stderr
    assert "12 topics created" in applied.stderr
    with engine.flows() as running:
        for file, topic in ((flights, "flights"), (known, "flight_labels")):
            published = publisher.run("publish", file, "--topic", topic)
            assert published.returncode == 0, published.stderr
        tailed = reader.run("tail", "predictions", "--from-start", "-n", "5", "--json")
        assert tailed.returncode == 0, tailed.stderr
        assert {orjson.loads(line)["value"]["id"] for line in tailed.stdout.splitlines()} == {
            f"F{n}" for n in range(5)
        }
        wait_until(
            lambda: [m["labels"] for m in reader.values("metrics") if "labels" in m][-1:] == [5], PATIENCE
        )
        wait_until(lambda: "alert started" in running.said(), PATIENCE)
        assert running.stop() == 0, running.said()
    assert "ended with" not in running.said()
    assert "refuses" not in running.said()
    verified = reader.run("verify", "features", "--no-feast", "--json")
    assert verified.returncode == 0, verified.stderr
    shown = reader.run("topics", "--json")
    assert {row["topic"]: row["lag"] for row in orjson.loads(shown.stdout)}["flights"] == {"predict": 0}


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (WRONG, r"does not authenticate user 'engine': .*_SASL_PASSWORD"),
        ({"ssl_ca_location": "STRANGER"}, r"certificate verify failed.*DRIFTLINE_KAFKA_SSL_CA_LOCATION"),
        ({"security_protocol": "PLAINTEXT"}, r"closes the connection.*DRIFTLINE_KAFKA_SECURITY_PROTOCOL"),
    ],
)
def test_a_connection_that_is_refused_is_told_within_seconds_and_as_no_outage(
    secured: SecuredKafka, changes: dict[str, str], text: str
) -> None:
    changes = {name: value.replace("STRANGER", str(secured.stranger)) for name, value in changes.items()}
    began = time.monotonic()
    with pytest.raises(BrokerError, match=text):
        KafkaBroker(secured.address, secured.options("engine", **changes)).topics()
    assert time.monotonic() - began < 10


def test_apply_with_a_wrong_password_ends_before_it_does_anything(
    secured: SecuredKafka, project: Project
) -> None:
    began = time.monotonic()
    refused = project.with_settings(**secured.settings("engine", **WRONG)).run("apply")
    assert time.monotonic() - began < 10
    assert refused.returncode == 1
    assert refused.stderr.startswith("driftline: Kafka at 127.0.0.1")
    assert "does not authenticate user 'engine'" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


@pytest.mark.usefixtures("topics")
def test_a_flow_that_may_not_use_its_group_ends_with_a_line_and_is_not_started_again(
    secured: SecuredKafka, project: Project
) -> None:
    secured.forbid_everything()
    rows = [row for row in documented() if row.user == "engine" and row.kind == "topic"]
    secured.allow(acl for row in rows for acl in of_the_flights(row))
    ended = project.with_settings(HTTP_PORT=0, **secured.settings("engine")).run("run", "predict")
    assert ended.returncode == 2, ended.stderr
    group = "driftline.flight_delays.predict.engine"
    assert f"refuses user 'engine' the operation READ on group '{group}'" in ended.stderr
    assert "starting it again" not in ended.stderr
    assert "Traceback" not in ended.stderr


def consume_and_commit(broker: KafkaBroker, topic: str, group: str) -> None:
    """Read until that is refused."""
    partition = TopicPartition(topic, 0)
    with closing(broker.consumer(group, {partition: 0})) as consumer:

        def refused() -> bool:
            consumer.poll(10, 0.05)
            consumer.commit({partition: 0})
            return False

        wait_until(refused)


def read(broker: KafkaBroker, topic: str, group: str) -> None:
    """Read as the commands do, which commit nothing."""
    list(read_range(broker, TopicPartition(topic, 0), 0, 1, group))


def join(broker: KafkaBroker, topic: str, group: str) -> None:
    with Membership(broker, f"{group}.engine", topic, "me", pytest.fail):
        pass


def write(broker: KafkaBroker, topic: str, _: str) -> None:
    with closing(broker.producer()) as producer:
        producer.send([Outgoing(topic, b"")])


Use = Callable[[KafkaBroker, str, str], object]
USES: dict[tuple[str, str], list[Use]] = {
    ("Read", "topic"): [read],
    ("Write", "topic"): [write],
    ("Create", "topic"): [lambda b, topic, _: b.create_topics([TopicSpec(f"{topic}-new")])],
    ("Alter", "topic"): [lambda b, topic, _: b.add_partitions(topic, 2)],
    ("DescribeConfigs", "topic"): [lambda b, topic, _: b.topic_settings(topic)],
    ("Read", "group"): [consume_and_commit, join],
    ("Describe", "group"): [
        lambda b, topic, group: b.committed(group, topic),
        lambda b, _, group: await_member(b, group, "me"),
    ],
}


@pytest.fixture(scope="module")
def topics(secured: SecuredKafka) -> None:
    """The topics with a record each, so that a reader has something to ask for."""
    broker = KafkaBroker(secured.node.address, {})
    names = [*INPUTS, *(f"flight_delays.{kind}" for kind in OUTPUTS)]
    broker.create_topics([TopicSpec(name) for name in names])
    with closing(broker.producer()) as producer:
        producer.send([Outgoing(name, b"{}", b"key") for name in ("flights", OWN, MODELS)])


@pytest.mark.usefixtures("topics")
@pytest.mark.parametrize("missing", documented(), ids=lambda acl: "-".join(acl))
def test_without_one_of_the_acls_a_line_names_user_operation_and_resource(
    secured: SecuredKafka, missing: Acl
) -> None:
    secured.forbid_everything()
    rest = [row for row in documented() if row.user == missing.user and row != missing]
    secured.allow(acl for row in rest for acl in of_the_flights(row))
    (name, *_) = [acl.name for acl in of_the_flights(missing)]
    topic = "flights" if missing.user == "publisher" else OWN
    if missing.kind == "topic" and "*" not in name:
        topic = name
    group = "driftline.flight_delays.predict"
    named = re.escape(repr(topic if missing.kind == "topic" else group)[:-1])
    code = re.sub("(?<!^)([A-Z])", r"_\1", missing.operation).upper()
    for use in USES[missing.operation, missing.kind]:
        with closing(KafkaBroker(secured.address, secured.options(missing.user))) as broker:
            text = rf"refuses user '{missing.user}' the operation ({code}|DESCRIBE) on {missing.kind} {named}"
            with pytest.raises(AccessDenied, match=text):
                use(broker, topic, group)
