"""A local issuer for development: signs tokens for anybody in the directory, on loopback only.

Production never trusts it: it demands another issuer, whose keys come from elsewhere, and refuses this one's name.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import secrets
import socket
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from secure_rag.config import IssuerSettings, Profile, Settings
from secure_rag.errors import ConfigError, PolicyError
from secure_rag.model.ids import name, principal_id
from secure_rag.ports import Clock
from secure_rag_api.auth.keys import TrustedKeys, trusted_keys
from secure_rag_api.auth.tokens import CALLER_KINDS, SUBJECT_KINDS, is_delegation_id

DEVELOPMENT_ISSUER: Final = "urn:secure-rag:development-issuer"
KEY_FILE: Final = Path("keys") / "dev-issuer"
SETTINGS: Final = IssuerSettings(issuer=DEVELOPMENT_ISSUER, jwks_file=KEY_FILE)
_MAX_KEY_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class IssuedTokens:
    """The two header values of a call: `Authorization: Bearer <token>` and `X-Subject-Token: <subject_token>`."""

    token: str
    subject_token: str


def is_loopback(host: str) -> bool:
    """Whether a host to bind to is this machine alone: a loopback address, or `localhost` meaning only such."""
    if host == "localhost":
        try:
            found = {str(x[4][0]) for x in socket.getaddrinfo(host, None)}
        except OSError:
            return False
        return bool(found) and all(is_loopback(address) for address in found)
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class DevelopmentIssuer:
    """Signs tokens with a key that lies in the home, readable by its owner only."""

    def __init__(self, key: ECKey, clock: Clock) -> None:
        self._key = key
        self._clock = clock

    @classmethod
    def open(cls, home: Path, settings: Settings, clock: Clock, *, host: str = "127.0.0.1") -> Self:
        """The home's issuer; its key is made on first use.

        Args:
            home: the home directory.
            settings: its settings.
            clock: the current time.
            host: where the service binds to.

        Raises:
            ConfigError: the profile is not development, an issuer is configured, the host is not loopback, or
                the key file is not a private key that only its owner can read.
        """
        if settings.profile is not Profile.DEVELOPMENT:
            raise ConfigError("the development issuer works in the development profile only")
        if settings.issuer is not None:
            raise ConfigError("this home trusts a configured issuer; get tokens from there")
        if not is_loopback(host):
            raise ConfigError("the development issuer works on a loopback address only")
        return cls(_open_key(home / KEY_FILE), clock)

    def keys(self) -> TrustedKeys:
        """The public half, as the verifier wants it."""
        public = self._key.as_dict(private=False, kid=self._kid, use="sig", alg="ES256")
        return trusted_keys(json.dumps({"keys": [public]}).encode("utf-8"), "development issuer")

    def issue(
        self,
        *,
        app: str,
        tenant: str,
        subject: str | None = None,
        delegation: str | None = None,
        lifetime_s: int = 3600,
    ) -> IssuedTokens:
        """Tokens for one caller and one subject or delegation.

        Args:
            app: the caller: `app:…`, or `agent:…` where it is the last hop.
            tenant: the tenant of both.
            subject: `user:…`, `service:…` or `agent:…`.
            delegation: id of a delegation whose last hop is the caller.
            lifetime_s: seconds until both expire.

        Raises:
            ConfigError: a name is malformed, the lifetime is out of range, or not exactly one of `subject` and
                `delegation` is given.
        """
        if (subject is None) == (delegation is None):
            raise ConfigError("give either a subject or a delegation")
        if not 1 <= lifetime_s <= SETTINGS.max_lifetime_s:
            raise ConfigError(f"a token lives 1 to {SETTINGS.max_lifetime_s} seconds")
        try:
            caller, tenant = principal_id(app), name(tenant, "tenant")
            who = caller if subject is None else principal_id(subject)
        except PolicyError as error:
            raise ConfigError(str(error)) from error
        if not caller.startswith(CALLER_KINDS):
            raise ConfigError(f"not a caller: {caller} ({' or '.join(CALLER_KINDS)})")
        if subject is not None and not who.startswith(SUBJECT_KINDS):
            raise ConfigError(f"not a subject: {who} ({' or '.join(SUBJECT_KINDS)})")
        if delegation is not None and not is_delegation_id(delegation):
            raise ConfigError("not a delegation id")
        now = self._clock.now() // 1_000_000
        common: dict[str, object] = {
            "iss": DEVELOPMENT_ISSUER,
            "iat": now,
            "exp": now + lifetime_s,
            "tenant": tenant,
        }
        asked: dict[str, object] = {**common, "aud": SETTINGS.subject_audience, "sub": who}
        if delegation is not None:
            asked["delegation"] = delegation
        return IssuedTokens(
            token=self._sign("at+jwt", {**common, "aud": SETTINGS.audience, "sub": caller}),
            subject_token=self._sign("JWT", asked),
        )

    @property
    def _kid(self) -> str:
        return f"development-{self._key.thumbprint()}"

    def _sign(self, typ: str, claims: dict[str, object]) -> str:
        header = {"alg": "ES256", "typ": typ, "kid": self._kid}
        return jwt.encode(header, claims, self._key, algorithms=["ES256"])


def _open_key(path: Path) -> ECKey:
    with contextlib.suppress(FileExistsError):
        _create_key(path)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read") from error
    with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor, opened without following a link
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_mode & 0o077 or found.st_uid != os.geteuid():
            raise ConfigError(f"{path}: must be a file of yours that nobody else can read (mode 600)")
        raw = file.read(_MAX_KEY_BYTES)
    try:
        key = ECKey.import_key(raw)
        if key.is_private and key.curve_name == "P-256":
            return key
    except (JoseError, ValueError, TypeError):
        pass
    raise ConfigError(f"{path}: not a private P-256 key; remove it and a new one is made")


def _create_key(path: Path) -> None:
    """Make the key file whole or not at all; two processes may try at once."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.is_symlink() or path.exists():
        raise FileExistsError
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor, created with its mode
            file.write(ECKey.generate_key("P-256").as_pem(private=True))
            file.flush()
            os.fsync(file.fileno())
        # A link never replaces what another process has put there meanwhile.
        os.link(draft, path, follow_symlinks=False)
    finally:
        draft.unlink(missing_ok=True)
