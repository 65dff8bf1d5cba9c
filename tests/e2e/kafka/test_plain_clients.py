"""Plain clients without Driftline: a Kafka producer and consumer, and a Feast client."""

import json
from uuid import uuid4

import pytest
from confluent_kafka import Consumer, Producer
from harness import PATIENCE, Project, wait_until
from made_flights import MINUTE, NOON, departure, event_payload

STORES = {"sqlite": "feature_store.yaml", "redis": "feature_store.redis.yaml"}


def consume_one(address: str, topic: str) -> dict:
    consumer = Consumer(
        {"bootstrap.servers": address, "group.id": uuid4().hex, "auto.offset.reset": "earliest"}
    )
    consumer.subscribe([topic])
    try:
        message = consumer.poll(PATIENCE)
        assert message is not None, "nothing came"
        assert message.error() is None
        return json.loads(message.value())
    finally:
        consumer.close()


@pytest.mark.parametrize("store", STORES)
def test_a_flight_from_a_plain_producer_is_predicted_and_a_plain_feast_client_reads_its_features(
    project_on_kafka: Project,
    kafka: str,
    store: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    project = project_on_kafka.with_settings(HTTP_PORT=0, FEATURE_STORE=STORES[store])
    if store == "redis":
        address = request.getfixturevalue("redis_url").removeprefix("redis://")
        project = project.with_settings(REDIS=address)
        monkeypatch.setenv("DRIFTLINE_REDIS", address)  # Feast itself reads it
    project.apply_feast()
    with project.flows("predict", "materialize"):
        wait_until(lambda: has_started(project), PATIENCE)
        producer = Producer({"bootstrap.servers": kafka, "log_level": 0})
        producer.produce("departures", departure("E1", NOON - 30 * MINUTE, 10, destination="BOS").value)
        producer.flush()
        wait_until(lambda: len(project.records("features")) > 0, PATIENCE)
        producer.produce("flights", json.dumps(event_payload("F1", NOON)))
        producer.flush()

        answer = consume_one(kafka, "flight_delays.predictions")
        assert (answer["id"], answer["time"]) == ("F1", "2013-01-01T12:00:00.000Z")
        assert (answer["score"], answer["model"]) == (0.5, "v1")
        names = project.engine().pipeline.feature_names(project.engine().state.plan())
        features = dict(zip(names, answer["features"], strict=True))
        assert features["origin_departures__mean_delay_1h"] == 10

        wanted = [name for name in names if name.startswith("origin_departures")]
        wait_until(lambda: online(project, wanted) == [features[name] for name in wanted], PATIENCE)


def has_started(project: Project) -> bool:
    with project.broker() as broker:
        group = project.engine().pipeline.group
        return bool(broker.committed(group("predict"), "flights")) and bool(
            broker.committed(group("materialize"), "flight_delays.features")
        )


def online(project: Project, names: list[str]) -> list[float | None]:
    """The features of JFK, as Feast's documentation has one read them."""
    from feast import FeatureStore

    repo = project.directory / "feature_repo"
    store = FeatureStore(str(repo), fs_yaml_file=repo / project.environment["DRIFTLINE_FEATURE_STORE"])
    answer = store.get_online_features(
        features=[name.replace("__", ":") for name in names],
        entity_rows=[{"origin": "JFK"}],
        full_feature_names=True,
    ).to_dict()
    return [answer[name][0] for name in names]
