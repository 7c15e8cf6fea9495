from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from secure_rag.audit.signing import (
    DIGEST_KEY,
    PUBLIC_KEY,
    SIGNING_KEY,
    PublicKey,
    Signer,
    create_keys,
    load_digest_key,
    load_public_key,
    load_signer,
)
from secure_rag.errors import ConfigError


def test_keys_are_written_once_and_read_back(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    made = create_keys(keys)
    assert load_signer(keys).public_key == made.public_key
    assert load_public_key(keys / PUBLIC_KEY) == made.public_key
    assert len(load_digest_key(keys)) == 32
    assert stat.S_IMODE(keys.stat().st_mode) == 0o700
    for name in (SIGNING_KEY, DIGEST_KEY):
        assert stat.S_IMODE((keys / name).stat().st_mode) == 0o600
    with pytest.raises(ConfigError, match="never replaced"):
        create_keys(keys)
    assert load_signer(keys).public_key == made.public_key


def test_an_interrupted_creation_is_finished(tmp_path: Path) -> None:
    create_keys(tmp_path)
    digest = load_digest_key(tmp_path)
    (tmp_path / SIGNING_KEY).unlink()
    again = create_keys(tmp_path)
    assert load_digest_key(tmp_path) == digest
    assert load_public_key(tmp_path / PUBLIC_KEY) == again.public_key == load_signer(tmp_path).public_key
    assert sorted(path.name for path in tmp_path.iterdir()) == [SIGNING_KEY, PUBLIC_KEY, DIGEST_KEY]


def test_a_signature_holds_for_its_key_and_message_only() -> None:
    signer, other = Signer.generate(), Signer.generate()
    signature = signer.sign(b"message")
    assert signer.public_key.verifies(signature, b"message")
    assert not signer.public_key.verifies(signature, b"messagf")
    assert not signer.public_key.verifies(signature[:-1], b"message")
    assert not other.public_key.verifies(signature, b"message")
    assert not PublicKey(b"short").verifies(signature, b"message")
    assert len(signer.public_key.fingerprint) == 64


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o622])
@pytest.mark.parametrize("name", [SIGNING_KEY, DIGEST_KEY])
def test_a_key_that_others_may_touch_is_refused(tmp_path: Path, name: str, mode: int) -> None:
    create_keys(tmp_path)
    (tmp_path / name).chmod(mode)
    load = load_signer if name == SIGNING_KEY else load_digest_key
    with pytest.raises(ConfigError, match=f"{name}.*0600"):
        load(tmp_path)


def _private(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o600)


def test_missing_or_malformed_keys_name_their_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=SIGNING_KEY):
        load_signer(tmp_path)
    with pytest.raises(ConfigError, match=DIGEST_KEY):
        load_digest_key(tmp_path)
    with pytest.raises(ConfigError, match=PUBLIC_KEY):
        load_public_key(tmp_path / PUBLIC_KEY)
    _private(tmp_path / SIGNING_KEY, b"not a key")
    _private(tmp_path / DIGEST_KEY, b"abcd")
    _private(tmp_path / PUBLIC_KEY, b"not a key")
    with pytest.raises(ConfigError, match="PEM"):
        load_signer(tmp_path)
    with pytest.raises(ConfigError, match="2 bytes instead of 32"):
        load_digest_key(tmp_path)
    with pytest.raises(ConfigError, match="PEM"):
        load_public_key(tmp_path / PUBLIC_KEY)
    _private(tmp_path / DIGEST_KEY, b"\xff")
    with pytest.raises(ConfigError, match="hex"):
        load_digest_key(tmp_path)


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    other = X25519PrivateKey.generate()
    pem = serialization.Encoding.PEM
    _private(
        tmp_path / SIGNING_KEY,
        other.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )
    _private(
        tmp_path / PUBLIC_KEY,
        other.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo),
    )
    with pytest.raises(ConfigError, match="Ed25519"):
        load_signer(tmp_path)
    with pytest.raises(ConfigError, match="Ed25519"):
        load_public_key(tmp_path / PUBLIC_KEY)


def test_an_encrypted_key_is_refused(tmp_path: Path) -> None:
    encrypted = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    _private(tmp_path / SIGNING_KEY, encrypted)
    with pytest.raises(ConfigError, match="PEM"):
        load_signer(tmp_path)


def test_keys_that_cannot_be_written_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"cannot be written|exists"):
        create_keys(tmp_path / "file")
