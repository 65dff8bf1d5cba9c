"""The warnings and refusals for settings of existing topics."""

from typing import get_args

import pytest

from flows.adapters.kafka.topic_settings import TopicRole, judge
from flows.adapters.kafka.topics import COMPACTED, ROOMY, TOPIC

DEFAULTS = {
    "cleanup.policy": "delete",
    "retention.ms": "604800000",
    "retention.bytes": "-1",
    "message.timestamp.type": "CreateTime",
    "message.timestamp.before.max.ms": "9223372036854775807",
    "max.message.bytes": "1048588",
}


@pytest.mark.parametrize("role", get_args(TopicRole))
def test_topics_that_the_engine_makes_are_right(role: TopicRole) -> None:
    settings = TOPIC | (COMPACTED if role == "models" else {}) | ({} if role == "input" else ROOMY)
    assert judge(role, settings) == ([], [])
    assert judge(role, {}) == ([], [])


LATER = {"message.timestamp.type": "LogAppendTime"}
COMPACT = {"cleanup.policy": "compact"}


@pytest.mark.parametrize(
    ("role", "settings", "faults", "warnings"),
    [
        ("input", LATER, [], ["by arrival time, so a replay of history computes different features"]),
        ("output", LATER, ["must be CreateTime, got LogAppendTime"], []),
        ("models", LATER, ["must be CreateTime"], []),
        ("input", COMPACT, [], ["only the latest record per key"]),
        ("output", {"cleanup.policy": "compact,delete"}, ["must be delete"], []),
        ("models", COMPACT, [], []),
        ("models", {"cleanup.policy": "delete"}, [], ["old models take space"]),
        ("input", {"retention.ms": "604800000"}, [], ["removed 7 days after"]),
        ("output", {"retention.ms": "5400000"}, [], ["removed 1:30:00 after"]),
        ("input", {"retention.bytes": "1000"}, [], ["retention.bytes = 1000"]),
        ("models", {"cleanup.policy": "compact,delete", "retention.ms": "1"}, [], ["finds no model"]),
        ("models", COMPACT | {"retention.ms": "1"}, [], []),
        (
            "input",
            {"message.timestamp.before.max.ms": "86400000"},
            [],
            ["refuses records older than 1 day"],
        ),
        ("output", {"max.message.bytes": "1048588"}, [], ["max.message.bytes = 1048588"]),
        ("input", {"max.message.bytes": "1048588"}, [], []),
        ("input", DEFAULTS, [], ["7 days"]),
        ("output", DEFAULTS, [], ["7 days", "max.message.bytes"]),
    ],
)
def test_settings_that_make_results_wrong_are_faults_and_those_that_spoil_something_warnings(
    role: TopicRole, settings: dict[str, str], faults: list[str], warnings: list[str]
) -> None:
    verdict = judge(role, settings)
    for found, wanted in ((verdict.faults, faults), (verdict.warnings, warnings)):
        assert len(found) == len(wanted)
        assert all(part in text for part, text in zip(wanted, sorted(found, reverse=True), strict=True))
