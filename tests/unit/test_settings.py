"""The settings: variables, defaults, refused values, and secrets that are never shown."""

import os
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from places import ROOT

from flows import settings
from flows.errors import ConfigError
from flows.settings import SETTINGS, Settings, WebhookSettings, load_settings

PROJECT = Path("/projects/shop")


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    monkeypatch.setenv("DRIFTLINE_REDIS", "set by this fixture, so that it is put back")


def loaded(**variables: str) -> Settings:
    return load_settings(PROJECT, {f"DRIFTLINE_{name}": value for name, value in variables.items()})


@pytest.mark.parametrize(
    ("name", "attribute", "default"),
    [
        ("BROKER", "broker", "file:///projects/shop/.driftline/log.db"),
        ("PIPELINE", "pipeline", ""),
        ("STATE_DIR", "state_dir", PROJECT / ".driftline"),
        ("FEATURE_STORE", "feature_store", "feature_store.yaml"),
        ("SECRET", "secret", b""),
        ("WEBHOOK_URL", "webhooks", ()),
        ("WEBHOOK_ALLOW_PRIVATE", "webhook_allow_private", False),
        ("HTTP_HOST", "http_host", "127.0.0.1"),
        ("HTTP_PORT", "http_port", 9464),
        ("FLOWS_HOST", "flows_host", "127.0.0.1"),
        ("BATCH", "batch", 1000),
        ("EPOCH_SECONDS", "epoch_seconds", 10.0),
        ("MODEL_SECONDS", "model_seconds", 0.2),
        ("KAFKA_SASL_PASSWORD", "kafka_options", {}),
    ],
)
def test_a_variable_that_is_not_set_or_is_empty_has_its_default(name, attribute, default):
    assert getattr(loaded(), attribute) == default
    assert getattr(loaded(**{name: ""}), attribute) == default


@pytest.mark.parametrize(
    ("name", "value", "attribute", "meaning"),
    [
        ("BROKER", "kafka://a:9092,b:9092", "broker", "kafka://a:9092,b:9092"),
        ("PIPELINE", "fraud", "pipeline", "fraud"),
        ("STATE_DIR", "state/here", "state_dir", PROJECT / "state" / "here"),
        ("STATE_DIR", "/var/lib/driftline", "state_dir", Path("/var/lib/driftline")),
        ("STATE_DIR", "/var/lib/driftline", "broker", "file:///var/lib/driftline/log.db"),
        ("FEATURE_STORE", "feature_store.redis.yaml", "feature_store", "feature_store.redis.yaml"),
        ("SECRET", "geheim-geheim-geheim-geheim-geheim", "secret", b"geheim-geheim-geheim-geheim-geheim"),
        ("WEBHOOK_ALLOW_PRIVATE", "true", "webhook_allow_private", True),
        ("WEBHOOK_ALLOW_PRIVATE", "TRUE", "webhook_allow_private", True),
        ("WEBHOOK_ALLOW_PRIVATE", "1", "webhook_allow_private", True),
        ("WEBHOOK_ALLOW_PRIVATE", "false", "webhook_allow_private", False),
        ("WEBHOOK_ALLOW_PRIVATE", "0", "webhook_allow_private", False),
        ("HTTP_HOST", "::1", "http_host", "::1"),
        ("HTTP_HOST", "::1", "flows_host", "::1"),
        ("HTTP_PORT", "0", "http_port", 0),
        ("HTTP_PORT", "65531", "http_port", 65_531),
        ("BATCH", "1", "batch", 1),
        ("EPOCH_SECONDS", "0.1", "epoch_seconds", 0.1),
        ("MODEL_SECONDS", "2", "model_seconds", 2.0),
    ],
)
def test_a_variable_that_is_set_is_used(name, value, attribute, meaning):
    assert getattr(loaded(**{name: value}), attribute) == meaning


@pytest.mark.parametrize(
    ("template", "host"), [("{flow}", "predict"), ("flow-{flow}.example", "flow-predict.example"), ("a", "a")]
)
def test_the_host_of_a_flow_may_contain_its_name(template, host):
    assert loaded(FLOWS_HOST=template).host_of("predict") == host


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("HTTP_PORT", value) for value in ("-1", "65536", "80.5", "http", "nan", "inf", "1e400")],
        *[("BATCH", value) for value in ("0", "-5", "1.5", "many", "nan", "inf", "1e9")],
        *[("EPOCH_SECONDS", value) for value in ("0", "0.09", "-1", "often", "nan", "inf", "1e6")],
        *[("MODEL_SECONDS", value) for value in ("0", "-1", "nan", "-inf", "inf", "0,2")],
        *[("WEBHOOK_ALLOW_PRIVATE", value) for value in ("yes", "no", "2", "on", "truely")],
    ],
)
def test_a_bad_value_is_an_error_that_names_the_variable_and_the_value(name, value):
    with pytest.raises(ConfigError, match=f"DRIFTLINE_{name} must be .*{value!r}"):
        loaded(**{name: value})


def test_kafka_options_are_passed_through_with_dots_and_in_lower_case():
    options = loaded(
        KAFKA_SASL_USERNAME="me", KAFKA_SECURITY_PROTOCOL="SASL_SSL", KAFKA_SSL_CA_LOCATION="/ca.pem"
    ).kafka_options
    assert options == {
        "sasl.username": "me",
        "security.protocol": "SASL_SSL",
        "ssl.ca.location": "/ca.pem",
    }


def test_what_configures_the_kafka_script_is_no_option_of_the_clients():
    script = (ROOT / "scripts" / "kafka").read_text()
    of_the_script = set(re.findall(r"DRIFTLINE_KAFKA_[A-Z_]+", script))
    assert len(of_the_script) >= 5
    assert load_settings(PROJECT, dict.fromkeys(of_the_script, "1")).kafka_options == {}


ALL = frozenset[str]()


def test_a_webhook_wants_all_alerts_as_cloudevents_unless_told_otherwise():
    (webhook,) = loaded(WEBHOOK_URL="https://example.org/hook", WEBHOOK_SECRET="whsec_MDEy").webhooks  # noqa: S106
    assert webhook == WebhookSettings(
        "default", "https://example.org/hook", "whsec_MDEy", ALL, ALL, ALL, "cloudevents"
    )


def test_further_webhooks_have_a_name_in_their_variables():
    webhooks = loaded(
        WEBHOOK_URL="https://example.org/a",
        WEBHOOK_ON_CALL_URL="https://example.org/b",
        WEBHOOK_ON_CALL_SECRET="whsec_MDEy whsec_MTIz",  # noqa: S106
        WEBHOOK_ON_CALL_PIPELINES="fraud, delays,",
        WEBHOOK_ON_CALL_KINDS="concept",
        WEBHOOK_ON_CALL_SEVERITIES="critical",
        WEBHOOK_ON_CALL_FORMAT="alertmanager",
        WEBHOOK_CHAT_URL="https://example.org/c",
    ).webhooks
    assert [(webhook.name, webhook.url[-1]) for webhook in webhooks] == [
        ("chat", "c"),
        ("default", "a"),
        ("on_call", "b"),
    ]
    on_call = webhooks[2]
    assert on_call.secret == "whsec_MDEy whsec_MTIz"  # noqa: S105
    assert (on_call.pipelines, on_call.format) == ({"fraud", "delays"}, "alertmanager")
    assert (on_call.kinds, on_call.severities) == ({"concept"}, {"critical"})


def test_without_its_url_the_first_webhook_is_off():
    assert loaded(WEBHOOK_SECRET="whsec_MDEy", WEBHOOK_KINDS="concept").webhooks == ()  # noqa: S106


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"WEBHOOK_CHAT_SECRET": "hunter2"}, "DRIFTLINE_WEBHOOK_CHAT_URL"),
        ({"WEBHOOK_CHAT_SEVERITY": "hunter2"}, "DRIFTLINE_WEBHOOK_CHAT_SEVERITY"),
        ({"WEBHOOK_CHAT": "hunter2"}, "DRIFTLINE_WEBHOOK_CHAT"),
        ({"WEBHOOK_DEFAULT_URL": "hunter2"}, "DRIFTLINE_WEBHOOK_DEFAULT_URL"),
    ],
)
def test_a_variable_of_no_webhook_is_an_error_that_names_it_without_its_value(variables, named):
    with pytest.raises(ConfigError, match=named) as caught:
        loaded(**variables)
    assert "hunter2" not in str(caught.value)


def test_no_secret_is_shown():
    secrets = {"SECRET": "s-ecret" * 5, "WEBHOOK_SECRET": "s-ecret", "KAFKA_SASL_PASSWORD": "s-ecret"}
    url = "https://me:s-ecret@example.org/hook?token=s-ecret"
    shown = repr(loaded(**secrets, WEBHOOK_URL=url, WEBHOOK_CHAT_URL=url, WEBHOOK_CHAT_SECRET="s-ecret"))  # noqa: S106
    assert "s-ecret" not in shown
    assert ".driftline" in shown


def test_the_embedded_log_is_found_in_a_directory_whose_name_an_url_would_not_hold(tmp_path):
    project = tmp_path / "50%41 & more?"
    url = urlsplit(load_settings(project, {}).broker)
    assert (url.scheme, unquote(url.path)) == ("file", str(project / ".driftline" / "log.db"))
    assert url.query == ""


@pytest.mark.parametrize(("given", "exported"), [({}, "127.0.0.1:6379"), ({"DRIFTLINE_REDIS": "r:1"}, "r:1")])
def test_the_redis_address_is_exported_for_feast(given, exported):
    load_settings(PROJECT, given)
    assert os.environ["DRIFTLINE_REDIS"] == exported


def test_without_a_mapping_the_environment_is_read(monkeypatch):
    monkeypatch.setenv("DRIFTLINE_BATCH", "17")
    assert load_settings(PROJECT).batch == 17


def test_every_variable_is_listed_once_with_its_meaning():
    names = [setting.name for setting in SETTINGS]
    assert len(set(names)) == len(names)
    assert all(setting.name.startswith("DRIFTLINE_") and setting.meaning for setting in SETTINGS)


def test_no_other_module_reads_the_environment():
    flows = Path(settings.__file__).parent
    readers = {
        str(file.relative_to(flows))
        for file in flows.rglob("*.py")
        if any(word in file.read_text() for word in ("os.environ", "getenv"))
    }
    # the supervisor hands it on to the flows; MLflow takes its options from nowhere else
    assert readers <= {"settings.py", "runtime/supervisor.py", "adapters/mlflow/registry.py"}


def warnings(*names: str) -> list[str]:
    return list(settings.unknown(dict.fromkeys(names, "1")))


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("DRIFTLINE_BROKR", "DRIFTLINE_BROKER"),
        ("DRIFTLINE_STATEDIR", "DRIFTLINE_STATE_DIR"),
        ("DRIFTLINE_EPOCH_SECOND", "DRIFTLINE_EPOCH_SECONDS"),
        ("DRIFTLINE_KAFAK_SASL_PASSWORD", "DRIFTLINE_KAFKA_SASL_PASSWORD"),
        ("DRIFTLINE_WEBHOK_URL", "DRIFTLINE_WEBHOOK_URL"),
    ],
)
def test_a_mistyped_variable_is_told_with_the_nearest_setting(name, near):
    assert warnings(name) == [f"{name} is not a setting and is ignored; did you mean {near}?"]


def test_a_variable_near_no_setting_is_told_with_where_they_are_listed():
    assert warnings("DRIFTLINE_COLOUR") == [
        "DRIFTLINE_COLOUR is not a setting and is ignored; docs/reference.md lists the settings"
    ]


def test_settings_and_the_variables_of_scripts_and_of_other_programs_are_no_mistakes():
    known = [s.name for s in SETTINGS if not s.name.endswith("*")]
    passed_on = ("KAFKA_SASL_PASSWORD", "KAFKA_HOME", "KAFKA_NODE", "WEBHOOK_ONCALL_URL", "TEST_KAFKA")
    assert warnings(*known, *(f"DRIFTLINE_{name}" for name in passed_on), "DRIFT", "PATH") == []


def test_a_secret_that_is_too_short_is_refused_with_the_command_that_makes_one():
    with pytest.raises(
        ConfigError, match=r"DRIFTLINE_SECRET must have at least 32 bytes, got 7; .*openssl rand"
    ):
        loaded(SECRET="hunter2")  # noqa: S106
    assert loaded(SECRET="s" * 32).secret == b"s" * 32


def test_a_former_secret_is_kept_beside_the_new_one_during_a_rotation():
    rotated = loaded(SECRET="new" * 11, FORMER_SECRET="old" * 11)
    assert (rotated.secret, rotated.former_secret) == (b"new" * 11, b"old" * 11)
    with pytest.raises(ConfigError, match="DRIFTLINE_FORMER_SECRET must have at least 32 bytes, got 7"):
        loaded(FORMER_SECRET="hunter2")  # noqa: S106


def test_large_models_go_to_the_state_directory_a_folder_of_the_project_or_a_url():
    assert loaded().artifacts == str(PROJECT / ".driftline" / "artifacts")
    assert loaded(ARTIFACTS="models").artifacts == str(PROJECT / "models")
    assert loaded(ARTIFACTS="/mnt/models").artifacts == "/mnt/models"
    assert loaded(ARTIFACTS="s3://bucket/models").artifacts == "s3://bucket/models"
