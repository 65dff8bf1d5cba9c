"""Ed25519 against the vectors of RFC 8032, section 7.1, and against the library `cryptography`."""

from random import Random

import pytest

from flows.edge.ed25519 import public_key, sign, verifies

VECTORS = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
        "d25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c"
        "387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc659"
        "4a7c15e9716ed28dc027beceea1ec40a",
    ),
]
ORDER = 2**252 + 27742317777372353535851937790883648493


@pytest.mark.parametrize(("secret", "public", "message", "signature"), VECTORS)
def test_the_vectors_of_the_rfc_are_met(secret: str, public: str, message: str, signature: str) -> None:
    assert public_key(bytes.fromhex(secret)).hex() == public
    assert sign(bytes.fromhex(secret), bytes.fromhex(message)).hex() == signature
    assert verifies(bytes.fromhex(public), bytes.fromhex(message), bytes.fromhex(signature))


def test_another_implementation_makes_and_accepts_the_same_signatures() -> None:
    library = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.ed25519")
    random = Random(3)
    for size in (0, 1, 63, 1000):
        secret, message = random.randbytes(32), random.randbytes(size)
        theirs = library.Ed25519PrivateKey.from_private_bytes(secret)
        assert theirs.sign(message) == sign(secret, message)
        assert theirs.public_key().public_bytes_raw() == public_key(secret)
        assert verifies(public_key(secret), message, theirs.sign(message))


def test_a_changed_bit_anywhere_is_refused() -> None:
    secret, message = bytes(range(32)), b"a package"
    public, signature = public_key(secret), sign(secret, message)
    for content, name in ((public, "key"), (message, "message"), (signature, "signature")):
        for at in range(len(content)):
            changed = bytearray(content)
            changed[at] ^= 1
            given = {"key": public, "message": message, "signature": signature, name: bytes(changed)}
            assert not verifies(given["key"], given["message"], given["signature"])


def test_a_second_form_of_a_signature_is_refused() -> None:
    secret, message = bytes(32), b"a package"
    signature = sign(secret, message)
    response = int.from_bytes(signature[32:], "little") + ORDER
    assert not verifies(public_key(secret), message, signature[:32] + response.to_bytes(32, "little"))


def test_keys_and_signatures_of_another_size_are_refused() -> None:
    secret, message = bytes(32), b"a package"
    assert not verifies(b"", message, sign(secret, message))
    assert not verifies(public_key(secret), message, b"")
    with pytest.raises(ValueError, match="must be 32 bytes, got 5"):
        sign(b"short", message)
