"""One key per purpose, by HKDF-SHA256 (RFC 5869)."""

import pytest

from flows.core.models.signing_keys import SigningKey, hkdf_sha256

# Appendix A of RFC 5869, the cases for SHA-256: secret, salt, info, length, output
VECTORS = {
    "basic": (
        b"\x0b" * 22,
        bytes(range(0x0D)),
        bytes(range(0xF0, 0xFA)),
        42,
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
    ),
    "longer inputs and outputs": (
        bytes(range(0x50)),
        bytes(range(0x60, 0xB0)),
        bytes(range(0xB0, 0x100)),
        82,
        "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09"
        "da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87",
    ),
    "no salt and no info": (
        b"\x0b" * 22,
        b"",
        b"",
        42,
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
    ),
}


@pytest.mark.parametrize("name", VECTORS)
def test_the_derived_keys_are_those_of_the_rfc(name):
    secret, salt, info, length, output = VECTORS[name]
    assert hkdf_sha256(secret, salt, info, length).hex() == output


def test_what_is_signed_for_one_purpose_does_not_verify_for_another():
    models, states = SigningKey(b"s" * 32, "model messages"), SigningKey(b"s" * 32, "flow states")
    signature = models.sign(b"content")
    assert models.verifies(b"content", signature)
    assert not models.verifies(b"Content", signature)
    assert not states.verifies(b"content", signature)
    assert not SigningKey(b"t" * 32, "model messages").verifies(b"content", signature)
