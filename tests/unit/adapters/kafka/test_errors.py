"""The errors for Kafka's error codes."""

import pytest
from confluent_kafka import KafkaError, KafkaException

from flows.adapters.kafka.errors import principal
from flows.adapters.kafka.health import Health
from flows.errors import AccessDenied, BrokerError

ALICE = "user 'alice'"
AT = "Kafka at k:9092"


class Client:
    """A client whose connection attempts gave these errors, which `poll` hands over."""

    def __init__(self, health: Health, *errors: KafkaError) -> None:
        self._health = health
        self._errors = errors

    def poll(self, _: float) -> None:
        for error in self._errors:
            self._health.report(error)


def health(protocol: str = "sasl_ssl") -> Health:
    return Health("k:9092", ALICE, protocol)


def told(reason: KafkaError, *reported: KafkaError, protocol: str = "sasl_ssl") -> str:
    """Return the text of the error for a failed request."""
    one = health(protocol)
    with (
        pytest.raises(BrokerError) as caught,
        one.explained(Client(one, *reported), "READ", topic="t", group="g"),
    ):
        raise KafkaException(reason)
    return str(caught.value)


@pytest.mark.parametrize(
    ("code", "resource"),
    [
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, "topic 't'"),
        (KafkaError.GROUP_AUTHORIZATION_FAILED, "group 'g'"),
    ],
)
def test_a_missing_acl_is_told_with_user_operation_and_resource(code: int, resource: str) -> None:
    assert f"{AT} refuses user 'alice' the operation READ on {resource}; add an ACL" in told(KafkaError(code))


def test_an_operation_on_no_topic_is_one_on_the_cluster() -> None:
    denial = health().denial(KafkaError(KafkaError.CLUSTER_AUTHORIZATION_FAILED), "CREATE")
    assert "the operation CREATE on the cluster" in str(denial)


SILENT = KafkaError(KafkaError._TRANSPORT, "Failed to get metadata: Local: Broker transport failure")
DOWN = KafkaError(KafkaError._ALL_BROKERS_DOWN, "1/1 brokers are down")
LINK = "sasl_ssl://k:9092/bootstrap: "
STATE = " (after 329ms in state AUTH_REQ, 4 identical error(s) suppressed)"


@pytest.mark.parametrize(
    ("code", "words", "advice"),
    [
        (KafkaError._AUTHENTICATION, "SASL authentication error: invalid credentials", "_SASL_PASSWORD"),
        (KafkaError._SSL, "SSL handshake failed: certificate verify failed", "_SSL_CA_LOCATION"),
        (
            KafkaError._TRANSPORT,
            "Receive failed: error:0A00045C:SSL routines::tlsv13 alert certificate required",
            "_SSL_CERTIFICATE_LOCATION",
        ),
        (
            KafkaError._TRANSPORT,
            "SSL handshake failed: Disconnected: connecting to a PLAINTEXT broker listener?",
            "_SECURITY_PROTOCOL",
        ),
    ],
)
def test_a_refused_connection_is_no_outage(code: int, words: str, advice: str) -> None:
    text = told(SILENT, KafkaError(code, LINK + words + STATE), DOWN)
    assert words in text
    assert advice in text
    assert "does not answer" not in text
    assert "bootstrap" not in text
    assert "identical" not in text


def test_a_connection_that_is_closed_without_a_word_may_want_another_protocol() -> None:
    text = told(SILENT, DOWN, protocol="plaintext")
    assert "closes the connection without an answer: it is starting" in text
    assert "another security protocol than 'plaintext'" in text
    assert "DRIFTLINE_KAFKA_SECURITY_PROTOCOL" in text


def test_a_refusal_that_the_question_itself_gets_is_told_the_same() -> None:
    assert "does not authenticate user 'alice': no; check" in told(
        KafkaError(KafkaError._AUTHENTICATION, "no")
    )


def test_an_outage_stays_one() -> None:
    refused = KafkaError(KafkaError._TRANSPORT, "k:9092/bootstrap: Connect failed: Connection refused")
    assert f"{AT} does not answer: k:9092/bootstrap: Connect failed: Connection refused" in told(
        SILENT, refused, DOWN
    )


def test_only_a_refusal_ends_the_waiting_for_a_first_answer() -> None:
    one = health()
    one.report(KafkaError(KafkaError._TRANSPORT, "k:9092/bootstrap: Connection refused"))
    one.report(DOWN)
    one.raise_if_refused()
    one.report(KafkaError(KafkaError._AUTHENTICATION, f"{LINK}no"))
    with pytest.raises(BrokerError, match="does not authenticate user 'alice': no; check"):
        one.raise_if_refused()


def test_a_producer_that_may_write_nothing_names_its_topic() -> None:
    """Kafka refuses the producer its id, which is of the cluster: a fatal error of the client."""
    fatal = KafkaError(KafkaError.CLUSTER_AUTHORIZATION_FAILED, "Failed to acquire idempotence PID", True)
    crash = SystemError("returned a result with an exception set")
    crash.__cause__ = KafkaException(fatal)
    with (
        pytest.raises(AccessDenied, match="the operation WRITE on topic 't'"),
        health().fatal_explained("WRITE", "t"),
    ):
        raise crash


def test_a_crash_without_a_cause_is_explained_by_what_the_client_reported_before() -> None:
    one = health()
    one.report(KafkaError(KafkaError.CLUSTER_AUTHORIZATION_FAILED, "no", True))
    with pytest.raises(AccessDenied, match="operation WRITE on topic 't'"), one.fatal_explained("WRITE", "t"):
        raise SystemError("returned NULL without setting an exception")


def test_a_producer_that_ended_without_a_reason_was_refused_only_if_it_never_wrote() -> None:
    never = health().refused_at_first("t")
    assert isinstance(never, AccessDenied)
    assert "refuses user 'alice' the operation WRITE on topic 't'" in str(never)
    assert not isinstance(health().ended(), AccessDenied)


def test_a_fault_that_is_not_kafkas_is_left_alone() -> None:
    with pytest.raises(SystemError, match="mine"), health().fatal_explained("WRITE", "t"):
        raise SystemError("mine")


@pytest.mark.parametrize(
    ("options", "who"),
    [
        ({"security.protocol": "SASL_PLAINTEXT", "sasl.username": "bob"}, "user 'bob'"),
        ({"security.protocol": "SASL_SSL", "sasl.mechanism": "OAUTHBEARER"}, "this client"),
        (
            {"security.protocol": "SSL", "ssl.keystore.location": "/k.p12"},
            "the owner of the certificate '/k.p12'",
        ),
        ({"security.protocol": "SSL", "ssl.certificate.pem": "secret"}, "the owner of its certificate"),
        ({"sasl.username": "not asked for"}, "user 'ANONYMOUS'"),
    ],
)
def test_a_client_has_the_name_that_kafka_knows_it_by(options: dict[str, str], who: str) -> None:
    assert principal(options) == who
