"""`driftline models`: list, show, card and the bill of materials, after a run of the flows."""

import re
from pathlib import Path

import orjson
import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from harness import Project, run_flow
from made_flights import HOUR, NOON, traffic
from signals import changed, outgoing, signal

from flows.core.lineage import Lineage
from flows.core.models.announcements import decode
from flows.core.models.snapshots import SIGNATURE
from flows.core.registry.command import CommandSealer
from flows.core.stream.broker import Outgoing
from flows.core.stream.times import milliseconds
from flows.jobs.models.commands import new_command
from flows.runtime.engine import Engine
from flows.runtime.runner import MISTAKES

FLIGHTS = 900
SINCE = NOON + 2 * HOUR
SIGNAL = changed(signal(1, SINCE), time=NOON + 14 * HOUR)  # by then 500 labels have come
CHALLENGER = "v2-warm"


def shown(project: Project, *arguments: str) -> str:
    done = project.invoke("models", *arguments)
    assert done.exit_code == 0, done.exception
    return done.stdout


def learn(project: Project) -> Engine:
    """Run the flows over some flights and a drift signal: v1 is champion, and has two challengers."""
    project.send([*traffic(FLIGHTS), outgoing(SIGNAL)])
    running = project.engine()
    for flow in ("predict", "learn", "retrain", "learn"):
        run_flow(running, flow)
    return running


@pytest.fixture(scope="module")
def learned(applied: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a project after a run, which no test changes."""
    project = applied.copy_to(tmp_path_factory.mktemp("learned") / "project")
    learn(project)
    return project


def newest(project: Project, version: str) -> bytes:
    """Return the last message of a version on the models topic."""
    return [record for record in project.records("models") if record.key == version.encode()][-1].value or b""


def test_the_list_has_each_registered_version_with_its_role_and_the_labels_of_its_last_message(
    learned: Project,
) -> None:
    rows = orjson.loads(shown(learned, "list", "--json"))
    champion, challenger = (orjson.loads(newest(learned, version)) for version in ("v1", CHALLENGER))
    assert [row["version"] for row in rows] == [CHALLENGER, "v2-fresh", "v1"]
    assert (
        rows[0].items()
        >= {
            "role": "challenger",
            "alias": "challenger",
            "labels": challenger["learned"],
            "champion_since": None,
            "parent": "v1",
            "cause": "alarm: the error rose from 0.1 to 0.3 (adwin)",
        }.items()
    )
    assert SINCE < milliseconds(rows[0]["born"]) <= milliseconds(champion["time"])
    assert (rows[1]["role"], rows[1]["alias"]) == ("challenger", None)
    assert (rows[2]["role"], rows[2]["alias"], rows[2]["labels"]) == ("champion", "champion", FLIGHTS)
    assert rows[2]["born"] is None, "it was born before the first label"
    table = shown(learned, "list")
    assert re.search(r"v1 +│ champion +│ champion", table)


def test_a_version_without_a_message_is_shown_in_its_stored_state(learned: Project, tmp_path: Path) -> None:
    project = learned.copy_to(tmp_path / "project")
    with project.broker() as broker:
        broker.delete_topics(["flight_delays.models"])
        broker.create_topics(project.engine().pipeline.topic_specs())
    stored = [body for body in project.values("registry") if body["version"] == CHALLENGER][-1]
    raw = orjson.loads(shown(project, "show", CHALLENGER, "--json"))
    assert (raw["labels"], raw["created"]) == (stored["learned"], stored["time"])
    assert raw["parameters"] == orjson.loads(shown(learned, "show", CHALLENGER, "--json"))["parameters"]


def test_after_a_promotion_the_previous_champion_has_its_alias_and_the_new_one_can_be_frozen(
    learned: Project, tmp_path: Path
) -> None:
    project = learned.copy_to(tmp_path / "project")
    running = project.engine()
    sealer = CommandSealer("flight_delays", running.secrets)
    for action, version in (("promote", "challenger"), ("freeze", "")):
        command = new_command(running.pipeline, action, version, "ada", "reviewed")  # type: ignore[arg-type]
        project.send([sealer.seal("flight_delays.commands", command, 0)])
    run_flow(running, "learn")
    rows = {row["version"]: row for row in orjson.loads(shown(project, "list", "--json"))}
    assert (rows[CHALLENGER]["role"], rows[CHALLENGER]["alias"]) == ("champion", "champion")
    assert milliseconds(rows[CHALLENGER]["champion_since"]) >= milliseconds(rows[CHALLENGER]["born"])
    assert (rows["v1"]["alias"], rows["v1"]["champion_since"]) == ("previous", None)
    assert [version for version, row in rows.items() if row["frozen"]] == [CHALLENGER]
    assert orjson.loads(shown(project, "show", "champion", "--json"))["frozen"] is True
    by_name = shown(project, "show", "v1", "--json")
    assert shown(project, "show", "models:/flight_delays@previous", "--json") == by_name
    assert shown(project, "card", "previous").startswith("# flight_delays v1\n")


def test_a_version_its_alias_and_its_uri_show_one_lineage(learned: Project) -> None:
    texts = {
        shown(learned, "show", name, "--json")
        for name in ("v1", "champion", "models:/flight_delays@champion", "models:/flight_delays/v1")
    }
    assert len(texts) == 1


def test_the_lineage_is_that_of_the_log(learned: Project) -> None:
    raw = orjson.loads(shown(learned, "show", CHALLENGER, "--json"))
    assert (raw.pop("role"), raw.pop("frozen")) == ("challenger", False)
    lineage = Lineage.from_json(orjson.dumps({"format": "driftline-lineage/1", **raw}))
    announced = decode(newest(learned, CHALLENGER), b"")
    assert (lineage.version, lineage.parent, lineage.labels) == (CHALLENGER, "v1", announced.learned)
    assert lineage.data.since == SINCE
    assert lineage.metrics == {}
    assert lineage.code is None, "the project is in no repository"
    labels = [record for record in learned.records("flight_labels") if record.timestamp >= SINCE]
    (of_labels,) = (each for each in lineage.data.offsets if each.topic == "flight_labels")
    assert (of_labels.start, of_labels.end) == (labels[0].offset, labels[-1].offset + 1)
    assert isinstance(announced.estimator, bytes)
    assert lineage.snapshot.size == len(announced.estimator)


def test_the_champion_has_the_metrics_of_the_last_assessment(learned: Project) -> None:
    raw = orjson.loads(shown(learned, "show", "champion", "--json"))
    assessments = [body for body in learned.values("metrics") if "assessment" in body]
    assert raw["metrics"] == assessments[-1]["metrics"]
    assert raw["metrics"].keys() == {"model", "majority", "no-change"}
    assert "metrics.model.ROCAUC" in shown(learned, "show", "champion")


def test_a_project_in_no_repository_is_told(learned: Project) -> None:
    assert "the lineage has no commit" in learned.invoke("models", "show", "champion").stderr


def test_the_card_has_slices_and_the_features_of_the_plan(learned: Project) -> None:
    text = shown(learned, "card", "champion")
    assert text.startswith("# flight_delays v1\n")
    assert "Will a flight from New York City arrive more than 15 minutes late?" in text
    assert re.search(r"^\| AA \| \d+ \| 0\.\d+ \|", text, re.MULTILINE)
    assert "view origin_departures of topic departures" in text
    assert shown(learned, "card", CHALLENGER, "--out", "model-card.md") == ""
    written = (learned.directory / "model-card.md").read_text()
    assert "never served as champion" in written


def test_the_bill_of_materials_is_valid_and_has_the_hash_of_the_snapshot(learned: Project) -> None:
    name = "models:/flight_delays@champion"
    text = shown(learned, "export", name, "--to", "bom", "--out", "model.cdx.json")
    assert f"v1 after {FLIGHTS} labels: model.cdx.json" in text
    document = (learned.directory / "model.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(document) is None
    lineage = orjson.loads(shown(learned, "show", "v1", "--json"))
    model = orjson.loads(document)["metadata"]["component"]
    assert model["hashes"][0]["content"] == lineage["snapshot"]["sha256"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["show", "v9"], "version 'v9' must be one of v1, v2-fresh, v2-warm, champion, challenger; see"),
        (["show", "previous"], "version 'previous' must be one of v1, "),
        (["card", "models:/other@champion"], "there is no pipeline 'other'"),
        (["show", "models:/flight_delays@best"], "an alias must be one of champion, challenger, previous"),
        (["show", "models:/flight_delays/v1", "-p", "other"], "--pipeline must be that of the model URI"),
        (["card", "v1", "--out", "missing/card.md"], "--out must be a file that can be written"),
        (
            ["export", "champion", "--to", "onnx", "--out", "model.onnx"],
            "the function 'prepare' cannot be exported to ONNX",
        ),
    ],
)
def test_a_mistake_is_told_in_one_line(learned: Project, arguments: list[str], says: str) -> None:
    error = learned.invoke("models", *arguments).exception
    assert isinstance(error, MISTAKES)
    assert says in str(error)
    assert not (learned.directory / "model.onnx").exists()


def test_before_the_first_label_there_is_no_version(project: Project) -> None:
    assert "no model version yet" in shown(project, "list")
    assert orjson.loads(shown(project, "list", "--json")) == []
    assert "there is no model version yet, got 'champion'" in str(
        project.invoke("models", "show", "champion").exception
    )


def test_a_message_of_another_secret_is_skipped_and_told(project: Project) -> None:
    project.send(traffic(50))
    for flow in ("predict", "learn"):
        run_flow(project.engine(), flow)
    forged = orjson.loads(newest(project, "v1")) | {"version": "v666", "sequence": 10**6}
    headers = (("role", b"champion"), (SIGNATURE, b"\0" * 32))
    project.send([Outgoing("flight_delays.models", orjson.dumps(forged), b"v666", 0, NOON, headers)])
    listed = project.invoke("models", "list", "--json")
    assert [row["version"] for row in orjson.loads(listed.stdout)] == ["v1"]
    assert "1 messages on the models topic are not signed" in listed.stderr


def test_a_version_on_kafka_is_listed_shown_and_documented(project_on_kafka: Project) -> None:
    running = learn(project_on_kafka)
    rows = {row["version"]: row for row in orjson.loads(shown(project_on_kafka, "list", "--json"))}
    roles = {version: row["role"] for version, row in rows.items()}
    assert roles == {"v1": "champion", "v2-fresh": "challenger", CHALLENGER: "challenger"}
    raw = orjson.loads(shown(project_on_kafka, "show", "champion", "--json"))
    assert raw["plan"] == running.state.plan().hash
    assert raw["labels"] == FLIGHTS
    assert raw["metrics"]["model"]
    assert {each["topic"] for each in raw["data"]["offsets"]} == {
        "flight_delays.predictions",
        "flight_labels",
    }
    assert re.search(r"^\| AA \| \d+ \|", shown(project_on_kafka, "card", "champion"), re.MULTILINE)
