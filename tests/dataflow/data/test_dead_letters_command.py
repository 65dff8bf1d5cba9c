"""`driftline dead-letters`: list, show and replay."""

from collections.abc import Callable

import orjson
import pytest
from click.testing import Result
from harness import Project, run_flow
from made_flights import HOUR, MINUTE, NOON, arrival, event, label
from typer.testing import CliRunner

from flows.cli.app import app
from flows.core.models.model import Model
from flows.core.stream.broker import Outgoing
from flows.errors import ConfigError

Said = Callable[..., Result]
BROKEN = Outgoing("flights", b'\xff[red]"', b"k", timestamp=NOON, headers=(("trace", b"17"),))


@pytest.fixture
def said(project: Project, monkeypatch: pytest.MonkeyPatch) -> Said:
    """Return a function that runs `driftline dead-letters` in this process: a start takes seconds."""
    monkeypatch.chdir(project.directory)

    def give(*arguments: str) -> Result:
        return CliRunner().invoke(app, ["dead-letters", *arguments], env={"COLUMNS": "200"})

    return give


@pytest.fixture
def project_with_letters(project: Project) -> Project:
    """Three dead letters: bytes that are no JSON, a duplicate, and an arrival that is late."""
    late = arrival("F0", NOON - 5 * HOUR, 3)
    project.send([BROKEN, event("F1", NOON), event("F1", NOON), arrival("F9", NOON, 3), late])
    run_flow(project.engine(), "predict")
    return project


def test_the_list_counts_all_and_shows_the_newest(project_with_letters: Project, said: Said) -> None:
    told = orjson.loads(said("list", "--json", "-n", "1").stdout)
    assert told["counts"] == [
        {"reason": "duplicate", "topic": "flights", "letters": 1},
        {"reason": "late", "topic": "arrivals", "letters": 1},
        {"reason": "not-json", "topic": "flights", "letters": 1},
    ]
    (newest,) = told["newest"]
    place = {letter.offset: dict(letter.headers) for letter in project_with_letters.records("dead-letters")}[
        2
    ]
    assert newest["at"] == "0/2"
    assert newest["reason"] == place["reason"].decode()


@pytest.mark.usefixtures("project_with_letters")
def test_reason_and_topic_choose_which_letters_are_listed(said: Said) -> None:
    text = said("list", "--reason", "not-json", "--topic", "flights").stdout
    assert "not-json" in text
    assert "duplicate" not in text
    assert "arrivals" not in said("list", "--topic", "flights").stdout


def test_escape_sequences_of_a_record_are_printed_escaped_and_never_sent_to_the_terminal(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.directory)
    evil = "F1\x1b]0;owned\x07\x9b2J"
    flight = event(evil, NOON)._replace(headers=((evil, evil.encode()),))
    nothing = Outgoing("flights", evil.encode(), evil.encode(), timestamp=NOON)
    project.send([flight, flight, nothing])
    run_flow(project.engine(), "predict")
    commands = [("dead-letters", "list"), ("dead-letters", "list", "--json"), ("dead-letters", "show", "0/0")]
    for topic, count in [("flights", 3), ("predictions", 1), ("dead-letters", 2)]:
        tail = ("tail", topic, "--from-start", "-n", str(count))
        commands += [tail, (*tail, "--json")]
    for command in commands:
        shown = CliRunner().invoke(app, command)
        assert shown.exit_code == 0, command
        assert "owned" in shown.stdout, command
        assert all(c.isprintable() or c == "\n" for c in shown.stdout), command


def place_of(project: Project, reason: str) -> str:
    (offset,) = (
        r.offset for r in project.records("dead-letters") if dict(r.headers)["reason"].decode() == reason
    )
    return f"0/{offset}"


def test_one_letter_is_shown_with_its_headers_and_whole(project_with_letters: Project, said: Said) -> None:
    at = place_of(project_with_letters, "not-json")
    shown = orjson.loads(said("show", at).stdout)
    assert (shown["reason"], shown["topic"], shown["partition"], shown["offset"]) == (
        "not-json",
        "flights",
        0,
        0,
    )
    assert shown["headers"] == {"trace": "17"}
    assert shown["value"] == '\\xff[red]"'
    assert said("show", at, "--raw").stdout_bytes == BROKEN.value


@pytest.mark.usefixtures("project_with_letters")
@pytest.mark.parametrize("place", ["0/3", "1/0", "0/-1", "x", "0", "0/1/2"])
def test_a_place_without_a_letter_is_told(said: Said, place: str) -> None:
    error = said("show", "--", place).exception
    assert isinstance(error, ConfigError)
    assert place in str(error)


def test_a_replay_sends_the_record_to_where_it_came_from(project_with_letters: Project, said: Said) -> None:
    before = len(project_with_letters.records("flights"))
    assert "1 sent again" in said("replay", place_of(project_with_letters, "not-json")).stdout
    again = project_with_letters.records("flights")[before:]
    assert [(r.value, r.key, r.headers) for r in again] == [(BROKEN.value, BROKEN.key, BROKEN.headers)]
    run_flow(project_with_letters.engine(), "predict")
    assert len(project_with_letters.records("dead-letters")) == 4, "it is no JSON this time either"


def test_a_label_whose_event_came_too_late_is_learned_when_it_is_replayed(
    project: Project, said: Said
) -> None:
    week, days = 7 * 24 * HOUR, 24 * HOUR
    project.send([label("F1", NOON, True), event("F2", NOON + week + days)])
    for flow in ("predict", "learn"):
        run_flow(project.engine(), flow)
    assert dict(project.records("dead-letters")[0].headers)["reason"] == b"unknown-event"
    project.send([event("F1", NOON + week + days + MINUTE)])
    run_flow(project.engine(), "predict")
    assert "1 sent again" in said("replay", "--reason", "unknown-event").stdout
    run_flow(project.engine(), "learn")
    assert project.values("metrics")[-1]["labels"] == 1


def test_an_event_that_the_model_failed_on_is_served_once_when_the_model_is_mended(
    project: Project, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> float:
        raise ZeroDivisionError

    project.send([event("F1", NOON)])
    with monkeypatch.context() as broken:
        broken.setattr(Model, "score", fails)
        run_flow(project.engine(), "predict")
    assert project.values("predictions") == []
    for _ in range(2):
        assert "1 sent again" in said("replay", "--reason", "model").stdout
    run_flow(project.engine(), "predict")
    assert [prediction["id"] for prediction in project.values("predictions")] == ["F1"]
    reasons = [dict(letter.headers)["reason"] for letter in project.records("dead-letters")]
    assert reasons == [b"model", b"duplicate"], "the second replay counts for nothing"


def test_what_came_from_the_engines_own_topics_is_left_alone(project: Project, said: Said) -> None:
    project.send([Outgoing("flight_delays.predictions", b"foreign", timestamp=NOON)])
    run_flow(project.engine(), "learn")
    told = said("replay", "--reason", "schema").stdout
    assert "0 sent again" in told
    assert "1 skipped: flight_delays.predictions is not an input of the pipeline" in told


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["replay"], "nothing is chosen to replay"),
        (
            ["replay", "--reason", "bad-luck"],
            "--reason must be one of not-json, schema",
        ),
        (["replay", "--topic", "flight_delays.drift"], "--topic must be an input (flights, departures, "),
        (["replay", "0/0"], "must be the place of a dead letter, got '0/0'; `driftline dead-letters list`"),
        (["list", "--reason", "bad-luck"], "--reason must be one of"),
    ],
)
def test_a_mistake_is_told(said: Said, arguments: list[str], says: str) -> None:
    error = said(*arguments).exception
    assert isinstance(error, ConfigError)
    assert says in str(error)
