"""The documentation is true: its tables, code, commands and links."""

import html
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, get_args

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
import yaml
from harness import free_port, wait_until
from standardwebhooks import Webhook, WebhookVerificationError

from flows import settings
from flows.adapters.kafka.broker import KafkaBroker
from flows.adapters.prometheus import metrics as telemetry
from flows.adapters.sqlite.log import LogBroker
from flows.cli.app import app
from flows.core.drift.signal import DriftSignal
from flows.core.features.plan import FUNCTIONS
from flows.core.stream.broker import Record, TopicPartition, TopicSpec, read_range
from flows.core.stream.dead_letter import REASONS
from flows.core.stream.fields import Field
from flows.runtime.project import load_project
from flows.runtime.runner import FLOWS, port_of
from flows.settings import SETTINGS

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "docs" / "examples").glob("*/README.md"))
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("*.md"))
HOW_TO = sorted((ROOT / "docs" / "how-to").glob("*.md"))
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
PAGES = [
    ROOT / "README.md",
    CONTRIBUTING,
    *sorted((ROOT / "docs").glob("*.md")),
    *HOW_TO,
    *DECISIONS,
    *EXAMPLES,
]
PIPELINE = ROOT / "docs" / "how-to" / "pipeline.md"
REFERENCE, ARCHITECTURE, GUARANTEES, RUNBOOK = (
    ROOT / "docs" / f"{name}.md" for name in ("reference", "architecture", "guarantees", "runbook")
)
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
BIN = Path(sys.executable).parent
WINDOWS = "tests/unit/core/features/windows/test_sliding.py"

HTTP = "http://127.0.0.1:8471"  # by default
SERVED = f"{HTTP}/v1/late_orders"
SHOP = "run by this file in the shop of the how-to"
WEBHOOKS = "run by tests/dataflow/alert/test_webhooks_command.py in a project of its own"
LETTERS = "run by tests/dataflow/data/test_dead_letters_command.py in a project of its own"
MIRROR = "run by tests/dataflow/models/test_mlflow_export.py with a server of its own"
MODELS = "run by tests/dataflow/models/test_models_command.py in a project of its own"
ONNX = "run by tests/dataflow/models/test_onnx_export.py in a project of its own"
RIVALS = "run by tests/dataflow/models/test_rivals.py in a project of its own"
GATE = "run by tests/dataflow/models/test_gate.py in a project of its own"
RULES = "run by tests/e2e/monitoring"
MLFLOW = "run by tests/dataflow/models/test_mlflow_export.py with a server of its own"
EDGE = "run by tests/dataflow/edge/test_edge_command.py with another port and client"
FORWARDING = "run by tests/dataflow/edge/test_forwarding.py with another port"
OVER_TLS = "tests/dataflow/edge/test_forwarding.py runs it on loopback, with a certificate of its own"
WITH_OUTBOX = "python driftline-edge late-orders --outbox outbox.db"
CARDS = "run by tests/e2e/commands/test_several_pipelines.py with a smaller file"
HOSTS = "run by tests/e2e/kafka/test_cluster.py in two network namespaces"
CREATE = "tokens create ada --scope read --scope operate"
CONTAINERS = "needs a Docker engine; the file is read by tests below"
# Every command of the documentation, and what runs it.
CHANGES = "run by tests/dataflow/models/test_commands.py, with other versions and reasons"
COMMANDS = {
    "scripts/demo": "the picture's summary, docs/demo.json, is its output",
    "scripts/test": "runs this very test",
    "scripts/test unit": "the same, one lane",
    "scripts/check": "run by .ci/run",
    "scripts/docs": "run by .ci/run",
    f".venv/bin/python -m pytest {WINDOWS} -k full_recomputation": "run by scripts/test",
    "scripts/bench drift": "the tables of docs/drift.md are its output",
    "scripts/bench outliers": "the table of docs/drift.md is its output, with fewer cases",
    "scripts/bench contest-blocks": "a table of docs/retraining.md is its output",
    "scripts/bench retraining": "the tables of docs/retraining.md are its output",
    "scripts/bench search": "too long for a test: a year of flights",
    "scripts/bench search card_transactions.parquet": "the file is not in the repository",
    "scripts/bench wrong-promotions": "run by tests/unit/scripts/benchmarks/retraining with fewer streams",
    "scripts/chaos": "the table of docs/guarantees.md is its output, with fewer events and kills",
    "scripts/chaos models": "the table of docs/guarantees.md is its output",
    "scripts/chaos serve": "tests/e2e/kills/test_serve_kills.py",
    "scripts/kafka start": "tests/conftest.py starts its nodes so",
    "docker compose up --wait": CONTAINERS,
    f"docker compose run --rm --build --no-deps apply {CREATE}": CONTAINERS,
    "driftline run predict --processes 4": "run by tests/e2e/kafka/test_cluster.py with 2 and 3",
    "python -m flows.runtime.runner predict --process 0 --addresses 10.0.0.1:2101 10.0.0.2:2101": HOSTS,
    "python -m flows.runtime.runner predict --process 1 --addresses 10.0.0.1:2101 10.0.0.2:2101": HOSTS,
    "promtool check config prometheus.yml": RULES,
    "promtool check rules --lint=all --lint-fatal recording.yml alerts.yml": RULES,
    "amtool check-config alertmanager.yml": RULES,
    "prometheus --config.file=prometheus.yml --web.listen-address=127.0.0.1:9090": RULES
    + ", on another port",
    "driftline --help": SHOP,
    "driftline apply": SHOP,
    "driftline backtest": SHOP,
    "driftline backtest --events 2000 --json": SHOP,
    "driftline run": SHOP,
    "driftline publish": SHOP + ", with fewer events",
    "driftline publish --events 2000": SHOP,
    "driftline publish --speed-up 3600": SHOP + ", faster",
    "driftline publish order.jsonl": SHOP,
    "driftline tail predictions": SHOP + ", from the start",
    "driftline tail predictions --from-start -n 1": SHOP,
    "driftline dead-letters list": SHOP,
    "driftline dead-letters show 0/17": LETTERS,
    "driftline dead-letters show 0/17 --raw > record.bin": LETTERS,
    "driftline dead-letters replay --reason model": LETTERS,
    "driftline topics": SHOP,
    "driftline verify features": SHOP,
    "driftline models list": MODELS,
    "driftline models show champion": MODELS,
    "driftline models mirror --out http://127.0.0.1:5000": MIRROR,
    "driftline models show v2-fresh --json": MODELS,
    "driftline models reproduce v2-fresh": "run by tests/dataflow/models/test_reproduction.py",
    "driftline models history": CHANGES,
    "driftline models history --verify": CHANGES,
    'driftline models promote v2 --reason "reviewed by the fraud team"': CHANGES,
    "driftline models promote v2 --dry-run": RIVALS,
    "driftline models compare champion challenger": RIVALS,
    "driftline models gate gates.toml": GATE,
    "driftline models gate gates.toml --json": GATE,
    "driftline models compare previous champion --json": RIVALS + ", with other versions",
    'driftline models rollback --reason "too many false alarms"': CHANGES,
    'driftline models rollback v1 --reason "too many false alarms" --learning frozen': CHANGES,
    'driftline models freeze --reason "the labels are wrong today"': CHANGES,
    'driftline models unfreeze --reason "the labels are right again"': CHANGES,
    'driftline models retrain --reason "a new pattern of fraud"': CHANGES,
    'driftline models retire v2 --reason "trained on broken data"': CHANGES,
    "driftline models card champion": MODELS,
    "driftline models card v2-fresh --out model-card.md": MODELS,
    "driftline models export champion --to onnx --out model.onnx": ONNX,
    "driftline models export champion --to mlflow --out http://127.0.0.1:5000": MLFLOW,
    "driftline models export models:/flight_delays@champion --to bom --out model.cdx.json": MODELS,
    "driftline webhooks test": WEBHOOKS,
    "driftline webhooks replay --since 2025-02-01T00:00:00Z": WEBHOOKS,
    "driftline backtest card_fraud --data card_transactions.parquet": CARDS,
    "driftline run --pipeline card_fraud": CARDS,
    "driftline publish --pipeline card_fraud --data card_transactions.parquet": CARDS,
    "python write_staff.py": SHOP + ", with -m long",
    "driftline serve": SHOP,
    f"curl --json @order.jsonl '{SERVED}/events?wait=5'": SHOP,
    f"curl -H 'Content-Type: application/x-ndjson' --data-binary @labels.jsonl {SERVED}/labels": SHOP,
    f"curl {SERVED}/predictions/A-4711": SHOP,
    f"curl {SERVED}/predictions/A-4711/explanation": SHOP,
    f"curl --json @infer.json {HTTP}/v2/models/late_orders/infer": SHOP,
    f"curl -N '{SERVED}/streams/predictions?from=start'": SHOP + ", for three seconds",
    f"driftline {CREATE}": SHOP,
    f'curl -H "Authorization: Bearer $TOKEN" --json @reason.json {SERVED}/models/freeze': SHOP,
    f'curl -H "Authorization: Bearer $TOKEN" --json @reason.json {SERVED}/models/unfreeze': SHOP,
    "driftline tokens create shop --scope publish --scope read --pipeline late_orders --days 90": SHOP,
    "driftline tokens list": SHOP,
    "driftline tokens revoke shop": SHOP,
    "driftline backfill": SHOP,
    "driftline backfill --seed": SHOP,
    "driftline backfill parcels=parcels.parquet orders=orders.parquet --seed": SHOP,
    "driftline explain A-4711": SHOP,
    "driftline explain A-4711 --top 2 --json": SHOP,
    "driftline score orders --out scores.parquet": SHOP,
    "driftline score tonight.parquet --version v1 --out tonight-scores.parquet": SHOP,
    "driftline score orders --processes 2 --out scores.parquet": SHOP,
    "driftline export edge champion --out late-orders": SHOP,
    "driftline export runtime --out driftline-edge": SHOP,
    "python driftline-edge late-orders < events.jsonl": SHOP,
    "python driftline-edge late-orders --http 8085": EDGE,
    "curl --data-binary @events.jsonl http://127.0.0.1:8085/score": EDGE,
    "driftline collect --port 9480": FORWARDING,
    "driftline tokens create devices --scope publish": OVER_TLS,
    "DRIFTLINE_SERVE_CERTIFICATE=server.pem DRIFTLINE_SERVE_KEY=server.key driftline collect --host 0.0.0.0": OVER_TLS,  # noqa: E501
    f"{WITH_OUTBOX} --forward https://log.example.org:9480/ --token-file collector.token": OVER_TLS,
    f"{WITH_OUTBOX} --forward http://127.0.0.1:9480/ < events.jsonl": FORWARDING,
    "driftline training-set training.parquet": SHOP,
    "driftline training-set training.parquet --through-feast": SHOP,
}


class Block(NamedTuple):
    page: Path
    language: str
    title: str
    body: str


def blocks() -> list[Block]:
    fence = re.compile(r"^```(\w+)(?: title=(\S+))?\n(.*?)^```$", re.DOTALL | re.MULTILINE)
    return [Block(page, *found) for page in PAGES for found in fence.findall(page.read_text())]


def files() -> dict[str, str]:
    """Return the blocks with a title, which are whole files."""
    return {block.title: block.body for block in blocks() if block.title}


def table(page: Path, name: str) -> list[list[str]]:
    """Return the rows, without the head, of the table between the comments with this name."""
    text = page.read_text()
    part = text[text.index(f"<!-- {name}: checked") : text.index(f"<!-- {name}: end -->")]
    return [[cell.strip() for cell in row.split("|")[1:-1]] for row in part.splitlines()[3:]]


def code(name: str) -> str:
    return f"`{name}`" if name else ""


@pytest.mark.parametrize("page", [ROOT / "README.md", REFERENCE], ids=lambda page: page.stem)
def test_the_settings_are_those_of_the_code(page):
    assert table(page, "settings") == [[code(s.name), code(s.default), s.meaning] for s in SETTINGS]


def test_the_metrics_are_those_of_the_registry():
    documented = {row[0].strip("`"): row[1:] for row in table(REFERENCE, "metrics")}
    exposed = {}
    for family in telemetry.REGISTRY.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        if name.startswith("driftline_"):
            exposed[name] = [family.type, family.documentation]
    assert {name: [kind, meaning] for name, (kind, _, meaning) in documented.items()} == exposed


def test_the_labels_of_the_metrics_are_those_of_the_registry():
    documented = {row[0].strip("`"): re.findall(r"`(\w+)`", row[2]) for row in table(REFERENCE, "metrics")}
    metrics = [value for value in vars(telemetry).values() if hasattr(value, "_labelnames")]
    assert metrics
    for metric in metrics:
        name = f"{metric._name}_total" if metric._type == "counter" else metric._name
        assert documented[name] == list(metric._labelnames)


def test_the_commands_and_options_are_those_of_the_command():
    group = typer.main.get_command(app)
    commands = dict(group.commands)
    for parent in ("verify", "webhooks", "dead-letters", "models", "export", "tokens"):
        commands |= {f"{parent} {name}": each for name, each in commands.pop(parent).commands.items()}
    real = {
        name: {option for parameter in command.params for option in parameter.opts}
        for name, command in commands.items()
    }
    rows = table(REFERENCE, "command")
    assert {name.strip("`"): set(re.findall(r"`([^`]+)`", options)) for name, options, _ in rows} == real


def test_the_reasons_of_dead_letters_are_those_of_the_code():
    assert [row[0].strip("`") for row in table(REFERENCE, "reasons")] == list(REASONS)


def test_the_functions_of_features_are_those_of_the_code():
    sentence = re.search(r"the functions ([^;]*);", PIPELINE.read_text())
    assert sentence
    assert set(re.findall(r"`([a-z_]+)`", sentence[1])) == set(FUNCTIONS)


@pytest.mark.parametrize(
    "page", [CONTRIBUTING, ARCHITECTURE, GUARANTEES, RUNBOOK, *DECISIONS], ids=lambda page: page.stem
)
def test_each_test_that_a_page_names_exists(page):
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", page.read_text())
    assert named or page.stem == "index"
    for file, name in named:
        assert f"def {name}" in (ROOT / file).read_text(), f"{file}::{name}"


def test_where_to_find_a_thing_is_a_path_that_exists():
    paths = [path.strip("`") for _, path in table(ARCHITECTURE, "where")]
    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_the_layout_names_every_folder_and_each_module_beside_them():
    tree = next(b.body for b in blocks() if b.page == ARCHITECTURE and b.body.startswith("flows/\n"))
    named: set[str] = set()
    folders: list[str] = []
    for indent, names in re.findall(r"^( *)((?:[\w.]+(?:/|\.py) *)+)", tree, re.MULTILINE):
        for name in names.split():
            folders[len(indent) // 2 :] = [name.rstrip("/")]
            named.add("/".join(folders))
    packages = {str(p.parent.relative_to(ROOT)) for p in (ROOT / "flows").rglob("__init__.py")}
    modules = {
        f"{folder}/{p.name}" for folder in ("flows", "flows/core") for p in (ROOT / folder).glob("*.py")
    }
    assert named == packages | modules - {"flows/core/__init__.py"}


def test_the_site_has_every_page_in_its_navigation():
    def places(entries):
        for entry in entries:
            value = entry if isinstance(entry, str) else next(iter(entry.values()))
            yield from places(value) if isinstance(value, list) else [value]

    docs = ROOT / "docs"
    pages = [str(page.relative_to(docs)) for page in PAGES if page.is_relative_to(docs)]
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    assert sorted(places(site["nav"])) == sorted([*pages, "index.md", "contributing.md", "changelog.md"])


def test_the_decisions_are_short_and_in_their_index():
    index = (ROOT / "docs" / "decisions" / "index.md").read_text()
    for record in DECISIONS:
        assert len(record.read_text().splitlines()) <= 40
        assert record.stem == "index" or f"({record.name})" in index


def test_a_file_shown_on_two_pages_is_the_same_on_both():
    for block in blocks():
        assert not block.title or files()[block.title] == block.body, (block.page.name, block.title)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        path, _, anchor = target.partition("#")
        if path.startswith("https://"):
            continue
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        if anchor:
            heads = re.findall(r"^#+ (.*)$", linked.read_text(), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w\- ]", "", h).lower().replace(" ", "-") for h in heads], target


def test_every_command_of_the_pages_is_accounted_for():
    lines = [line for b in blocks() if b.language == "sh" for line in b.body.splitlines()]
    assert {line for line in lines if not line.startswith("export ")} == set(COMMANDS)


def test_every_variable_that_the_pages_export_is_a_setting():
    names = {
        re.match(r"export (\w+)=", line)[1]
        for b in blocks()
        for line in re.findall(r"^export .*", b.body, re.M)
    }  # type: ignore[index]
    families = ("DRIFTLINE_KAFKA_", "DRIFTLINE_WEBHOOK_ONCALL_")
    assert names - {s.name for s in SETTINGS} == {n for n in names if n.startswith(families)}


def test_the_webhook_of_the_how_to_is_one(tmp_path):
    (block,) = [b for b in blocks() if "WEBHOOK_ONCALL_URL" in b.body]
    lines = [line.removeprefix("export ") for line in block.body.splitlines() if line.startswith("export ")]
    (webhook,) = settings.load_settings(tmp_path, dict(line.split("=", 1) for line in lines)).webhooks
    assert (webhook.name, webhook.url, webhook.format) == (
        "oncall",
        "https://example.org/pager",
        "alertmanager",
    )
    assert (webhook.pipelines, webhook.severities) == ({"late_orders"}, {"critical"})


def test_every_python_block_is_a_whole_file_that_a_test_runs():
    titles = {block.title for block in blocks() if block.language == "python"}
    assert titles == {
        "late_orders.py",
        "orders_data.py",
        "feature_repo/warehouses.py",
        "read_features.py",
        "feature_repo/staff.py",
        "write_staff.py",
        "payments.py",
        "publish_order.py",
        "read_predictions.py",
        "verify_webhook.py",
    }


def test_the_fields_are_those_of_the_code():
    declared = [
        [code(kind.__name__), ", ".join(code(f"{f.name}={f.default!r}") for f in fields(kind))]
        for kind in get_args(Field)
    ]
    assert [row[:2] for row in table(REFERENCE, "fields")] == declared


@pytest.mark.parametrize("paid_at", [1735725600, 1735725600.0, "2025-01-01T10:00:00Z"])
def test_the_topic_as_it_is_of_the_how_to_is_read(paid_at):
    made: dict = {}
    exec(files()["payments.py"], made)  # noqa: S102  of the page
    row = {"payment": 4711, "created_s": paid_at, "customer": 17, "is_new": "Y", "amount": 9.5}
    record = Record("payments", 0, 0, 1735725600000, None, orjson.dumps(row), ())
    decoded = made["payments"].decoder({"customer": "integer"}).decode(record)
    assert (decoded.id, decoded.time) == ("4711", 1735725600000)
    assert (decoded.payload["customer"], decoded.payload["is_new"]) == (17, True)


def test_the_kafka_options_of_the_how_to_reach_the_clients(tmp_path):
    (block,) = [b for b in blocks() if "SASL_MECHANISM" in b.body]
    environment = dict(line.removeprefix("export ").split("=", 1) for line in block.body.splitlines())
    options = settings.load_settings(tmp_path, environment).kafka_options
    assert options == {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "driftline",
        "sasl.password": "...",
        "ssl.ca.location": "/etc/ssl/certs/ca-certificates.crt",
    }
    # librdkafka refuses options that it does not know; nobody listens there
    KafkaBroker("127.0.0.1:9", {n: v for n, v in options.items() if n != "ssl.ca.location"}).close()


def test_the_documented_drift_signal_is_one():
    (example,) = [b.body for b in blocks() if b.language == "json" and "specversion" in b.body]
    signal = DriftSignal.from_json(example.encode())
    assert orjson.loads(signal.to_json()) == orjson.loads(example)


def test_the_webhook_example_verifies_what_is_signed_and_refuses_the_rest(monkeypatch):
    secret = "whsec_" + "MDEy" * 8
    monkeypatch.setenv("DRIFTLINE_WEBHOOK_SECRET", secret)
    example: dict[str, object] = {}
    exec(files()["verify_webhook.py"], example)  # noqa: S102 (our own documentation)
    now, body = datetime.now(UTC), '{"id": "drift_1"}'
    headers = {
        "webhook-id": "drift_1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign("drift_1", now, body),
    }
    assert example["drift"](body.encode(), headers) == {"id": "drift_1"}  # type: ignore[operator]
    with pytest.raises(WebhookVerificationError):
        example["drift"](b'{"id": "drift_2"}', headers)  # type: ignore[operator]


def test_the_picture_shows_the_summary_beside_it():
    from scripts.tools.picture import picture

    drawn = picture((ROOT / "docs" / "demo.json").read_bytes())
    assert shown_text(drawn) == shown_text((ROOT / "docs" / "demo.svg").read_text())
    assert "url(http" not in drawn.replace('"', "")


def shown_text(svg: str) -> list[str]:
    return [html.unescape(text) for text in re.findall(r"<text[^>]*>(.*?)</text>", svg)]


# The Compose file


def test_the_five_flows_run_in_containers_after_apply():
    for flow in FLOWS:
        service = COMPOSE["services"][flow]
        assert service["command"] == ["run", flow]
        assert service["depends_on"] == {"apply": {"condition": "service_completed_successfully"}}
    needs = COMPOSE["services"]["apply"]["depends_on"]
    assert needs == {name: {"condition": "service_healthy"} for name in ("kafka", "redis")}


def test_every_lasting_container_has_a_health_check_and_a_flows_own_port():
    for name, service in COMPOSE["services"].items():
        assert ("healthcheck" in service) == (name != "apply")
    for port, flow in enumerate(FLOWS, 9464):
        service = COMPOSE["services"][flow]
        assert service["ports"] == [f"127.0.0.1:{port}:{port}"]
        assert f"http://127.0.0.1:{port}/readyz" in service["healthcheck"]["test"][-1]


def test_the_server_runs_in_a_container_beside_the_flows_and_asks_for_the_tokens_in_their_volume():
    service, flow = COMPOSE["services"]["serve"], COMPOSE["services"]["predict"]
    assert service["command"] == ["serve"]
    assert "http://127.0.0.1:8471/v2/health/ready" in service["healthcheck"]["test"][-1]
    assert service["ports"] == ["127.0.0.1:8471:8471"]
    for shared in ("image", "volumes", "depends_on", "restart"):
        assert service[shared] == flow[shared]
    own = service["environment"].items() - flow["environment"].items()
    # on all addresses the server does not start without a token
    assert own == {("DRIFTLINE_SERVE_HOST", "0.0.0.0"), ("DRIFTLINE_FLOWS_HOST", "{flow}")}  # noqa: S104
    given = {name: str(value) for name, value in service["environment"].items() if "$" not in str(value)}
    chosen = settings.load_settings(Path("/project"), given)
    (volume,) = service["volumes"]
    assert str(chosen.tokens) == f"{volume.partition(':')[2]}/tokens.json"
    assert chosen.serve_port == 8471
    for flow in FLOWS:
        port = port_of(chosen.http_port, flow, 0)
        assert COMPOSE["services"][chosen.host_of(flow)]["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert "[flights,serve]" in (ROOT / "Dockerfile").read_text()


def test_the_health_checks_of_containers_are_python_that_fails_where_nothing_listens():
    for name in (*FLOWS, "serve"):
        how, *command = COMPOSE["services"][name]["healthcheck"]["test"]
        assert how == "CMD"
        script = command[-1].replace("127.0.0.1", "127.0.0.77")  # nobody listens there
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
        assert done.returncode == 1
        assert "Connection refused" in done.stderr


def test_no_container_has_capabilities_or_gains_privileges_or_writes_to_its_root_file_system():
    for service in COMPOSE["services"].values():
        assert (service["cap_drop"], service["security_opt"]) == (["ALL"], ["no-new-privileges:true"])
        assert service["read_only"]
        assert "/tmp" in service["tmpfs"]  # noqa: S108


def test_ports_are_published_on_loopback_only():
    ports = [port for service in COMPOSE["services"].values() for port in service.get("ports", ())]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_containers_get_known_settings_and_no_secret_is_in_the_file():
    for service in (*FLOWS, "serve"):
        environment = COMPOSE["services"][service]["environment"]
        assert environment.keys() <= {s.name for s in SETTINGS}
        for name, value in environment.items():
            assert "SECRET" not in name or value.startswith("${" + name)


def test_prometheus_scrapes_every_flow():
    (job,) = yaml.safe_load((ROOT / "docs" / "examples" / "prometheus" / "prometheus.yml").read_text())[
        "scrape_configs"
    ]
    assert job["static_configs"] == [{"targets": [f"{f}:{9464 + n}" for n, f in enumerate(FLOWS)]}]


def test_the_image_gets_only_files_that_are_there_and_not_ignored():
    copied = re.findall(r"^COPY (.*) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    names = {name for line in copied for name in line.split()}
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert names
    for name in names:
        assert (ROOT / name).exists()
        assert f"!{name}" in ignored


# The shop of the how-to, from its first command to its last


class Shop(NamedTuple):
    directory: Path
    environment: dict[str, str]

    def run(self, command: str, **variables: str) -> str:
        """Return the output of the command; fail with its standard error if it fails."""
        program, *arguments = shlex.split(command)
        done = subprocess.run(
            [BIN / program, *arguments],
            cwd=self.directory,
            env=self.environment | variables,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def lines(self, command: str) -> list[Any]:
        return [orjson.loads(line) for line in self.run(command).splitlines()]

    def records(self, kind: str) -> list[Any]:
        """Return the values on one of the pipeline's own topics of the embedded log."""
        with closing(self._log()) as log:
            partition = TopicPartition(f"late_orders.{kind}", 0)
            end = log.offsets(partition.topic)[0][1]
            batches = read_range(log, partition, 0, end)
            return [orjson.loads(record.value or b"") for records in batches for record in records]

    def is_read(self, flow: str, kind: str) -> bool:
        """Return whether the flow has read the whole topic."""
        topic = f"late_orders.{kind}"
        with closing(self._log()) as log:
            return log.committed(f"driftline.late_orders.{flow}", topic).get(0, 0) == log.offsets(topic)[0][1]

    def _log(self) -> LogBroker:
        return LogBroker(self.directory / ".driftline" / "log.db")

    def start(self, command: str, **variables: str) -> subprocess.Popen[bytes]:
        program, *arguments = shlex.split(command)
        with (self.directory / "run.log").open("ab") as log:
            return subprocess.Popen(
                [BIN / program, *arguments],
                cwd=self.directory,
                env=self.environment | variables,
                stdout=log,
                stderr=log,
            )


def applied_shop(directory: Path, service: str = "late_orders") -> Shop:
    """Return the how-to's project with this feature service, after `driftline apply`."""
    for title, body in files().items():
        (directory / title).parent.mkdir(exist_ok=True)
        (directory / title).write_text(body.replace('service="late_orders"', f'service="{service}"'))
    environment = {n: v for n, v in os.environ.items() if not n.startswith("DRIFTLINE_")}
    quick = {"DRIFTLINE_HTTP_PORT": "0", "DRIFTLINE_MODEL_SECONDS": "0.02"}  # a replay waits for models
    shop = Shop(directory, environment | quick)
    shop.run("driftline apply")
    return shop


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Return the how-to's project, after `driftline apply`."""
    return applied_shop(tmp_path_factory.mktemp("shop"))


@pytest.fixture
def running(shop: Shop) -> Iterator[subprocess.Popen[bytes]]:
    process = shop.start("driftline run")
    yield process
    if process.poll() is None:
        process.terminate()
        process.wait(60)


def test_the_backtest_of_the_how_to_beats_its_baselines(shop):
    assert "late_orders: 5,000 events, 5,000 labels, 0 dead letters" in shop.run("driftline backtest")
    summary = orjson.loads(shop.run("driftline backtest --events 2000 --json"))
    assert summary["events"] == 2000
    losses = {name: metrics["LogLoss"] for name, metrics in summary["metrics"].items()}
    assert losses["model"] < min(losses["majority"], losses["no-change"])
    assert "late_orders" in (shop.directory / "backtest-late_orders.html").read_text()


def test_the_shop_runs_as_the_how_to_says(shop, running):
    assert "apply" in shop.run("driftline --help")
    shop.run("driftline publish --events 2000")
    shop.run("driftline publish --speed-up 1e9 --events 10")  # they come again, and are not answered again
    shop.run("driftline publish order.jsonl")
    wait_until(lambda: len(shop.records("predictions")) == 2001, 60)
    assert shop.records("predictions")[-1]["id"] == "A-4711"
    assert "late_orders.predictions" in shop.run("driftline topics")

    (first,) = shop.lines("driftline tail predictions --from-start -n 1 --json")
    assert first["value"]["features"].keys() == {
        "items",
        "warehouse_parcels__count_24h",
        "warehouse_parcels__mean_hours_24h",
    }
    assert "duplicate" in shop.run("driftline dead-letters list")  # orders and parcels came twice

    documented = [
        orjson.loads(b.body).keys() for b in blocks() if b.page == REFERENCE and b.language == "json"
    ]
    for kind in ("predictions", "features", "models", "metrics"):
        wait_until(lambda: bool(shop.records(kind)), 30)  # noqa: B023 (called at once)
        assert shop.records(kind)[0].keys() in documented

    wait_until(lambda: all(shop.is_read("materialize", kind) for kind in ("features", "predictions")), 30)
    assert "'warehouse': ['north']" in shop.run("python read_features.py")
    wait_until(lambda: shop.is_read("materialize", "predictions"), 30)
    table = shop.run("driftline verify features")
    assert "warehouse_parcels" in table
    assert table.count("2,001") == 3  # rows, equal, equal in Feast
    running.send_signal(signal.SIGTERM)
    assert running.wait(60) == 0, (shop.directory / "run.log").read_text()

    assert "exact over all coalitions of features" in shop.run("driftline explain A-4711")
    explained = orjson.loads(shop.run("driftline explain A-4711 --top 2 --json"))
    assert explained["explained_with"] == {"learned": explained["learned"], "reproduced": True}
    for command in (
        "driftline training-set training.parquet",
        "driftline training-set training.parquet --through-feast",
    ):
        assert shop.run(command) == "2,000 rows; predictions left out: 1 without a label\n"
    rows = "2,001 rows by v1 after 2,000 labels; events without a score: 10 duplicate\n"
    assert shop.run("driftline score orders --out scores.parquet") == rows
    scores = pq.read_table(shop.directory / "scores.parquet")
    assert shop.run("driftline score orders --processes 2 --out scores.parquet") == rows
    assert pq.read_table(shop.directory / "scores.parquet").equals(scores)
    tonight = [orjson.loads(line) for line in (shop.directory / "order.jsonl").read_text().splitlines()]
    pq.write_table(pa.Table.from_pylist(tonight), shop.directory / "tonight.parquet")
    said = shop.run("driftline score tonight.parquet --version v1 --out tonight-scores.parquet")
    assert said == "1 rows by v1 after 2,000 labels; events without a score: none\n"
    (row,) = pq.read_table(shop.directory / "tonight-scores.parquet").to_pylist()
    assert row in scores.to_pylist()
    said = shop.run("driftline export edge champion --out late-orders")
    assert "late_orders v1 after 2,000 labels: late-orders has" in said
    shop.run("driftline export runtime --out driftline-edge")
    with (shop.directory / "events.jsonl").open() as stdin:
        command = [sys.executable, "-I", "-S", "driftline-edge", "late-orders"]
        done = subprocess.run(command, cwd=shop.directory, stdin=stdin, capture_output=True, timeout=60)
    answer = orjson.loads(done.stdout)
    assert (answer["id"], answer["model"], answer["learned"]) == ("A-4711", "v1", 2000)
    assert 0 < answer["score"] < 1
    assert shop.run("driftline backfill").startswith("4,021 records, 20 dead letters (20 duplicate), ")


def test_the_server_answers_as_the_how_to_says(shop, running):
    assert running.poll() is None
    port = free_port()
    server = shop.start("driftline serve", DRIFTLINE_SERVE_PORT=str(port))

    def curl(part: str, *more: str, **variables: str) -> str:
        """Run the one curl command of the page with this part, with the port of this test."""
        (command,) = [
            line for line in COMMANDS if line.startswith("curl") and line.rstrip("'").endswith(part)
        ]
        for name, value in variables.items():
            command = command.replace(f"${name}", value)
        command = command.replace(HTTP, f"http://127.0.0.1:{port}")
        words = [*shlex.split(command), "--silent", *more]
        return subprocess.run(words, cwd=shop.directory, capture_output=True, text=True, timeout=60).stdout

    try:
        wait_until(lambda: '"score"' in curl("events?wait=5"), 60)
        assert orjson.loads(curl("A-4711"))["id"] == "A-4711"
        assert "contributions" in orjson.loads(curl("explanation"))
        assert orjson.loads(curl("labels"))["status"] in ("published", "known")
        answer = orjson.loads(curl("infer"))
        assert [each["name"] for each in answer["outputs"]] == ["score", "label", "features_as_of"]
        stream = curl("from=start", "--max-time", "3")
        first = next(line for line in stream.splitlines() if line.startswith("data: "))
        assert orjson.loads(first.removeprefix("data: "))["model"]
        token = shop.run("driftline tokens create ada --scope read --scope operate").strip()
        for action, change in (("freeze", "frozen"), ("unfreeze", "unfrozen")):
            (entry,) = orjson.loads(curl(f"models/{action}", TOKEN=token))["entries"]
            assert (entry["change"], entry["who"]) == (change, "ada")
        shop.run("driftline tokens create shop --scope publish --scope read --pipeline late_orders --days 90")
        assert "publish read" in shop.run("driftline tokens list")
        shop.run("driftline tokens revoke shop")
    finally:
        server.terminate()
        assert server.wait(60) == 0


def test_the_shop_starts_warm_from_its_topics_and_from_files(shop):
    topics = {"DRIFTLINE_STATE_DIR": ".warm"}
    shop.run("driftline apply", **topics)
    shop.run("driftline publish --events 200 --speed-up 1e12", **topics)
    assert shop.run("driftline backfill --seed", **topics).startswith("400 records, 0 dead letters, ")

    files = {"DRIFTLINE_STATE_DIR": ".warm-from-files"}
    shop.run("driftline apply", **files)
    made: dict[str, Any] = {}
    exec((shop.directory / "orders_data.py").read_text(), made)  # noqa: S102 (our own documentation)
    for topic in ("parcels", "orders"):
        rows = [orjson.loads(record.value) for record in made["records"](200) if record.topic == topic]
        pq.write_table(pa.Table.from_pylist(rows), shop.directory / f"{topic}.parquet")
    said = shop.run("driftline backfill parcels=parcels.parquet orders=orders.parquet --seed", **files)
    assert said.startswith("400 records, 0 dead letters, ")
    for state in (".warm", ".warm-from-files"):
        assert (shop.directory / state / "state" / "late_orders" / "seed.db").exists()


@pytest.mark.long
def test_the_table_of_the_how_to_is_served_and_backtested(tmp_path):
    staffed = applied_shop(tmp_path, "late_orders_staffed")
    staffed.run("python write_staff.py")
    assert "200 events" in staffed.run("driftline backtest --events 200")
    flow = staffed.start("driftline run predict")
    try:
        staffed.run("driftline publish order.jsonl")
        wait_until(lambda: len(staffed.records("predictions")) == 1, 120)  # such a flow imports Feast
    finally:
        flow.terminate()
        assert flow.wait(60) == 0
    (tail,) = staffed.lines("driftline tail predictions --from-start -n 1 --json")
    assert tail["value"]["features"]["warehouse_staff__packers"] == 4


def test_an_order_of_a_plain_producer_is_answered_to_a_plain_consumer(shop, kafka):
    address = "127.0.0.1:9092"
    for name in ("publish_order.py", "read_predictions.py"):
        text = files()[name]
        assert address in text
        (shop.directory / name).write_text(text.replace(address, kafka))
    pipeline = load_project(shop.directory).pipeline()
    inputs = [stream.topic for stream in (pipeline.events, *pipeline.sources, pipeline.labels)]
    topics = [TopicSpec(topic) for topic in (*inputs, *pipeline.output_topics)]
    KafkaBroker(kafka, {}).create_topics(topics)

    variables = {"DRIFTLINE_BROKER": f"kafka://{kafka}", "DRIFTLINE_STATE_DIR": ".on-kafka"}
    plan = shop.directory / ".on-kafka" / "plans" / "late_orders.json"
    plan.parent.mkdir(parents=True)
    plan.write_bytes((shop.directory / ".driftline" / "plans" / "late_orders.json").read_bytes())
    flow = shop.start("driftline run predict", **variables)
    said = shop.directory / "predictions.txt"
    with said.open("w") as output:
        reader = subprocess.Popen([BIN / "python", "read_predictions.py"], cwd=shop.directory, stdout=output)
    try:
        shop.run("python publish_order.py")
        wait_until(lambda: said.read_text().startswith("A-4711 0.5 v1"), 60)
    finally:
        reader.kill()
        flow.terminate()
        reader.wait()
        assert flow.wait(60) == 0
