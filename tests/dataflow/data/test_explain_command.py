"""`driftline explain`: a prediction of a run, by the model that scored it or by the nearest one."""

from collections.abc import Callable
from math import log

import orjson
import pytest
from answered import encode
from click.testing import Result
from harness import Project, run_flow
from made_flights import NOON, traffic
from typer.testing import CliRunner

from flows.cli.app import app
from flows.core.models.model import Prediction
from flows.core.stream.broker import Outgoing
from flows.errors import ConfigError, SnapshotError

Said = Callable[..., Result]
FLIGHTS = 200


def commands_in(project: Project, monkeypatch: pytest.MonkeyPatch) -> Said:
    """Return a function that runs `driftline explain` in this process: a start takes seconds."""
    monkeypatch.chdir(project.directory)
    environment = {"COLUMNS": "200", **project.environment}

    def give(*arguments: str, **settings: str) -> Result:
        return CliRunner().invoke(app, ["explain", *arguments], env=environment | settings)

    return give


def run_in_two_parts(project: Project) -> None:
    """Predict and learn the first half of some flights, then the second half with the model of the first."""
    running, records = project.engine(), traffic(FLIGHTS)
    half = len(records) // 2
    for part in (records[:half], records[half:]):
        project.send(part)
        run_flow(running, "predict")
        run_flow(running, "learn")


@pytest.fixture
def said(project: Project, monkeypatch: pytest.MonkeyPatch) -> Said:
    run_in_two_parts(project)
    return commands_in(project, monkeypatch)


def test_the_score_of_the_model_of_then_is_reproduced_and_divided_among_the_served_features(
    project_on: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_in_two_parts(project_on)
    said = commands_in(project_on, monkeypatch)
    predictions, running = project_on.values("predictions"), project_on.engine()
    assert {p["learned"] for p in predictions} >= {0, predictions[-1]["learned"]}
    newest = max(model["learned"] for model in project_on.values("models"))
    assert 0 < predictions[-1]["learned"] < newest
    for served in (predictions[0], predictions[FLIGHTS - 50], predictions[-1]):
        found = orjson.loads(said(served["id"], "--json", "--top", "3").stdout)
        assert (found["event"], found["time"]) == (served["id"], served["time"])
        assert (found["model"], found["score"]) == (served["model"], served["score"])
        assert found["explained_with"] == {"learned": served["learned"], "reproduced": True}
        assert found["unit"] == "log-odds"
        assert found["output"] == pytest.approx(log(served["score"] / (1 - served["score"])), abs=1e-9)
        total = found["base"] + sum(each["contribution"] for each in found["contributions"])
        assert total == pytest.approx(found["output"], abs=1e-9)
        names = running.pipeline.feature_names(running.state.plan())
        values = {each["feature"]: each["value"] for each in found["contributions"]}
        assert values == dict(zip(names, served["features"], strict=True))
        assert len(found["alternatives"]) == (3 if served["learned"] else 0)


def test_scores_are_reproduced_from_the_logged_labels_where_the_topic_has_no_model_any_more(
    project: Project, said: Said
) -> None:
    topic = "flight_delays.models"
    with project.broker() as broker:
        broker.delete_topics([topic])
        broker.create_topics([spec for spec in project.engine().pipeline.topic_specs() if spec.name == topic])
    ids = [prediction["id"] for prediction in project.values("predictions")[::20]]
    objects = said(*ids, "--json").stdout.replace("\n}\n{\n", "\n}\0{\n").split("\0")
    explained = [orjson.loads(each) for each in objects]
    assert {each["event"] for each in explained} == set(ids)
    assert {each["explained_with"]["reproduced"] for each in explained} == {True}
    assert len({each["learned"] for each in explained}) > 1


def test_the_table_has_the_largest_contributions_and_the_sum_of_the_others(
    project: Project, said: Said
) -> None:
    served = project.values("predictions")[-1]
    text = said(served["id"], "--top", "4").stdout
    found = orjson.loads(said(served["id"], "--json").stdout)
    assert (
        f"score        {served['score']:.4f}, by model v1 after {served['learned']} events learned; " in text
    )
    assert "reproduced bit for bit" in text
    for each in found["contributions"][:4]:
        assert f"{each['contribution']:.4f}" in text
    others = sum(each["contribution"] for each in found["contributions"][4:])
    assert f"{len(found['contributions']) - 4} others" in text
    assert f"{others:.4f}" in text
    assert f"{found['alternatives'][0]['score']:.4f}" in text


def send_prediction(
    project: Project, event: str, version: str, learned: int, plan: str | None = None
) -> None:
    """Send a prediction as that of another model, with the features of the last one."""
    running, last = project.engine(), project.values("predictions")[-1]
    served = Prediction(event, NOON, 0.25, version, {}, last["features"])
    plan = plan or running.state.plan().hash
    project.send([encode(running.pipeline.topic("predictions"), 0, served, plan, learned=learned)])


def test_the_nearest_model_of_the_version_explains_where_the_model_of_then_is_not_on_the_topic(
    project: Project, said: Said
) -> None:
    newest = max(model["learned"] for model in project.values("models"))
    send_prediction(project, "odd", "v1", newest + 7)
    found = orjson.loads(said("odd", "--json").stdout)
    assert found["explained_with"] == {"learned": newest, "reproduced": False}
    assert found["score"] == 0.25
    total = found["base"] + sum(each["contribution"] for each in found["contributions"])
    assert total == pytest.approx(found["output"], abs=1e-9)
    assert "explained with the model after 7 fewer events" in said("odd").stdout


def test_a_prediction_of_an_older_driftline_is_explained_with_the_model_of_its_time(
    project: Project, said: Said
) -> None:
    (last,) = project.records("predictions")[-1:]
    served = orjson.loads(last.value or b"") | {"id": "old"}
    learned = served.pop("learned")
    project.send([Outgoing(last.topic, orjson.dumps(served), b"old", timestamp=last.timestamp)])
    found = orjson.loads(said("old", "--json").stdout)
    assert found["learned"] is None
    assert found["explained_with"] == {"learned": learned, "reproduced": True}


@pytest.mark.parametrize(
    ("event", "fault", "text"),
    [
        ("F9", ConfigError, "EVENT_ID must be the id of an event .* got 'F9'; `driftline tail"),
        ("other-model", SnapshotError, "must have a message of model v9, .* got none"),
        ("other-plan", ConfigError, "must have the features of the plan .*, got plan 000000000000; explain"),
    ],
)
def test_what_cannot_be_explained_is_an_error_that_says_what_to_do(
    project: Project, said: Said, event: str, fault: type[Exception], text: str
) -> None:
    send_prediction(project, "other-model", "v9", 5)
    send_prediction(project, "other-plan", "v1", 5, plan="0" * 12)
    outcome = said(event)
    assert type(outcome.exception) is fault
    with pytest.raises(fault, match=text):
        raise outcome.exception


def test_a_model_of_another_secret_is_not_read(project: Project, said: Said) -> None:
    served = project.values("predictions")[-1]
    outcome = said(served["id"], DRIFTLINE_SECRET="another secret of more than 32 bytes")  # noqa: S106
    assert type(outcome.exception) is SnapshotError
