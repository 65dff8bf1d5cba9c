"""A project with several pipelines: this repository's two, and the cards from file to prediction."""

import shutil

import handbook
import pandas as pd
import pytest
from harness import PATIENCE, Project, lag, wait_until
from places import ROOT

from flows.pipelines.cards_data import simulate

FILE = "card_transactions.parquet"
TRANSACTIONS = simulate()[::10]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """This repository as a project of its own, applied, and every tenth made-up transaction as a file."""
    directory = tmp_path_factory.mktemp("both")
    shutil.copytree(ROOT / "feature_repo", directory / "feature_repo")
    shutil.copy(ROOT / "pyproject.toml", directory)
    TRANSACTIONS.to_parquet(directory / FILE)
    project = Project(directory)
    outcome = project.run("apply")
    assert outcome.returncode == 0, outcome.stderr
    flights, cards = outcome.stderr.splitlines()
    assert flights.startswith("flight_delays: 72 features in 8 views")
    assert cards.startswith("card_fraud: 17 features in 3 views")
    return project


def test_apply_makes_the_plan_and_the_topics_of_every_pipeline(both: Project) -> None:
    for name in ("flight_delays", "card_fraud"):
        running = both.with_settings(PIPELINE=name).engine()
        assert running.state.plan().service == name
        with both.with_settings(PIPELINE=name).broker() as broker:
            assert set(running.pipeline.topics) <= broker.topics().keys()


def test_with_a_choice_apply_is_for_that_pipeline_only(both: Project) -> None:
    (line,) = both.run("apply", "--pipeline", "card_fraud").stderr.splitlines()
    assert line.startswith("card_fraud: ")
    assert line.endswith("0 topics created")


@pytest.mark.parametrize("command", ["run", "backtest"])
def test_without_a_choice_the_other_commands_say_which_there_are(both: Project, command: str) -> None:
    outcome = both.run(*command.split())
    assert outcome.returncode == 2
    (line,) = outcome.stderr.splitlines()
    assert "choose with --pipeline or DRIFTLINE_PIPELINE among: card_fraud, flight_delays" in line


def test_the_cards_of_a_file_are_answered_with_the_features_of_the_days_themselves(both: Project) -> None:
    outcome = both.run("backtest", "card_fraud", "--data", FILE)
    assert "card_fraud: 2,114 events, 2,114 labels, 0 dead letters" in outcome.stdout, outcome.stderr
    cards = both.with_settings(PIPELINE="card_fraud")
    running = cards.engine()
    with both.flows("predict", "learn", "--pipeline", "card_fraud", DRIFTLINE_HTTP_PORT="0"):
        outcome = both.run("publish", "--pipeline", "card_fraud", "--data", FILE)
        assert outcome.returncode == 0, outcome.stderr
        with cards.broker() as broker:
            wait_until(lambda: lag(broker, running, "learn") == 0, PATIENCE)
            wait_until(lambda: lag(broker, running, "predict") == 0, PATIENCE)
    assert cards.records("dead-letters") == []
    predictions = cards.values("predictions")
    served = pd.DataFrame(
        [p["features"] for p in predictions], columns=running.pipeline.feature_names(running.state.plan())
    )
    expected = handbook.features(TRANSACTIONS)
    assert [int(p["id"]) for p in predictions] == TRANSACTIONS["TRANSACTION_ID"].tolist()
    assert (expected["terminal_frauds__frauds_30d"] > 0).sum() > 20
    pd.testing.assert_frame_equal(served[list(expected)], expected, check_dtype=False, rtol=0, atol=1e-9)
