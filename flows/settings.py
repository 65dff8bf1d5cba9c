"""The settings: the only place that reads the environment.

Every variable begins with `DRIFTLINE_`. `SETTINGS` lists them with their defaults and meaning; the reference in
the documentation is checked against it.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import nan
from pathlib import Path
from typing import NamedTuple

from flows.errors import ConfigError


class Setting(NamedTuple):
    """One environment variable."""

    name: str
    default: str
    meaning: str


SETTINGS = (
    Setting("DRIFTLINE_BROKER", "", "`kafka://host:port[,host:port]`, or `file:///path/log.db` for the embedded log; by default the embedded log in the state directory"),
    Setting("DRIFTLINE_KAFKA_*", "", "passed through to the Kafka clients: `DRIFTLINE_KAFKA_SASL_PASSWORD` is `sasl.password`"),
    Setting("DRIFTLINE_PIPELINE", "", "the pipeline to work on, where the project has several"),
    Setting("DRIFTLINE_STATE_DIR", ".driftline", "where the engine keeps its state, relative to the project"),
    Setting("DRIFTLINE_FEATURE_STORE", "feature_store.yaml", "the Feast configuration in the feature repository"),
    Setting("DRIFTLINE_REDIS", "127.0.0.1:6379", "the Redis server that `feature_store.redis.yaml` refers to"),
    Setting("DRIFTLINE_SECRET", "", "the secret that signs model snapshots; by default one is made in the state directory"),
    Setting("DRIFTLINE_WEBHOOK_URL", "", "where drift alerts are posted; without it they stay on the drift topic"),
    Setting("DRIFTLINE_WEBHOOK_SECRET", "", "the `whsec_...` secret that signs the alerts (Standard Webhooks)"),
    Setting("DRIFTLINE_WEBHOOK_ALLOW_PRIVATE", "false", "whether alerts may go to private and loopback addresses"),
    Setting("DRIFTLINE_HTTP_HOST", "127.0.0.1", "where the flows answer `/metrics`, `/healthz` and `/readyz`"),
    Setting("DRIFTLINE_HTTP_PORT", "9464", "the port of the first flow; the others take the next ones; 0 for any free port"),
    Setting("DRIFTLINE_BATCH", "1000", "the most records that travel through a flow as one batch"),
    Setting("DRIFTLINE_EPOCH_SECONDS", "10", "how often a flow stores its state; after a crash it works at most this much again"),
    Setting("DRIFTLINE_MODEL_SECONDS", "0.2", "how often the learner publishes what the model has learned"),
)  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """The settings of one process. Secrets are left out of its repr."""

    broker: str
    pipeline: str
    state_dir: Path
    feature_store: str
    webhook_url: str = field(repr=False)
    webhook_allow_private: bool
    http_host: str
    http_port: int
    batch: int
    epoch_seconds: float
    model_seconds: float
    secret: bytes = field(repr=False)
    webhook_secret: str = field(repr=False)
    kafka_options: Mapping[str, str] = field(repr=False)


def load(project: Path, environment: Mapping[str, str] | None = None) -> Settings:
    """The settings of the environment, with paths relative to `project`; raises `ConfigError`.

    Exports `DRIFTLINE_REDIS` with its default, since Feast itself expands it in its configuration.
    """
    env = os.environ if environment is None else environment
    values = {s.name: env.get(s.name) or s.default for s in SETTINGS}
    os.environ["DRIFTLINE_REDIS"] = values["DRIFTLINE_REDIS"]
    state_dir = project / values["DRIFTLINE_STATE_DIR"]
    return Settings(
        broker=values["DRIFTLINE_BROKER"] or (state_dir / "log.db").absolute().as_uri(),
        pipeline=values["DRIFTLINE_PIPELINE"],
        state_dir=state_dir,
        feature_store=values["DRIFTLINE_FEATURE_STORE"],
        webhook_url=values["DRIFTLINE_WEBHOOK_URL"],
        webhook_allow_private=_flag("DRIFTLINE_WEBHOOK_ALLOW_PRIVATE", values),
        http_host=values["DRIFTLINE_HTTP_HOST"],
        http_port=_whole_number("DRIFTLINE_HTTP_PORT", values, low=0, high=65_531),  # and four more
        batch=_whole_number("DRIFTLINE_BATCH", values, low=1, high=1_000_000),
        epoch_seconds=_number("DRIFTLINE_EPOCH_SECONDS", values, low=0.1, high=86_400),
        model_seconds=_number("DRIFTLINE_MODEL_SECONDS", values, low=0.01, high=86_400),
        secret=values["DRIFTLINE_SECRET"].encode(),
        webhook_secret=values["DRIFTLINE_WEBHOOK_SECRET"],
        kafka_options=_kafka_options(env),
    )


def _kafka_options(env: Mapping[str, str]) -> dict[str, str]:
    prefix = "DRIFTLINE_KAFKA_"
    given = {name: value for name, value in env.items() if name.startswith(prefix) and value}
    return {
        name.removeprefix(prefix).lower().replace("_", "."): value
        for name, value in given.items()
        if name not in _OF_THE_KAFKA_SCRIPT
    }


_OF_THE_KAFKA_SCRIPT = [
    f"DRIFTLINE_KAFKA_{name}" for name in ("HOME", "PORT", "CONTROLLER_PORT", "NODE", "HEAP")
]


def _number(name: str, values: Mapping[str, str], low: float, high: float) -> float:
    try:
        number = float(values[name])
    except ValueError:
        number = nan
    if not low <= number <= high:
        raise ConfigError(f"{name} must be a number from {low:g} to {high:g}, not {values[name]!r}")
    return number


def _whole_number(name: str, values: Mapping[str, str], low: int, high: int) -> int:
    number = _number(name, values, low, high)
    if not number.is_integer():
        raise ConfigError(f"{name} must be a whole number, not {values[name]!r}")
    return int(number)


def _flag(name: str, values: Mapping[str, str]) -> bool:
    text = values[name].lower()
    if text not in ("true", "false", "1", "0"):
        raise ConfigError(f"{name} must be true or false, not {values[name]!r}")
    return text in ("true", "1")
