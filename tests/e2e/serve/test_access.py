"""Who may ask `driftline serve` what: tokens, scopes, limits, TLS, the audit log."""

import ssl
from collections.abc import Iterator

import httpx
import orjson
import pytest
from certificates import make_certificate
from harness import Project, wait_until
from made_flights import NOON, event_payload
from served import Server, serving

EVENTS = "/v1/flight_delays/events"
ASKED = {
    "origin": ["JFK"],
    "carrier": ["AA"],
    "route": ["JFK-LAX"],
    "tail_number": ["N1"],
    "minute_of_day": [1],
}


def create(project: Project, name: str, *scopes: str, more: tuple[str, ...] = ()) -> dict[str, str]:
    """Make a token by the command; return the header with it."""
    options = [part for scope in scopes for part in ("--scope", scope)]
    done = project.run("tokens", "create", name, *options, *more)
    assert done.returncode == 0, done.stderr
    return {"authorization": f"Bearer {done.stdout.strip()}"}


def audited(project: Project) -> list[dict]:
    file = project.directory / ".driftline" / "serve-audit.jsonl"
    return [orjson.loads(line) for line in file.read_text().splitlines()]


@pytest.fixture
def server(project: Project) -> Iterator[Server]:
    with serving(project) as running:
        yield running


def test_without_tokens_only_this_machine_is_answered_by_its_own_name(server):
    assert server.infer(ASKED).status_code == 200
    for host in ("localhost", "127.0.0.1:99", "[::1]:5"):
        assert server.get("/v2", headers={"host": host}).status_code == 200
    for host in ("example.org", "127.0.0.1.example.org:80", "[::1"):
        assert server.get("/v2", headers={"host": host}).status_code == 403
    refused = server.post("/v1/flight_delays/models/v1/promote", json={"reason": "x"})
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")


def test_a_token_allows_its_scopes_on_its_pipelines_until_it_is_revoked_or_expires(project, server):
    score = create(project, "scorer", "score")
    publish = create(project, "publisher", "publish", more=("--pipeline", "flight_delays"))
    brief = create(project, "brief", "score", more=("--days", "0.00001"))  # 0.9 s
    assert server.infer(ASKED).status_code == 401  # since there are tokens
    path, body = "/v2/models/flight_delays", event_payload("T1", NOON)
    assert server.get(path, headers=score).status_code == 200
    assert server.get("/v2", headers=publish).status_code == 200
    forbidden = server.post(EVENTS, json=body, headers=score)
    assert forbidden.status_code == 403
    assert "must have the scope 'publish' on pipeline 'flight_delays'" in forbidden.json()["error"]
    assert server.post(EVENTS, json=body, headers=publish).status_code == 202
    assert server.post("/v1/other/events", json=body, headers=publish).status_code == 403
    wait_until(lambda: server.get(path, headers=brief).status_code == 401)
    assert project.run("tokens", "revoke", "scorer").returncode == 0
    assert server.get(path, headers=score).status_code == 401
    for given in ("Bearer x", "Basic eDp5", "Bearer", ""):
        assert server.get(path, headers={"authorization": given}).status_code == 401
    assert server.get("/v2/health/live").status_code == 200


def test_only_hashes_are_stored_and_the_file_is_private(project):
    secret = create(project, "a", "read")["authorization"].split()[1]
    file = project.directory / ".driftline" / "tokens.json"
    assert secret not in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    (listed,) = orjson.loads(project.run("tokens", "list", "--json").stdout)
    assert (listed["name"], listed["scopes"], listed["expires"]) == ("a", ["read"], None)
    assert "read" in project.run("tokens", "list").stdout
    for arguments, said in (
        (("create", "a", "--scope", "read"), "NAME must be new, got 'a'"),
        (("create", "engine", "--scope", "read"), "must not be anonymous or engine, got 'engine'"),
        (("create", "a b", "--scope", "read"), "NAME must have 1 to 64 letters"),
        (("create", "b", "--scope", "write"), "--scope must be one of score, publish, read, operate"),
        (("create", "b", "--scope", "read", "--pipeline", "x"), "--pipeline must be one of flight_delays"),
        (("revoke", "b"), "NAME must be the name of a token (a), got 'b'"),
    ):
        refused = project.run("tokens", *arguments)
        assert refused.returncode == 2
        assert said in refused.stderr


def test_a_file_of_tokens_that_cannot_be_read_closes_the_server(project, server):
    token = create(project, "a", "score")
    file = project.directory / ".driftline" / "tokens.json"
    file.write_text("{")
    assert server.get("/v2", headers=token).status_code == 503
    assert server.get("/v2").status_code == 503


def test_refused_requests_are_in_the_audit_log_and_answers_have_security_headers(project, server):
    create(project, "a", "score")
    answer = server.get("/v2/models/flight_delays")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert "server" not in answer.headers
    (line,) = audited(project)
    assert {name: line[name] for name in ("method", "path", "status", "caller", "address")} == {
        "method": "GET",
        "path": "/v2/models/flight_delays",
        "status": 401,
        "caller": None,
        "address": "127.0.0.1",
    }


def test_a_page_of_another_site_gets_no_permission(server):
    origin = {"origin": "https://example.org", "access-control-request-method": "POST"}
    answer = server.client.options(EVENTS, headers=origin)
    assert answer.status_code in (401, 405)
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_a_body_beyond_the_limit_is_refused_also_without_its_length(project):
    with serving(project, SERVE_BODY=100) as server:
        body = orjson.dumps(event_payload("T1", NOON))
        headers = {"content-type": "application/json"}
        for content in (body, iter([body[:50], body[50:]])):
            answer = server.post(EVENTS, content=content, headers=headers)
            assert (answer.status_code, answer.json()) == (
                413,
                {"error": "the body must be at most 100 bytes"},
            )
    assert project.values("flights") == []


def test_a_caller_that_asks_too_often_is_told_when_to_ask_again(project):
    with serving(project, SERVE_RATE=5) as server:
        answers = [server.get("/v2/models/flight_delays") for _ in range(30)]
        refused = [answer for answer in answers if answer.status_code == 429]
        assert refused
        assert refused[0].headers["retry-after"] == "1"


def test_a_server_that_others_can_reach_needs_a_token(project):
    refused = project.with_settings(SERVE_HOST="0.0.0.0", SERVE_PORT=0).run("serve")  # noqa: S104
    assert refused.returncode == 2
    assert "make one with `driftline tokens create" in refused.stderr


def test_tls_is_spoken_with_the_certificate_of_the_settings(project, tmp_path):
    certificate, key = tmp_path / "server.pem", tmp_path / "server.key"
    make_certificate(certificate, key)
    half = project.with_settings(SERVE_CERTIFICATE=certificate).run("serve")
    assert half.returncode == 2
    assert "must both be set" in half.stderr
    swapped = project.with_settings(SERVE_CERTIFICATE=key, SERVE_KEY=certificate).run("serve")
    assert "must be PEM files" in swapped.stderr
    context = ssl.create_default_context(cafile=certificate)
    with serving(project, verify=context, SERVE_CERTIFICATE=certificate, SERVE_KEY=key) as server:
        assert server.url.startswith("https://")
        answer = server.get("/v2")
        assert answer.headers["strict-transport-security"] == "max-age=31536000"
        with pytest.raises(httpx.TransportError):
            httpx.get(server.url.replace("https", "http"), trust_env=False)
