"""Webhook delivery against a real HTTP server on loopback that misbehaves on demand."""

import base64
import hashlib
import hmac
import logging
import pickle
import select
import shutil
import socket
import ssl
import subprocess
import threading
import time
from contextlib import suppress
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

import certifi
import pytest

from flows.adapters.http.addresses import is_public
from flows.adapters.http.webhooks import Endpoint, Exchange, Message, Sender
from flows.core.alerting.outbox import Outbox, RetryPolicy, WebhookResponse
from flows.core.stream.broker import Record
from flows.errors import ConfigError

KEY = bytes(range(32))
SECRET = "whsec_" + base64.b64encode(KEY).decode()
ALERT = Record("flight_delays.drift", 0, 0, 0, b"drift_1", b"{}", ())
BODY = b'{"specversion":"1.0","data":{"pipeline":"caf\xc3\xa9"}}'
MESSAGE = Message("drift_1", BODY, "application/cloudevents+json")
NOW = 1_700_000_000.75


class Server:
    """Answers by the next entry of `script`, then 200: a status with headers, or "hang" or "cut"."""

    def __init__(self, *script, tls=None, port=0):
        self.script = list(script)
        self.requests = []
        self.answers = []
        self.arrived = threading.Condition()
        self.release = threading.Event()
        self._http = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
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
                    action = server.script.pop(0) if server.script else 200
                    server.answers.append(action)
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
    """A clock that nobody waits for: it is moved to the next attempt."""

    def __init__(self):
        self.asked = []
        self.now = NOW


class Outcome(NamedTuple):
    result: str
    attempts: int
    detail: str


def posted(to, waits, message=MESSAGE, **options):
    """Return the outcome of one attempt at the clock's time."""
    options = {"allow_private": True, "timeout": 5.0} | options
    return Sender(clock=lambda: waits.now, **options).post(to, message)


def deliver(to, waits, jitter=lambda: 1.0, retries=None, **options):
    """Deliver one alert until it is accepted or given up."""
    outbox = Outbox(retries or RetryPolicy())
    outbox.put([ALERT])
    options = {"allow_private": True, "timeout": 5.0} | options
    sender = Sender(clock=lambda: waits.now, **options)
    attempts = 1
    while not (ended := outbox.answered(sender.post(to, MESSAGE, attempts - 1), waits.now, jitter())):
        waits.asked.append(outbox.due() - waits.now)
        waits.now = outbox.due()
        attempts += 1
    assert [each.record for each in ended] == [ALERT]
    return Outcome(ended[0].result, attempts, ended[0].detail)


def signature_by_the_specification(key, webhook_id, timestamp, body):
    signed = webhook_id.encode() + b"." + timestamp.encode() + b"." + body
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def is_verified(request, key, now=NOW):
    """Return whether a receiver with this key accepts the request, according to the specification."""
    _, headers, body = request
    if abs(int(headers["webhook-timestamp"]) - now) > 300:
        return False
    due = signature_by_the_specification(key, headers["webhook-id"], headers["webhook-timestamp"], body)
    return any(hmac.compare_digest(due, given) for given in headers["webhook-signature"].split(" "))


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
        endpoint = Endpoint(server.endpoint().url, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
        posted(endpoint, waits, Message("msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}', "text/json"))
    expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert server.requests[0][1]["webhook-signature"] == expected


def test_failures_are_retried_with_growing_waits_until_it_succeeds():
    waits = Waits()
    with Server(500, "cut", "hang", 502, 201) as server:
        outcome = deliver(server.endpoint(), waits, timeout=1.0)
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


def test_each_of_several_secrets_gives_a_signature_so_that_a_receiver_can_change_them_at_any_time():
    keys = [KEY, b"k" * 24, b"l" * 64]
    secrets = " ".join("whsec_" + base64.b64encode(key).decode() for key in keys)
    with Server(200) as server:
        assert posted(Endpoint(server.endpoint().url, secrets), Waits()).result == "delivered"
    [request] = server.requests
    signatures = request[1]["webhook-signature"].split(" ")
    stamp = request[1]["webhook-timestamp"]
    assert signatures == [signature_by_the_specification(key, "drift_1", stamp, BODY) for key in keys]
    assert all(is_verified(request, key) for key in keys)
    assert not is_verified(request, b"m" * 32)


def test_the_headers_of_a_message_go_beside_those_of_the_signature_and_never_replace_them():
    message = MESSAGE._replace(headers={"ce-id": "drift_1", "webhook-id": "another"})
    with Server(200) as server:
        posted(server.endpoint(), Waits(), message)
    headers = server.requests[0][1]
    assert headers["ce-id"] == "drift_1"
    assert headers.get_all("webhook-id") == ["drift_1"]


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
            outcome = deliver(server.endpoint(), Waits(), retries=RetryPolicy(attempts=2))
    assert (outcome.result, outcome.attempts) == ("failed", 2)
    assert outcome.detail.startswith("answered 307; redirects are not followed")
    assert other.requests == []


@pytest.mark.parametrize("status", [408, 425, 429, 502, 503, 504])
def test_an_endpoint_that_throttles_is_given_the_seconds_that_it_asks_for(status):
    waits = Waits()
    with Server((status, {"Retry-After": "17"}), 200) as server:
        assert deliver(server.endpoint(), waits).result == "delivered"
    assert waits.asked == [17.0]


def test_an_endpoint_that_throttles_is_given_until_the_date_that_it_names():
    waits = Waits()
    with Server((429, {"Retry-After": formatdate(1_700_000_042, usegmt=True)}), 200) as server:
        assert deliver(server.endpoint(), waits).result == "delivered"
    assert waits.asked == [pytest.approx(41.25)]


def test_no_endpoint_can_ask_for_more_than_the_longest_wait():
    waits = Waits()
    later = (503, {"Retry-After": formatdate(NOW + 10_000_000, usegmt=True)})
    with Server((503, {"Retry-After": "9" * 400}), later, 200) as server:
        assert deliver(server.endpoint(), waits, retries=RetryPolicy(longest=60)).result == "delivered"
    assert waits.asked == [60.0, 60.0]


@pytest.mark.parametrize("value", ["soon", "-5", "", "1.5", "Wed, 99 Oct 2015 07:28:00 GMT", formatdate(0)])
def test_a_retry_after_that_asks_for_nothing_leaves_the_backoff(value):
    waits = Waits()
    with Server((503, {"Retry-After": value}), 200) as server:
        assert deliver(server.endpoint(), waits).result == "delivered"
    assert waits.asked == [1.0]


def test_an_endpoint_that_is_gone_is_not_tried_again():
    waits = Waits()
    with Server(410) as server:
        outcome = deliver(server.endpoint(), waits)
    assert (outcome.result, outcome.attempts) == ("gone", 1)
    assert outcome.detail.startswith("answered 410")
    assert waits.asked == []


@pytest.mark.parametrize("status", [400, 413, 415, 422])
def test_a_body_that_is_refused_for_good_is_not_sent_again(status):
    with Server(status) as server:
        assert deliver(server.endpoint(), Waits()) == Outcome("rejected", 1, f"answered {status}")


@pytest.mark.parametrize("status", [300, 304, 401, 403, 404, 405, 451, 500, 599])
def test_no_status_but_2xx_is_success_and_what_may_pass_is_tried_again(status):
    with Server(status, 200) as server:
        assert deliver(server.endpoint(), Waits()) == Outcome("delivered", 2, "answered 200")


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_every_2xx_is_success(status):
    with Server(status) as server:
        assert deliver(server.endpoint(), Waits()) == Outcome("delivered", 1, f"answered {status}")


def test_attempts_are_bounded():
    with Server(*[500] * 3) as server:
        outcome = deliver(server.endpoint(), Waits(), retries=RetryPolicy(attempts=3))
    assert outcome == Outcome("failed", 3, "answered 500")


def test_no_attempt_begins_after_the_total_time():
    waits = Waits()
    with Server(*[(503, {"Retry-After": "40"})] * 3) as server:
        outcome = deliver(server.endpoint(), waits, retries=RetryPolicy(total=100))
    assert outcome == Outcome("failed", 3, "answered 503")
    assert waits.asked == [40.0, 40.0]


def test_a_server_that_is_away_is_a_failure_that_says_so():
    with Server() as server:
        endpoint = server.endpoint()
    outcome = deliver(endpoint, Waits(), retries=RetryPolicy(attempts=2))
    assert (outcome.result, outcome.attempts) == ("failed", 2)
    assert "refused" in outcome.detail


def test_a_host_that_cannot_be_resolved_is_a_failure_that_may_pass():
    for host in ("nowhere.invalid", f"{'a' * 70}.invalid"):
        outcome = deliver(Endpoint(f"http://{host}/", SECRET), Waits(), retries=RetryPolicy(attempts=2))
        assert outcome == Outcome("failed", 2, f"cannot resolve the host {host}")


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
    "[::a00:1]",  # 10.0.0.1 as an IPv4-compatible address
    "[::808:808]",
    "[::ffff:0:a00:1]",  # 10.0.0.1 as an IPv4-translated address
    "[64:ff9b:1::a00:1]",  # local-use NAT64
    "[fec0::1]",  # site-local
    "[2001:db8::1]",  # documentation
    "[3fff::1]",
    "[5f00::1]",  # SRv6
    "[100::1]",  # discard-only
    "[2001::1]",  # Teredo
    "192.0.2.1",  # documentation
    "198.18.0.1",  # benchmarks
    "192.88.99.1",  # former 6to4 relays
    "192.0.0.8",
]


@pytest.fixture
def no_connections(monkeypatch):
    """Fails the test where a sender connects to an address that is not loopback."""
    connect = socket.create_connection

    def only_loopback(address, *args, **kwargs):
        assert address[0].startswith("127.") or address[0] == "::1", f"connected to {address[0]}"
        return connect(address, *args, **kwargs)

    monkeypatch.setattr(socket, "create_connection", only_loopback)


@pytest.mark.parametrize("host", PRIVATE)
@pytest.mark.usefixtures("no_connections")
def test_hosts_at_addresses_that_are_not_public_are_refused_without_a_retry(host):
    with Server(200) as server:
        outcome = deliver(server.endpoint(host), Waits(), allow_private=False)
    assert (outcome.result, outcome.attempts) == ("blocked", 1)
    assert "DRIFTLINE_WEBHOOK_ALLOW_PRIVATE" in outcome.detail
    assert server.requests == []


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_public_addresses_are_public(address):
    assert is_public(address)


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


@pytest.mark.usefixtures("no_connections")
@pytest.mark.parametrize("literal", [host for host in PRIVATE if host[-1] in "0123456789]" and ":" in host])
def test_a_name_that_resolves_to_such_an_address_is_refused(names, literal):
    names["hooks.example"] = [[literal.strip("[]")]]
    assert (
        posted(Endpoint("https://hooks.example/", SECRET), Waits(), allow_private=False).result == "blocked"
    )


@pytest.mark.usefixtures("no_connections")
def test_a_host_with_one_private_address_among_public_ones_is_refused(names):
    names["hooks.example"] = [["8.8.8.8", "127.0.0.1"]]
    with Server(200) as server:
        outcome = deliver(server.endpoint("hooks.example"), Waits(), allow_private=False)
    assert outcome.result == "blocked"
    assert server.requests == []


def test_the_connection_goes_to_the_address_that_was_checked_and_the_name_is_asked_for_once(names):
    names["hooks.example"] = [["127.0.0.1"], ["127.0.0.99"]]  # a name that is rebound after the check
    with Server(200) as server:
        assert deliver(server.endpoint("hooks.example"), Waits()).result == "delivered"
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
        outcome = deliver(endpoint, Waits(), retries=RetryPolicy(attempts=1))
    assert outcome.result == result
    if result == "failed":
        assert "certificate" in outcome.detail.lower()


def test_user_and_password_of_the_url_are_sent_as_basic_authentication():
    with Server(200) as server:
        endpoint = Endpoint(f"http://me:p%40ss@127.0.0.1:{server.port}/", SECRET)
        assert deliver(endpoint, Waits()).result == "delivered"
    headers = server.requests[0][1]
    assert headers["authorization"] == "Basic " + base64.b64encode(b"me:p@ss").decode()
    assert headers["host"] == f"127.0.0.1:{server.port}"


def test_no_log_repr_or_outcome_shows_the_secrets(caplog):
    caplog.set_level(logging.DEBUG)
    with Server(500, 302, "cut", 410) as server:
        url = f"http://me:hunter2@127.0.0.1:{server.port}/services/T0/pathsecret?token=t0psecret#frag"
        endpoint = Endpoint(url, SECRET)
        outcome = deliver(endpoint, Waits())
    shown = f"{endpoint!r} {endpoint} {outcome!r} {caplog.text}"
    assert outcome.result == "gone"
    assert f"http://127.0.0.1:{server.port}" in shown
    for secret in (
        "hunter2",
        "t0psecret",
        "pathsecret",
        SECRET,
        SECRET.removeprefix("whsec_"),
        "bWU6aHVudGVyMg",
    ):
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
        outcome = deliver(server.endpoint(), Waits(), timeout=0.2, retries=RetryPolicy(attempts=1))
        took = time.monotonic() - began
    assert outcome == Outcome("failed", 1, "no answer within 0.2 s")
    assert 0.2 <= took < 5


@pytest.fixture
def dripping():
    """A server that answers a header line every 20 ms, for as long as its client stays; says when it left."""
    listener, left = socket.create_server(("127.0.0.1", 0)), threading.Event()

    def drip():
        with listener, listener.accept()[0] as client, suppress(OSError):
            client.sendall(b"HTTP/1.1 200 OK\r\n")
            while not select.select([client], [], [], 0.02)[0] or client.recv(2**16):
                client.sendall(b"x-drip: 1\r\n")
        left.set()

    threading.Thread(target=drip, daemon=True).start()
    return listener.getsockname()[1], left


def test_an_answer_that_drips_ends_at_a_deadline_and_its_socket_is_closed(dripping):
    port, left = dripping
    outcome = posted(Endpoint(f"http://127.0.0.1:{port}/", SECRET), Waits(), timeout=0.2)
    assert outcome == WebhookResponse("failed", "no answer within 0.2 s")
    assert left.wait(10)


def test_an_exchange_is_given_up_however_slowly_the_endpoint_goes_on():
    hold = threading.Event()
    exchange = Exchange(lambda: hold.wait(30) and None, longest=0.05)
    assert exchange.answer(wait=0.1) is not None
    hold.set()


def test_an_exchange_tells_its_answer_when_it_has_one():
    release = threading.Event()
    answer = WebhookResponse("delivered", "answered 200")

    def post():
        release.wait(30)
        return answer

    exchange = Exchange(post, longest=30)
    assert exchange.answer() is None
    release.set()
    assert exchange.answer(wait=10) == answer


FATES = {
    "fails": ["cut", 500, 404, "cut"],
    "hangs": ["hang", "hang"],
    "redirects": [(307, {"Location": "http://127.0.0.1:9/elsewhere"}), 301],
    "throttles": [
        (429, {"Retry-After": "30"}),
        (503, {"Retry-After": formatdate(NOW + 900, usegmt=True)}),
        504,
    ],
}


@pytest.mark.parametrize("fate", FATES)
@pytest.mark.parametrize("restarts", ["nobody", "driftline", "the receiver"])
def test_a_receiver_that_misbehaves_gets_every_alert_at_least_once_with_one_id_and_verifies_each(
    fate, restarts
):
    alerts = [ALERT._replace(offset=n, key=b"drift_%d" % n, value=b'{"n": %d}' % n) for n in range(5)]
    script = [step for n in range(5) for step in (FATES[fate] if n % 2 else []) + [200]]
    waits, outbox, port, taken = Waits(), Outbox(), 0, []
    outbox.put(alerts)
    timeout = 1.0 if fate == "hangs" else 30.0
    sender = Sender(allow_private=True, timeout=timeout, clock=lambda: waits.now)
    while outbox.due() is not None:
        with Server(*script, port=port) as server:
            port = server.port
            lives = 3 if restarts == "the receiver" else 1000
            while outbox.due() is not None and len(server.requests) < lives:
                waits.now = max(waits.now, outbox.due())
                alert = outbox.next(waits.now)
                message = Message(alert.key.decode(), alert.value, "application/json")
                answer = sender.post(server.endpoint(), message, outbox.attempts)
                assert {each.result for each in outbox.answered(answer, waits.now, 1.0)} <= {"delivered"}
                if restarts == "driftline":
                    outbox = Outbox(state=pickle.loads(pickle.dumps(outbox.state())))  # noqa: S301
        script = server.script
        taken += [
            request for request, answer in zip(server.requests, server.answers, strict=True) if answer == 200
        ]
        if outbox.due() is not None:  # it is down between two lives
            waits.now = max(waits.now, outbox.due())
            assert outbox.answered(sender.post(server.endpoint(), message), waits.now, 1.0) == []
    assert all(is_verified(request, KEY, int(request[1]["webhook-timestamp"])) for request in taken)
    ids = [headers["webhook-id"] for _, headers, _ in taken]
    assert list(dict.fromkeys(ids)) == [alert.key.decode() for alert in alerts]
    assert {headers["webhook-id"]: body for _, headers, body in taken} == {
        alert.key.decode(): alert.value for alert in alerts
    }
    assert script == []


def test_an_alert_whose_answer_was_lost_comes_again_with_its_id():
    with Server("cut", 200) as server:  # it took the alert, and the connection broke before it said so
        assert deliver(server.endpoint(), Waits()).result == "delivered"
    first, second = server.requests
    assert (first[1]["webhook-id"], first[2]) == (second[1]["webhook-id"], second[2])
