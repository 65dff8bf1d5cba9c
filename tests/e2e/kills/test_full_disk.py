"""A full disk of the state, the registry, the plans, the log or the offline store."""

import logging
import re
from collections import Counter
from dataclasses import replace

import pytest
from harness import PATIENCE, Project, Running, lag, run_flow, wait_until
from made_flights import NOON, event, traffic
from small_disk import small_disk

from flows.adapters.sqlite.log import LogBroker
from flows.core.stream.broker import Broker, Outgoing, TopicSpec
from flows.errors import BrokerError, StoreError
from flows.pipelines.flights_data import records

EVENTS = 500  # within the label wait, so that labels may stand in the log beforehand


def state_of(project: Project):
    return project.directory / ".driftline" / "state"


def crashes(running: Running, flow: str) -> int:
    return running.said().count(f"{flow} ended with 1; starting it again")


def the_flights(sent: list[Outgoing]) -> dict[str, int]:
    return {record.key.decode(): 1 for record in sent if record.topic == "flights" and record.key}


def predicted(project: Project) -> Counter[str]:
    return Counter(prediction["id"] for prediction in project.values("predictions"))


def test_a_full_disk_of_the_state_is_told_in_a_line_and_loses_and_repeats_nothing(project: Project) -> None:
    project = project.with_settings(HTTP_PORT=0, BATCH=50, EPOCH_SECONDS=0.2)
    flights = list(records(EVENTS))
    before, after = flights[: len(flights) // 2], flights[len(flights) // 2 :]
    project.send(before)
    with small_disk(state_of(project)) as disk, project.flows("predict", "learn") as running:
        disk.fill(leave=600_000)
        wait_until(lambda: min(crashes(running, "predict"), crashes(running, "learn")) >= 2, PATIENCE)
        said = running.said()
        disk.make_room()
        project.send(after)  # the first half may be on the topics already, and show nothing of the restart
        wait_until(lambda: predicted(project).total() >= EVENTS, PATIENCE)
        wait_until(lambda: any(m["labels"] == EVENTS for m in project.values("metrics")), PATIENCE)
        assert running.stop() == 0, running.said()
    state = re.escape(str(state_of(project) / "flight_delays" / "predict"))
    of_either = r"( cannot be stored: database or disk is full|\.blocks/0 cannot be stored: No space left)"
    assert re.search(rf"predict: the flow's state in {state}{of_either}", said)
    assert "make room on its disk" in said
    assert "Traceback" not in said
    assert "starting it again in 0.5 s" in said
    assert "starting it again in 1 s" in said
    assert predicted(project) == the_flights(flights)
    assert project.records("dead-letters") == []
    *_, last = project.values("metrics")
    assert (last["labels"], last["pending"], last["expired"]) == (EVENTS, 0, 0)


@pytest.mark.parametrize(
    ("log", "text"),
    [
        ("log.db", r"driftline: feast apply: .*; check that .* its disk has room"),
        (".driftline/log.db", r"driftline: the log .* cannot be used: .*; make room on its disk"),
    ],
)
def test_an_apply_on_a_full_disk_is_refused_in_a_line_and_leaves_what_was_applied(
    project: Project, log: str, text: str
) -> None:
    project = project.with_settings(BROKER=f"file://{project.directory / log}")
    with small_disk(project.directory / ".driftline") as disk:
        kept = [file for file in disk.path.rglob("*") if file.is_file()]
        before = [file.read_bytes() for file in kept]
        disk.fill()
        outcome = project.run("apply")
        assert (outcome.returncode, outcome.stdout) == (1, "")
        [line] = outcome.stderr.split("\n")[:-1]
        assert re.fullmatch(text, line.strip())
        assert [file.read_bytes() for file in kept] == before


def test_a_registry_that_the_disk_has_no_room_for_leaves_the_old_one(project: Project) -> None:
    from flows.adapters.feast.repo import apply

    project.apply_feast()
    running = project.engine()
    declared = project.directory / "feature_repo" / "flights.py"
    larger = declared.read_text().replace("FeatureService(", "FeatureService(description='x' * 300_000, ", 1)
    with small_disk(project.directory / ".driftline" / "feast") as disk:
        registry = disk.path / "registry.db"
        before = registry.read_bytes()
        declared.write_text(larger)
        disk.fill(leave=200_000)
        with pytest.raises(StoreError, match=r"No space left on device; check that .* its disk has room"):
            apply(running.project.feature_repo, running.settings.feature_store)
        assert registry.read_bytes() == before
        disk.make_room()
        apply(running.project.feature_repo, running.settings.feature_store)
        assert len(registry.read_bytes()) > 300_000
        assert not registry.with_name("registry.db.tmp").exists()


def test_a_plan_that_the_disk_has_no_room_for_leaves_the_old_one(project: Project) -> None:
    running = project.engine()
    plan = running.state.plan()
    with small_disk(running.state.plan_file.parent) as disk:
        disk.fill()
        with pytest.raises(StoreError, match=r"flight_delays\.json: No space left on device; make room"):
            running.state.keep_plan(replace(plan, lateness=1))
        assert running.state.plan() == plan
        disk.make_room()
        running.state.keep_plan(replace(plan, lateness=1))
        assert running.state.plan() == replace(plan, lateness=1)


def test_a_full_disk_of_the_log_is_told_and_loses_and_repeats_nothing(project: Project) -> None:
    flights = traffic(300)
    with small_disk(project.directory / "disk") as disk:
        log = disk.path / "log.db"
        project = project.with_settings(BROKER=f"file://{log}", HTTP_PORT=0, BATCH=20, EPOCH_SECONDS=0.2)
        project.make_topics()
        project.send(flights)
        disk.fill(leave=300_000)
        with project.flows("predict") as running:
            wait_until(lambda: crashes(running, "predict") >= 1, PATIENCE)
            with pytest.raises(BrokerError, match=r"database or disk is full; make room"):
                LogBroker(log).create_topics([TopicSpec("more", 30_000)])
            (project.directory / "more.jsonl").write_bytes(
                b"\n".join(event(f"G{n}", NOON).value for n in range(3_000))
            )
            refused = project.run("publish", "more.jsonl")
            said = running.said()
            disk.make_room()
            wait_until(lambda: predicted(project).total() >= 300, PATIENCE)
            assert running.stop() == 0, running.said()
        for told in (said, refused.stderr):
            assert "database or disk is full; check that its disk has space" in told
            assert "Traceback" not in told
        assert refused.returncode == 1
        assert predicted(project) == the_flights(flights)
        assert project.records("dead-letters") == []


def test_a_full_disk_of_the_offline_store_holds_the_flow_back_until_there_is_room(
    project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    from flows.materialize import build  # imports Feast

    project.apply_feast()
    running = project.with_settings(BATCH=20).engine()
    project.send([record for record in traffic(100) if record.topic != "flight_labels"])
    run_flow(running, "predict")
    caplog.set_level(logging.WARNING, "driftline.materialize")
    with small_disk(project.directory / ".driftline" / "offline") as disk:
        disk.fill(leave=50_000)

        def room_is_made(broker: Broker) -> bool:
            wait_until(lambda: caplog.text.count("trying again") > 1, PATIENCE)
            assert lag(broker, running, "materialize") > 0
            disk.make_room()
            wait_until(lambda: lag(broker, running, "materialize") == 0, PATIENCE)
            return True

        run_flow(running, "materialize", room_is_made, build)
        assert "the offline store cannot be written" in caplog.text
        assert "No space left on device" in caplog.text
