"""The settings: the only module that reads the environment.

All variables start with `DRIFTLINE_`. `SETTINGS` has their defaults and meanings. A test compares it with the
documentation.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from math import nan
from pathlib import Path
from typing import NamedTuple

from flows.errors import ConfigError
from flows.host.state_dir import check_secret


class Setting(NamedTuple):
    """One environment variable."""

    name: str
    default: str
    meaning: str


SETTINGS = (
    Setting("DRIFTLINE_BROKER", "", "the broker: `kafka://host:port[,host:port]`, or `file:///path/log.db` for the embedded log; by default the embedded log in the state directory"),
    Setting("DRIFTLINE_KAFKA_*", "", "options of the Kafka clients: `DRIFTLINE_KAFKA_SASL_PASSWORD` sets `sasl.password`"),
    Setting("DRIFTLINE_PIPELINE", "", "the pipeline to use; required if the project has several"),
    Setting("DRIFTLINE_STATE_DIR", ".driftline", "the directory of the engine's state, relative to the project"),
    Setting("DRIFTLINE_FEATURE_STORE", "feature_store.yaml", "the Feast configuration in the feature repository"),
    Setting("DRIFTLINE_REDIS", "127.0.0.1:6379", "the Redis server that `feature_store.redis.yaml` refers to"),
    Setting("DRIFTLINE_SECRET", "", "the secret that signs models and flow states, at least 32 bytes (`openssl rand -hex 32`); by default a random one in the state directory"),
    Setting("DRIFTLINE_FORMER_SECRET", "", "during a rotation the secret of before: what it signed is still read"),
    Setting("DRIFTLINE_ARTIFACTS", "", "the store of models too large for a message: a folder, relative to the project, or an fsspec URL such as `s3://bucket/driftline`; by default `artifacts` in the state directory"),
    Setting("DRIFTLINE_MLFLOW", "", "the MLflow store that `driftline models mirror` writes to: a server's URL, or `sqlite:///FILE`"),
    Setting("DRIFTLINE_WEBHOOK_URL", "", "the URL that drift alerts are posted to; without it they are only on the drift topic"),
    Setting("DRIFTLINE_WEBHOOK_SECRET", "", "the `whsec_...` secret that signs the alerts (Standard Webhooks); during a rotation several, separated by spaces"),
    Setting("DRIFTLINE_WEBHOOK_PIPELINES", "", "post only alerts of these pipelines (names separated by commas); by default all"),
    Setting("DRIFTLINE_WEBHOOK_KINDS", "", "post only alerts of these kinds (`concept`, `feature`, `prediction`, `quality`, `attribution`); by default all"),
    Setting("DRIFTLINE_WEBHOOK_SEVERITIES", "", "post only alerts of these severities (`warning`, `critical`); by default all"),
    Setting("DRIFTLINE_WEBHOOK_FORMAT", "cloudevents", "the format of the body: `cloudevents`, or `alertmanager` for a receiver of Alertmanager's webhooks"),
    Setting("DRIFTLINE_WEBHOOK_NAME_*", "", "the same settings for a further endpoint NAME, such as `DRIFTLINE_WEBHOOK_ONCALL_URL` and `DRIFTLINE_WEBHOOK_ONCALL_SECRET`"),
    Setting("DRIFTLINE_WEBHOOK_ALLOW_PRIVATE", "false", "whether alerts may be posted to private and loopback addresses"),
    Setting("DRIFTLINE_HTTP_HOST", "127.0.0.1", "the address on which the flows serve `/metrics`, `/healthz` and `/readyz`"),
    Setting("DRIFTLINE_HTTP_PORT", "9464", "the port of the first flow; the other flows use the next ones; 0 for any free port"),
    Setting("DRIFTLINE_FLOWS_HOST", "", "the host that the dashboard asks for the metrics of a flow; `{flow}` stands for the flow's name; by default `DRIFTLINE_HTTP_HOST`"),
    Setting("DRIFTLINE_SERVE_HOST", "127.0.0.1", "the address on which `driftline serve` listens"),
    Setting("DRIFTLINE_SERVE_PORT", "8471", "the port of `driftline serve`, and of `driftline run` if it is free, otherwise one of the next; 0 for any free port"),
    Setting("DRIFTLINE_SERVE_CERTIFICATE", "", "the PEM file of the server's certificate chain; with it, `driftline serve` and `driftline collect` speak TLS only"),
    Setting("DRIFTLINE_SERVE_KEY", "", "the PEM file of the certificate's private key"),
    Setting("DRIFTLINE_SERVE_RATE", "1000", "the requests a second of one caller, a token or an address, that `driftline serve` answers"),
    Setting("DRIFTLINE_SERVE_BODY", "8388608", "the largest body of a request to `driftline serve`, in bytes"),
    Setting("DRIFTLINE_TOKENS", "", "the file of the tokens of `driftline serve` and `driftline collect`, relative to the project; by default `tokens.json` in the state directory"),
    Setting("DRIFTLINE_BATCH", "1000", "the maximum number of records in a batch of a flow"),
    Setting("DRIFTLINE_EPOCH_SECONDS", "10", "the interval at which a flow stores its state; after a crash it repeats at most this much work"),
    Setting("DRIFTLINE_MODEL_SECONDS", "0.2", "the interval at which the learner publishes its model"),
)  # fmt: skip


@dataclass(frozen=True)
class WebhookSettings:
    """The settings of one endpoint. Its repr leaves out the URL and the secret."""

    name: str
    url: str = field(repr=False)
    secret: str = field(repr=False)
    pipelines: frozenset[str]
    kinds: frozenset[str]
    severities: frozenset[str]
    format: str


@dataclass(frozen=True)
class Settings:
    """The settings of one process. Its repr leaves out the secrets."""

    broker: str
    pipeline: str
    state_dir: Path
    feature_store: str
    webhooks: tuple[WebhookSettings, ...]
    webhook_allow_private: bool
    http_host: str
    http_port: int
    flows_host: str
    serve_host: str
    serve_port: int
    serve_certificate: Path | None
    serve_key: Path | None
    serve_rate: float
    serve_body: int
    tokens: Path
    batch: int
    epoch_seconds: float
    model_seconds: float
    artifacts: str = field(repr=False)  # a URL may contain a password
    mlflow: str = field(repr=False)  # so may this one
    secret: bytes = field(repr=False)
    former_secret: bytes = field(repr=False)
    kafka_options: Mapping[str, str] = field(repr=False)

    def host_of(self, flow: str) -> str:
        """Return the host on which a flow serves its metrics, as seen from the dashboard's server."""
        return self.flows_host.replace("{flow}", flow)


def load_settings(project: Path, environment: Mapping[str, str] | None = None) -> Settings:
    """Return the settings of the environment, with paths relative to `project`.

    Exports `DRIFTLINE_REDIS`, since Feast expands that variable in its configuration. Raises `ConfigError` for
    an invalid value.
    """
    env = os.environ if environment is None else environment
    values = {s.name: env.get(s.name) or s.default for s in SETTINGS}
    os.environ["DRIFTLINE_REDIS"] = values["DRIFTLINE_REDIS"]
    state_dir = project / values["DRIFTLINE_STATE_DIR"]
    secrets = {name: values[name].encode() for name in ("DRIFTLINE_SECRET", "DRIFTLINE_FORMER_SECRET")}
    for name, secret in secrets.items():
        if secret:
            check_secret(name, secret)
    return Settings(
        broker=values["DRIFTLINE_BROKER"] or (state_dir / "log.db").absolute().as_uri(),
        pipeline=values["DRIFTLINE_PIPELINE"],
        state_dir=state_dir,
        artifacts=_artifacts(values["DRIFTLINE_ARTIFACTS"], project, state_dir),
        mlflow=values["DRIFTLINE_MLFLOW"],
        feature_store=values["DRIFTLINE_FEATURE_STORE"],
        webhooks=_webhooks(env),
        webhook_allow_private=_flag("DRIFTLINE_WEBHOOK_ALLOW_PRIVATE", values),
        http_host=values["DRIFTLINE_HTTP_HOST"],
        http_port=_whole_number("DRIFTLINE_HTTP_PORT", values, low=0, high=65_531),  # five flows
        flows_host=values["DRIFTLINE_FLOWS_HOST"] or values["DRIFTLINE_HTTP_HOST"],
        serve_host=values["DRIFTLINE_SERVE_HOST"],
        serve_port=_whole_number("DRIFTLINE_SERVE_PORT", values, low=0, high=65_535),
        serve_certificate=_file("DRIFTLINE_SERVE_CERTIFICATE", values, project),
        serve_key=_file("DRIFTLINE_SERVE_KEY", values, project),
        serve_rate=_number("DRIFTLINE_SERVE_RATE", values, low=0.001, high=1_000_000),
        serve_body=_whole_number("DRIFTLINE_SERVE_BODY", values, low=1, high=2**30),
        tokens=_file("DRIFTLINE_TOKENS", values, project) or state_dir / "tokens.json",
        batch=_whole_number("DRIFTLINE_BATCH", values, low=1, high=1_000_000),
        epoch_seconds=_number("DRIFTLINE_EPOCH_SECONDS", values, low=0.1, high=86_400),
        model_seconds=_number("DRIFTLINE_MODEL_SECONDS", values, low=0.01, high=86_400),
        secret=secrets["DRIFTLINE_SECRET"],
        former_secret=secrets["DRIFTLINE_FORMER_SECRET"],
        kafka_options=_kafka_options(env),
    )


def unknown(environment: Mapping[str, str] | None = None) -> Iterator[str]:
    """Yield a warning for each variable with the prefix that is not a setting, with the nearest setting."""
    env = os.environ if environment is None else environment
    for name in sorted(env):
        if name.startswith(_PREFIX) and name not in _KNOWN and not name.startswith(_CHECKED_ELSEWHERE):
            near = get_close_matches(name.removeprefix(_PREFIX), _candidates(name), n=1)
            advice = f"did you mean {_PREFIX}{near[0]}?" if near else "docs/reference.md lists the settings"
            yield f"{name} is not a setting and is ignored; {advice}"


def _candidates(name: str) -> list[str]:
    """Return the settings' names without the prefix; a `*` becomes the end of `name`."""
    end = "_".join(name.split("_")[2:])
    names = [known.replace("*", end) for known in _KNOWN if end or "*" not in known]
    return [each.removeprefix(_PREFIX) for each in sorted(names)]


def _file(name: str, values: Mapping[str, str], project: Path) -> Path | None:
    """Return the file that a setting names, relative to the project; None if it is not set."""
    return project / values[name] if values[name] else None


def _artifacts(value: str, project: Path, state_dir: Path) -> str:
    """Return a URL unchanged, and a folder as a path."""
    return value if "://" in value else str(project / value if value else state_dir / "artifacts")


DEFAULT_WEBHOOK = "default"  # the endpoint of the DRIFTLINE_WEBHOOK_* variables without a name
_WEBHOOK = "DRIFTLINE_WEBHOOK_"
_WEBHOOK_FIELDS = ("URL", "SECRET", "PIPELINES", "KINDS", "SEVERITIES", "FORMAT")


def webhook_variable(name: str, field: str) -> str:
    """Return the variable that sets a field of an endpoint, such as "URL".

    >>> webhook_variable("default", "URL"), webhook_variable("oncall", "URL")
    ('DRIFTLINE_WEBHOOK_URL', 'DRIFTLINE_WEBHOOK_ONCALL_URL')
    """
    return _WEBHOOK + ("" if name == DEFAULT_WEBHOOK else f"{name.upper()}_") + field


def _webhooks(env: Mapping[str, str]) -> tuple[WebhookSettings, ...]:
    given: dict[str, dict[str, str]] = {}
    for variable, value in env.items():
        if variable.startswith(_WEBHOOK) and variable != f"{_WEBHOOK}ALLOW_PRIVATE" and value:
            name, field = _webhook_field(variable)
            given.setdefault(name, {})[field] = value
    if "URL" not in given.get(DEFAULT_WEBHOOK, {}):
        given.pop(DEFAULT_WEBHOOK, None)
    return tuple(_webhook(name, given[name]) for name in sorted(given))


def _webhook_field(variable: str) -> tuple[str, str]:
    """Return the endpoint's name and the field that a variable sets; raise `ConfigError` for no field."""
    name, _, field = variable.removeprefix(_WEBHOOK).rpartition("_")
    if field not in _WEBHOOK_FIELDS or name == DEFAULT_WEBHOOK.upper():
        fields = ", ".join(_WEBHOOK_FIELDS)
        raise ConfigError(
            f"{variable} must end with one of {fields} after the endpoint's name; rename or unset it"
        )
    return name.lower() or DEFAULT_WEBHOOK, field


def _webhook(name: str, given: Mapping[str, str]) -> WebhookSettings:
    if "URL" not in given:
        raise ConfigError(
            f"{webhook_variable(name, 'URL')} is not set; set it, or unset the endpoint's other variables"
        )
    return WebhookSettings(
        name=name,
        url=given["URL"],
        secret=given.get("SECRET", ""),
        pipelines=_set(given.get("PIPELINES", "")),
        kinds=_set(given.get("KINDS", "")),
        severities=_set(given.get("SEVERITIES", "")),
        format=given.get("FORMAT", "cloudevents"),
    )


def _set(text: str) -> frozenset[str]:
    return frozenset(part.strip() for part in text.split(",") if part.strip())


def _kafka_options(env: Mapping[str, str]) -> dict[str, str]:
    prefix = "DRIFTLINE_KAFKA_"
    given = {name: value for name, value in env.items() if name.startswith(prefix) and value}
    return {
        name.removeprefix(prefix).lower().replace("_", "."): value
        for name, value in given.items()
        if name not in _SCRIPT_VARIABLES
    }


_SCRIPT_VARIABLES = [
    f"DRIFTLINE_KAFKA_{name}" for name in ("HOME", "PORT", "CONTROLLER_PORT", "NODE", "HEAP", "PROPERTIES")
]
_PREFIX = "DRIFTLINE_"
_KNOWN = {setting.name for setting in SETTINGS}
_CHECKED_ELSEWHERE = (
    "DRIFTLINE_KAFKA_",  # the Kafka clients refuse unknown options
    _WEBHOOK,  # `load_settings` refuses unknown ones
    "DRIFTLINE_TEST_",  # of the tests
)


def _number(name: str, values: Mapping[str, str], low: float, high: float) -> float:
    try:
        number = float(values[name])
    except ValueError:
        number = nan
    if not low <= number <= high:
        raise ConfigError(f"{name} must be a number from {low:.15g} to {high:.15g}, got {values[name]!r}")
    return number


def _whole_number(name: str, values: Mapping[str, str], low: int, high: int) -> int:
    number = _number(name, values, low, high)
    if not number.is_integer():
        raise ConfigError(f"{name} must be a whole number, got {values[name]!r}")
    return int(number)


def _flag(name: str, values: Mapping[str, str]) -> bool:
    text = values[name].lower()
    if text not in ("true", "false", "1", "0"):
        raise ConfigError(f"{name} must be true or false, got {values[name]!r}")
    return text in ("true", "1")
