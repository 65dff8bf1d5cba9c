"""Judges the settings of existing topics: which of them break or impair the flows."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Literal, NamedTuple

TopicRole = Literal["input", "output", "models"]

_NEVER = str(2**63 - 1)
_DAY = 86_400_000
_ROOM = 2 * 2**20  # bytes of a record that the engine writes


class SettingVerdict(NamedTuple):
    """What is wrong with a topic: `faults` make results wrong, `warnings` do not."""

    faults: list[str]
    warnings: list[str]


def judge(role: TopicRole, settings: Mapping[str, str]) -> SettingVerdict:
    """Judge the settings of a topic, by Kafka's names; those not given are assumed to be right."""
    verdict = SettingVerdict([], [])
    _judge_time(role, settings, verdict)
    _judge_compaction(role, settings, verdict)
    _judge_retention(role, settings, verdict)
    if role != "input" and int(settings.get("max.message.bytes", _ROOM)) < _ROOM:
        size = int(settings["max.message.bytes"])
        verdict.warnings.append(
            f"max.message.bytes = {size}: too small for the dead letter of a record of that size; set {_ROOM}"
        )
    return verdict


def _judge_time(role: TopicRole, settings: Mapping[str, str], verdict: SettingVerdict) -> None:
    if settings.get("message.timestamp.type") == "LogAppendTime":
        if role == "input":
            verdict.warnings.append(
                "message.timestamp.type = LogAppendTime: its records are merged with those of other topics "
                "by arrival time, so a replay of history computes different features"
            )
        else:
            verdict.faults.append(
                "message.timestamp.type must be CreateTime, got LogAppendTime: the flows merge by event time"
            )
    before = settings.get("message.timestamp.before.max.ms", _NEVER)
    if before != _NEVER:
        verdict.warnings.append(
            f"message.timestamp.before.max.ms = {before}: Kafka refuses records older than {_span(before)}, "
            "such as those of a replay"
        )


def _judge_compaction(role: TopicRole, settings: Mapping[str, str], verdict: SettingVerdict) -> None:
    compacted = "compact" in settings.get("cleanup.policy", "compact" if role == "models" else "")
    if compacted and role == "output":
        verdict.faults.append("cleanup.policy must be delete, got compact, which removes needed records")
    elif compacted and role == "input":
        verdict.warnings.append(
            "cleanup.policy = compact: Kafka keeps only the latest record per key, so `verify`, "
            "`training-set`, `backfill` and a flow that is behind miss the others"
        )
    elif not compacted and role == "models":
        verdict.warnings.append("cleanup.policy = delete: old models take space that compaction would free")


def _judge_retention(role: TopicRole, settings: Mapping[str, str], verdict: SettingVerdict) -> None:
    if "delete" not in settings.get("cleanup.policy", "delete"):
        return
    milliseconds, size = settings.get("retention.ms", "-1"), settings.get("retention.bytes", "-1")
    if milliseconds != "-1":
        verdict.warnings.append(
            f"retention.ms = {milliseconds}: records are removed {_span(milliseconds)} after their time, "
            f"those of a replay at once; {_loser(role)}"
        )
    if size != "-1":
        verdict.warnings.append(
            f"retention.bytes = {size}: the oldest records beyond that size are removed; {_loser(role)}"
        )


def _loser(role: TopicRole) -> str:
    if role == "models":
        return "after that long without labels, a predict flow without state finds no model"
    return "`verify`, `training-set`, `backfill` and a flow without state do not see them"


def _span(milliseconds: str) -> str:
    """Return a duration in readable units.

    >>> _span("604800000"), _span("86400000"), _span("3600000")
    ('7 days', '1 day', '1:00:00')
    """
    days, rest = divmod(int(milliseconds), _DAY)
    if rest or not days:
        return str(timedelta(milliseconds=int(milliseconds)))
    return f"{days} days" if days > 1 else "1 day"
