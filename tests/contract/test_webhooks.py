"""Webhook delivery against a real HTTP server on loopback that misbehaves on demand."""

import base64
import hashlib
import hmac
import logging
import shutil
import socket
import ssl
import subprocess
import threading
import time
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import certifi
import pytest

from flows.adapters.webhooks import Endpoint, Outcome, Retries, Sender, _is_public
from flows.errors import ConfigError

KEY = bytes(range(32))
SECRET = "whsec_" + base64.b64encode(KEY).decode()
BODY = b'{"specversion":"1.0","data":{"pipeline":"caf\xc3\xa9"}}'
NOW = 1_700_000_000.75


class Server:
    """Answers each request by the next entry of `script`: a status with headers, or "hang" or "cut"."""

    def __init__(self, *script, tls=None):
        self.script = list(script)
        self.requests = []
        self.arrived = threading.Condition()
        self.release = threading.Event()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = True
        if tls:
            self._http.socket = tls.wrap_socket(self._http.socket, server_side=True)
        self.port = self._http.server_address[1]
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.release.set()
        self._http.shutdown()
        self._http.server_close()

    def endpoint(self, host="127.0.0.1", path="/hook", scheme="http"):
        return Endpoint(f"{scheme}://{host}:{self.port}{path}", SECRET)

    def wait_for_requests(self, number):
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.requests) >= number, timeout=10)

    def _handler(server):  # noqa: N805 - the handler below has its own self
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                with server.arrived:
                    server.requests.append((self.path, self.headers, body))
                    server.arrived.notify_all()
                    action = server.script.pop(0)
                if action == "hang":
                    server.release.wait(30)
                elif action == "cut":
                    self.connection.shutdown(socket.SHUT_RDWR)
                else:
                    status, headers = action if isinstance(action, tuple) else (action, {})
                    self.send_response(status)
                    for name, value in headers.items():
                        self.send_header(name, value)
                    self.end_headers()

            def log_message(self, *_):
                pass

        return Handler


class Waits:
    """A stop that is never set and does not wait: it moves the clock."""

    def __init__(self):
        self.asked = []
        self.now = NOW

    def is_set(self):
        return False

    def wait(self, timeout):
        self.asked.append(timeout)
        self.now += timeout
        return False


def sender(waits, **options):
    options = {"allow_private": True, "timeout": 5.0, "jitter": lambda: 1.0} | options
    return Sender(waits, clock=lambda: waits.now, **options)


def deliver(to, waits, **options):
    one = sender(waits, **options)
    try:
        return one.deliver(to, "drift_1", BODY, "application/cloudevents+json")
    finally:
        one.close()


def signature_by_the_specification(key, webhook_id, timestamp, body):
    signed = webhook_id.encode() + b"." + timestamp.encode() + b"." + body
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def test_the_endpoint_gets_the_body_signed_as_the_specification_says():
    with Server(200) as server:
        assert deliver(server.endpoint(path="/hook?a=1"), Waits()) == Outcome("delivered", 1, "answered 200")
    [(path, headers, body)] = server.requests
    assert (path, body) == ("/hook?a=1", BODY)
    assert headers["host"] == f"127.0.0.1:{server.port}"
    assert headers["content-type"] == "application/cloudevents+json"
    assert headers["webhook-id"] == "drift_1"
    assert headers["webhook-timestamp"] == "1700000000"
    expected = signature_by_the_specification(KEY, "drift_1", "1700000000", BODY)
    assert headers["webhook-signature"] == expected


def test_the_signature_is_that_of_the_reference_implementations_test_vector():
    waits = Waits()
    waits.now = 1614265330
    with Server(204) as server:
        url = server.endpoint().url
        one = sender(waits)
        one.deliver(
            Endpoint(url, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            b'{"test": 2432232314}',
            "application/json",
        )
        one.close()
    expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert server.requests[0][1]["webhook-signature"] == expected


def test_failures_are_retried_with_growing_waits_until_it_succeeds():
    waits = Waits()
    with Server(500, "cut", "hang", 502, 201) as server:
        outcome = deliver(server.endpoint(), waits, timeout=0.2)
    assert outcome == Outcome("delivered", 5, "answered 201")
    assert waits.asked == [1.0, 2.0, 4.0, 8.0]


def test_each_attempt_has_the_same_id_and_a_signature_of_its_own_time():
    waits = Waits()
    with Server(500, 500, 200) as server:
        deliver(server.endpoint(), waits)
    assert [headers["webhook-id"] for _, headers, _ in server.requests] == ["drift_1"] * 3
    stamps = [headers["webhook-timestamp"] for _, headers, _ in server.requests]
    assert stamps == ["1700000000", "1700000001", "1700000003"]
    for _, headers, body in server.requests:
        expected = signature_by_the_specification(KEY, "drift_1", headers["webhook-timestamp"], body)
        assert headers["webhook-signature"] == expected


def test_the_wait_is_jittered_from_nothing_to_the_full_backoff():
    for jitter in (0.0, 0.25):
        waits = Waits()
        with Server(500, 500, 500, 200) as server:
            deliver(server.endpoint(), waits, jitter=lambda jitter=jitter: jitter)
        assert waits.asked == [1 * jitter, 2 * jitter, 4 * jitter]


def test_a_redirect_is_a_failure_and_is_never_followed():
    with Server(200) as other:
        hop = (307, {"Location": f"http://127.0.0.1:{other.port}/elsewhere"})
        with Server(hop, hop) as server:
            outcome = deliver(server.endpoint(), Waits(), retries=Retries(attempts=2))
    assert (outcome.result, outcome.attempts) == ("failed", 2)
    assert outcome.detail.startswith("answered 307; redirects are not followed")
    assert other.requests == []


@pytest.mark.parametrize("status", [408, 425, 429, 503])
def test_an_endpoint_that_throttles_is_given_the_seconds_that_it_asks_for(status):
    waits = Waits()
    with Server((status, {"Retry-After": "17"}), 200) as server:
        assert deliver(server.endpoint(), waits).delivered
    assert waits.asked == [17.0]


def test_an_endpoint_that_throttles_is_given_until_the_date_that_it_names():
    waits = Waits()
    with Server((429, {"Retry-After": formatdate(1_700_000_042, usegmt=True)}), 200) as server:
        assert deliver(server.endpoint(), waits).delivered
    assert waits.asked == [pytest.approx(41.25)]


def test_no_endpoint_can_ask_for_more_than_the_longest_wait():
    waits = Waits()
    later = (503, {"Retry-After": formatdate(NOW + 10_000_000, usegmt=True)})
    with Server((503, {"Retry-After": "9" * 400}), later, 200) as server:
        assert deliver(server.endpoint(), waits, retries=Retries(longest=60)).delivered
    assert waits.asked == [60.0, 60.0]


@pytest.mark.parametrize("value", ["soon", "-5", "", "1.5", "Wed, 99 Oct 2015 07:28:00 GMT", formatdate(0)])
def test_a_retry_after_that_asks_for_nothing_leaves_the_backoff(value):
    waits = Waits()
    with Server((503, {"Retry-After": value}), 200) as server:
        assert deliver(server.endpoint(), waits).delivered
    assert waits.asked == [1.0]


def test_an_endpoint_that_is_gone_is_not_tried_again():
    waits = Waits()
    with Server(410) as server:
        outcome = deliver(server.endpoint(), waits)
    assert outcome == Outcome("gone", 1, "answered 410")
    assert not outcome.delivered
    assert waits.asked == []


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422])
def test_a_request_that_is_refused_for_good_is_not_sent_again(status):
    with Server(status) as server:
        assert deliver(server.endpoint(), Waits()) == Outcome("rejected", 1, f"answered {status}")


def test_attempts_are_bounded():
    with Server(*[500] * 3) as server:
        outcome = deliver(server.endpoint(), Waits(), retries=Retries(attempts=3))
    assert outcome == Outcome("failed", 3, "answered 500")


def test_no_attempt_begins_after_the_total_time():
    waits = Waits()
    with Server(*[(503, {"Retry-After": "40"})] * 3) as server:
        outcome = deliver(server.endpoint(), waits, retries=Retries(total=100))
    assert outcome == Outcome("failed", 3, "answered 503")
    assert waits.asked == [40.0, 40.0]


def test_a_server_that_is_away_is_a_failure_that_says_so():
    with Server() as server:
        endpoint = server.endpoint()
    outcome = deliver(endpoint, Waits(), retries=Retries(attempts=2))
    assert (outcome.result, outcome.attempts) == ("failed", 2)
    assert "refused" in outcome.detail


def test_a_host_that_cannot_be_resolved_is_a_failure_that_may_pass():
    for host in ("nowhere.invalid", f"{'a' * 70}.invalid"):
        outcome = deliver(Endpoint(f"http://{host}/", SECRET), Waits(), retries=Retries(attempts=2))
        assert outcome == Outcome("failed", 2, f"cannot resolve the host {host}")


def test_the_shutdown_ends_a_wait_at_once_and_the_next_start_delivers_the_alert():
    stop = threading.Event()
    outcomes = []
    with Server((503, {"Retry-After": "300"}), 200) as server:
        one = Sender(stop, allow_private=True)

        def run():
            outcomes.append(one.deliver(server.endpoint(), "drift_1", BODY, "application/json"))

        thread = threading.Thread(target=run)
        thread.start()
        server.wait_for_requests(1)
        stop.set()
        thread.join(timeout=5)
        assert outcomes == [Outcome("stopped", 1, "answered 503")]
        one.close()
        assert deliver(server.endpoint(), Waits()).delivered


def test_nothing_is_sent_once_the_shutdown_has_begun():
    stop = threading.Event()
    stop.set()
    with Server(200) as server:
        one = Sender(stop, allow_private=True)
        assert one.deliver(server.endpoint(), "drift_1", BODY, "application/json").result == "stopped"
        one.close()
    assert server.requests == []


PRIVATE = [
    "127.0.0.1",
    "localhost",
    "2130706433",  # 127.0.0.1 as one number
    "127.1",
    "0.0.0.0",  # noqa: S104 - posted to, not bound
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",  # carrier-grade NAT
    "169.254.169.254",  # cloud metadata
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "[::1]",
    "[::]",
    "[fe80::1]",
    "[fd00::1]",
    "[ff02::1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:169.254.169.254]",
    "[64:ff9b::a00:1]",  # 10.0.0.1 through NAT64
    "[2002:a00:1::]",  # 10.0.0.1 through 6to4
]


@pytest.mark.parametrize("host", PRIVATE)
def test_hosts_at_addresses_that_are_not_public_are_refused_without_a_retry(host):
    with Server(200) as server:
        outcome = deliver(server.endpoint(host), Waits(), allow_private=False)
    assert (outcome.result, outcome.attempts) == ("blocked", 1)
    assert "DRIFTLINE_WEBHOOK_ALLOW_PRIVATE" in outcome.detail
    assert server.requests == []


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_public_addresses_are_public(address):
    assert _is_public(address)


@pytest.fixture
def names(monkeypatch):
    """Host names that only this test knows: each resolves to its next list of addresses."""
    known = {}
    asked = []
    real = socket.getaddrinfo

    def resolve(host, port, *args, **kwargs):
        name = host.decode() if isinstance(host, bytes) else host
        if name not in known:
            return real(host, port, *args, **kwargs)
        asked.append(name)
        answers = known[name]
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    known["asked"] = asked
    return known


def test_a_host_with_one_private_address_among_public_ones_is_refused(names):
    names["hooks.example"] = [["8.8.8.8", "127.0.0.1"]]
    with Server(200) as server:
        outcome = deliver(server.endpoint("hooks.example"), Waits(), allow_private=False)
    assert outcome.result == "blocked"
    assert server.requests == []


def test_the_connection_goes_to_the_address_that_was_checked_and_the_name_is_asked_for_once(names):
    names["hooks.example"] = [["127.0.0.1"], ["127.0.0.99"]]  # a name that is rebound after the check
    with Server(200) as server:
        assert deliver(server.endpoint("hooks.example"), Waits()).delivered
    assert names["asked"] == ["hooks.example"]
    assert server.requests[0][1]["host"] == f"hooks.example:{server.port}"


def test_each_retry_tries_the_next_address_of_the_host(names):
    names["hooks.example"] = [["127.0.0.2", "127.0.0.1"]]  # nothing listens on the first
    with Server(200) as server:
        outcome = deliver(server.endpoint("hooks.example"), Waits())
    assert (outcome.result, outcome.attempts) == ("delivered", 2)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificate with the openssl command")
@pytest.mark.parametrize(("name", "result"), [("hooks.example", "delivered"), ("other.example", "failed")])
def test_over_tls_the_certificate_must_be_that_of_the_host_name(names, tmp_path, monkeypatch, name, result):
    names[name] = [["127.0.0.1"]]
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subject = ["-subj", "/CN=hooks.example", "-addext", "subjectAltName=DNS:hooks.example"]
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject]
    subprocess.run([*made, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    monkeypatch.setattr(certifi, "where", lambda: str(certificate))
    with Server(200, tls=tls) as server:
        endpoint = server.endpoint(name, scheme="https")
        outcome = deliver(endpoint, Waits(), retries=Retries(attempts=1))
    assert outcome.result == result
    if result == "failed":
        assert "certificate" in outcome.detail.lower()


def test_user_and_password_of_the_url_are_sent_as_basic_authentication():
    with Server(200) as server:
        endpoint = Endpoint(f"http://me:p%40ss@127.0.0.1:{server.port}/", SECRET)
        assert deliver(endpoint, Waits()).delivered
    headers = server.requests[0][1]
    assert headers["authorization"] == "Basic " + base64.b64encode(b"me:p@ss").decode()
    assert headers["host"] == f"127.0.0.1:{server.port}"


def test_no_log_repr_or_outcome_shows_the_secrets(caplog):
    caplog.set_level(logging.DEBUG)
    with Server(500, 302, "cut", 410) as server:
        url = f"http://me:hunter2@127.0.0.1:{server.port}/hook?token=t0psecret#frag"
        endpoint = Endpoint(url, SECRET)
        outcome = deliver(endpoint, Waits())
    shown = f"{endpoint!r} {endpoint} {outcome!r} {caplog.text}"
    assert outcome.result == "gone"
    assert f"http://127.0.0.1:{server.port}/hook" in shown
    for secret in ("hunter2", "t0psecret", SECRET, SECRET.removeprefix("whsec_"), "bWU6aHVudGVyMg"):
        assert secret not in shown


@pytest.mark.parametrize(
    "url",
    [
        "ftp://me:hunter2@example.org/",
        "file:///etc/passwd",
        "example.org/hunter2",
        "http://",
        "https:///hunter2",
        "http://me:hunter2/x@example.org/",
        "http://example.org:hunter2/",
        "http://exa mple.org/\r\nhunter2",
        "",
    ],
)
def test_an_url_that_is_not_http_is_refused_without_being_quoted(url):
    with pytest.raises(ConfigError, match="DRIFTLINE_WEBHOOK_URL") as caught:
        Endpoint(url, SECRET)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "hunter2",
        "whsec_",
        "whsec_hunter2!",
        "whsec_häunter2",
        "whsec_" + base64.b64encode(bytes(23)).decode(),
        "whsec_" + base64.b64encode(bytes(65)).decode(),
        base64.b64encode(bytes(32)).decode(),
    ],
)
def test_a_secret_that_is_not_as_the_specification_says_is_refused_without_being_quoted(secret):
    with pytest.raises(ConfigError, match="DRIFTLINE_WEBHOOK_SECRET") as caught:
        Endpoint("https://example.org/", secret)
    assert "hunter2" not in str(caught.value)


def test_a_hanging_endpoint_costs_no_more_than_the_timeout():
    with Server("hang") as server:
        began = time.monotonic()
        outcome = deliver(server.endpoint(), Waits(), timeout=0.2, retries=Retries(attempts=1))
        took = time.monotonic() - began
    assert outcome == Outcome("failed", 1, "no answer within 0.2 s")
    assert 0.2 <= took < 5
