"""The issuer's public keys, from a JWKS file that may be replaced while the service runs."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from joserfc.jwk import ECKey, JWKRegistry, OKPKey, RSAKey

from secure_rag.errors import ConfigError, UnavailableError

PublicKey = ECKey | RSAKey | OKPKey

_MAX_BYTES: Final = 256 * 1024
_MIN_RSA_BITS: Final = 2048
_MAX_KID: Final = 200
_SETTLED_NS: Final = 2_000_000_000
"""A file changed more recently than this may change again without a new time stamp; it is read each time."""


@dataclass(frozen=True, slots=True)
class TrustedKeys:
    """Public keys by key id. `revision` changes with the content, so that nothing verified before outlives it."""

    by_kid: Mapping[str, PublicKey]
    revision: bytes


class KeySource(Protocol):
    """Where the verifier gets keys from."""

    def current(self) -> TrustedKeys:
        """The keys to trust now.

        Raises:
            UnavailableError: they cannot be read; nobody can be authenticated.
        """
        ...


@dataclass(frozen=True, slots=True)
class FixedKeys:
    """Keys that never change."""

    keys: TrustedKeys

    def current(self) -> TrustedKeys:
        """The keys."""
        return self.keys


def trusted_keys(raw: bytes, where: str) -> TrustedKeys:
    """Parse a JWKS document. Keys for encryption are left out; everything else must be fit to verify signatures.

    Args:
        raw: JSON of the key set.
        where: named in messages.

    Raises:
        ConfigError: not a key set, a private or symmetric key, a key without an id or with one used twice, a
            short RSA key, or no key left.
    """
    try:
        document = json.loads(raw)
        entries = [x for x in document["keys"] if x.get("use", "sig") == "sig"]
        keys = [JWKRegistry.import_key(entry) for entry in entries]
    # The library raises ValueError, TypeError and its own errors alike; none may quote a key.
    except Exception as error:  # noqa: BLE001 - whatever it is, this is not a key set
        raise ConfigError(f"{where}: not a JSON Web Key Set ({type(error).__name__})") from None
    by_kid: dict[str, PublicKey] = {}
    for key in keys:
        if not isinstance(key, PublicKey) or key.is_private:
            raise ConfigError(f"{where}: holds a private or symmetric key; only public keys belong here")
        if isinstance(key, RSAKey) and key.public_key.key_size < _MIN_RSA_BITS:
            raise ConfigError(f"{where}: holds an RSA key of fewer than {_MIN_RSA_BITS} bits")
        kid = key.kid
        if not isinstance(kid, str) or not 1 <= len(kid) <= _MAX_KID:
            raise ConfigError(f"{where}: holds a key without a key id (kid)")
        if kid in by_kid:
            raise ConfigError(f"{where}: two keys have the same key id (kid)")
        by_kid[kid] = key
    if not by_kid:
        raise ConfigError(f"{where}: holds no key for signatures")
    return TrustedKeys(by_kid, hashlib.sha256(raw).digest())


class JwksFile:
    """A JWKS file, read again when it changes. Replace it by renaming a complete one into its place.

    A file that is gone or broken stops authentication: the old keys may be just the ones to distrust.

    Raises:
        ConfigError: the file cannot be read or is not a usable key set.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._seen: tuple[int, int, int] | None = None
        self._keys: TrustedKeys | None = None
        self._load()

    def current(self) -> TrustedKeys:
        """The keys in the file now.

        Raises:
            UnavailableError: the file is gone or broken.
        """
        with self._lock:
            try:
                if self._seen is None or self._stamp() != self._seen:
                    self._load()
            except (OSError, ConfigError) as error:
                self._keys, self._seen = None, None
                raise UnavailableError("the issuer's keys cannot be read") from error
            if self._keys is None:
                raise UnavailableError("the issuer's keys cannot be read")
            return self._keys

    def _stamp(self) -> tuple[int, int, int]:
        found = self._path.stat()
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _load(self) -> None:
        try:
            stamp = self._stamp()
            with self._path.open("rb") as file:
                raw = file.read(_MAX_BYTES + 1)
        except OSError as error:
            raise ConfigError(f"{self._path}: cannot be read") from error
        if len(raw) > _MAX_BYTES:
            raise ConfigError(f"{self._path}: larger than {_MAX_BYTES} bytes")
        if self._keys is None or self._keys.revision != hashlib.sha256(raw).digest():
            self._keys = trusted_keys(raw, str(self._path))
        self._seen = stamp if time.time_ns() - stamp[0] > _SETTLED_NS else None
