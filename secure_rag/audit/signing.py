"""The keys of the audit log: Ed25519 for checkpoints, HMAC for query digests.

Key files are written once, readable by their owner only, and refused when others could have read them.
"""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from secure_rag.errors import ConfigError

SIGNING_KEY: Final = "audit-ed25519"
PUBLIC_KEY: Final = "audit-ed25519.pub"
DIGEST_KEY: Final = "audit-hmac"
_DIGEST_KEY_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class PublicKey:
    """What a verifier holds. Carry it off the host together with the exported checkpoints."""

    raw: bytes

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the raw key, in hex."""
        return hashlib.sha256(self.raw).hexdigest()

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Whether the signature of this message was made with the private key."""
        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True


class Signer:
    """Signs checkpoints, writer rows and cuts."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self._public = PublicKey(key.public_key().public_bytes_raw())

    @classmethod
    def generate(cls) -> Signer:
        """A signer with a fresh key."""
        return cls(Ed25519PrivateKey.generate())

    @property
    def public_key(self) -> PublicKey:
        """The key that verifies what this one signs."""
        return self._public

    def sign(self, message: bytes) -> bytes:
        """Ed25519 signature, 64 bytes."""
        return self._key.sign(message)

    def private_pem(self) -> bytes:
        """The private key as PKCS #8 PEM, for the key file only."""
        return self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def public_pem(self) -> bytes:
        """The public key as PEM."""
        return self._key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )


def create_keys(directory: Path) -> Signer:
    """Generate both keys of an installation in its `keys` folder. An existing signing key is never replaced.

    The signing key is written last: once it is there, everything is.

    Raises:
        ConfigError: a signing key is there already, or the folder cannot be written.
    """
    signer = Signer.generate()
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if (directory / SIGNING_KEY).exists():
            raise ConfigError(f"{directory / SIGNING_KEY}: this key exists already and is never replaced")
        if not (directory / DIGEST_KEY).exists():
            _write_new(directory / DIGEST_KEY, os.urandom(_DIGEST_KEY_BYTES).hex().encode(), 0o600)
        # Without its private key a public one is left over from an interrupted run.
        (directory / PUBLIC_KEY).unlink(missing_ok=True)
        _write_new(directory / PUBLIC_KEY, signer.public_pem(), 0o644)
        _write_new(directory / SIGNING_KEY, signer.private_pem(), 0o600)
    except OSError as exc:
        raise ConfigError(f"{directory}: audit keys cannot be written: {exc.strerror}") from exc
    return signer


def load_signer(directory: Path) -> Signer:
    """Read the signing key of an installation.

    Raises:
        ConfigError: the key is missing, not an Ed25519 key, or readable by others.
    """
    path = directory / SIGNING_KEY
    try:
        key = serialization.load_pem_private_key(_read_secret(path), password=None)
    except (ValueError, TypeError) as exc:
        raise ConfigError(f"{path}: not a PEM private key") from exc
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"{path}: not an Ed25519 key")
    return Signer(key)


def load_public_key(path: Path) -> PublicKey:
    """Read a public key in PEM, as `create_keys` writes it.

    Raises:
        ConfigError: the file is missing or holds something else.
    """
    try:
        key = serialization.load_pem_public_key(path.read_bytes())
    except OSError as exc:
        raise ConfigError(f"{path}: the public key cannot be read: {exc.strerror}") from exc
    except ValueError as exc:
        raise ConfigError(f"{path}: not a PEM public key") from exc
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigError(f"{path}: not an Ed25519 key")
    return PublicKey(key.public_bytes_raw())


def load_digest_key(directory: Path) -> bytes:
    """Read the key for `query_digest`.

    Raises:
        ConfigError: the key is missing, malformed, or readable by others.
    """
    path = directory / DIGEST_KEY
    try:
        key = bytes.fromhex(_read_secret(path).decode("ascii"))
    except ValueError as exc:
        raise ConfigError(f"{path}: not a key in hex") from exc
    if len(key) != _DIGEST_KEY_BYTES:
        raise ConfigError(f"{path}: {len(key)} bytes instead of {_DIGEST_KEY_BYTES}")
    return key


def _read_secret(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(65_536)
    except OSError as exc:
        raise ConfigError(f"{path}: the key cannot be read: {exc.strerror}") from exc
    if stat.S_IMODE(mode) & 0o077:
        raise ConfigError(f"{path}: others can read or replace this key; set its mode to 0600")
    return content


def _write_new(path: Path, content: bytes, mode: int) -> None:
    temporary = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # A hard link appears whole and, unlike a rename, never replaces a key that is there.
        path.hardlink_to(temporary)
    finally:
        temporary.unlink()
