"""A Kafka with TLS, SCRAM and ACLs that denies everything without an ACL."""

import shutil
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from harness import KafkaNode, server_port, unavailable

MECHANISM = "SCRAM-SHA-256"
_OPERATIONS = {operation.name.replace("_", ""): operation for operation in AclOperation}


class Acl(NamedTuple):
    """An ACL that allows an operation; a name that ends in `*` is a prefix."""

    user: str
    operation: str  # as kafka-acls names it: DescribeConfigs
    kind: str  # topic or group
    name: str

    def binding(self) -> AclBinding:
        pattern = ResourcePatternType.PREFIXED if self.name.endswith("*") else ResourcePatternType.LITERAL
        what = (ResourceType[self.kind.upper()], self.name.removesuffix("*"), pattern)
        operation = _OPERATIONS[self.operation.upper()]
        return AclBinding(*what, f"User:{self.user}", "*", operation, AclPermissionType.ALLOW)


class SecuredKafka:
    """One node. Tests are its super user on a plaintext port; all others connect with SCRAM and TLS."""

    def __init__(self, start: Callable[[Callable[[KafkaNode], str]], KafkaNode], folder: Path) -> None:
        if not shutil.which("openssl"):
            unavailable("openssl is not installed: 'apt install openssl' or 'brew install openssl'")
        self.authority, self.stranger = (_certificate(folder / name) for name in ("kafka", "stranger"))
        self.port = server_port()
        self.node = start(self._properties)
        self.address = f"127.0.0.1:{self.port}"
        self.admin = AdminClient({"bootstrap.servers": self.node.address, "log_level": "2"})

    def add_user(self, name: str) -> None:
        credential = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 4096)
        change = UserScramCredentialUpsertion(name, credential, _password(name).encode())
        for future in self.admin.alter_user_scram_credentials([change]).values():
            future.result()

    def options(self, user: str, **changes: str) -> dict[str, str]:
        """Return the client options; `changes` are named with underscores."""
        options = {
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": MECHANISM,
            "sasl.username": user,
            "sasl.password": _password(user),
            "ssl.ca.location": str(self.authority),
        }
        return options | {name.replace("_", "."): value for name, value in changes.items()}

    def settings(self, user: str, **changes: str) -> dict[str, str]:
        """Return the same options as settings, named without DRIFTLINE_."""
        options = {
            f"KAFKA_{k.replace('.', '_').upper()}": v for k, v in self.options(user, **changes).items()
        }
        return {"BROKER": f"kafka://{self.address}", **options}

    def allow(self, acls: Iterable[Acl]) -> None:
        for future in self.admin.create_acls([acl.binding() for acl in acls]).values():
            future.result()

    def forbid_everything(self) -> None:
        everything = AclBindingFilter(
            ResourceType.ANY,
            None,
            ResourcePatternType.ANY,
            None,
            None,
            AclOperation.ANY,
            AclPermissionType.ANY,
        )
        for future in self.admin.delete_acls([everything]).values():
            future.result()

    def _properties(self, node: KafkaNode) -> str:
        plain, scram = f"PLAINTEXT://{node.address}", f"SCRAM://127.0.0.1:{self.port}"
        return f"""
listeners={plain},{scram},CONTROLLER://127.0.0.1:{node.controller_port}
advertised.listeners={plain},{scram}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SCRAM:SASL_SSL
sasl.enabled.mechanisms={MECHANISM}
listener.name.scram.scram-sha-256.sasl.jaas.config=\\
  org.apache.kafka.common.security.scram.ScramLoginModule required;
ssl.keystore.type=PEM
ssl.keystore.location={self.authority.with_suffix(".both")}
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
"""


def _password(user: str) -> str:
    return f"the-secret-of-{user}"


def _certificate(stem: Path) -> Path:
    """Create a self-signed certificate for 127.0.0.1; a file beside it also holds the key."""
    key, certificate = stem.with_suffix(".key"), stem.with_suffix(".pem")
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=kafka"]
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate]
    subprocess.run([*make, *names], check=True, capture_output=True)
    stem.with_suffix(".both").write_text(key.read_text() + certificate.read_text())
    return certificate
