"""Verifies the two tokens of a call: who calls, and for whom.

Invariants
- Both tokens are signed by a key of the configured issuer, named by `kid`, with an allowed algorithm.
- Kinds never stand in for each other: each has its own `typ` and its own audience, and exactly one audience.
- A token lives at most `max_lifetime_s`; its times are integers; an expired one is refused to the second.
- Both tokens name the same tenant.
- Every failure looks the same to the caller; reasons are fixed words that go to the log only.
"""

from __future__ import annotations

import hashlib
import logging
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol

from joserfc import jwt
from joserfc.errors import UnsupportedAlgorithmError
from joserfc.jwa import JWSAlgModel
from joserfc.jwk import GuestProtocol, Key
from joserfc.jws import JWSRegistry
from joserfc.registry import HeaderParameter

from secure_rag.config import IssuerSettings
from secure_rag.errors import AuthenticationError, ConfigError, PolicyError
from secure_rag.model.ids import PrincipalId, name, principal_id
from secure_rag.model.subject import CallerIdentity
from secure_rag.ports import Clock
from secure_rag_api.auth.keys import KeySource, PublicKey, TrustedKeys

_log = logging.getLogger(__name__)

MAX_TOKEN_BYTES: Final = 8 * 1024
LEEWAY_S: Final = 5
"""How far the issuer's clock may run ahead of ours. Expiry has no leeway."""
DELEGATION_PREFIX: Final = "delegation:"

CALLER_KINDS: Final = ("app:", "agent:")
SUBJECT_KINDS: Final = ("user:", "service:", "agent:")

_JWT: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_DELEGATION: Final = re.compile(r"[A-Za-z0-9_-]{8,64}")
_LAST_INSTANT: Final = 2**40


class _Kind(Enum):
    """A kind of token: its `typ` and the principals that it may name."""

    CALLER = ("at+jwt", CALLER_KINDS)
    SUBJECT = ("JWT", SUBJECT_KINDS)

    def __init__(self, typ: str, principals: tuple[str, ...]) -> None:
        self.typ = typ
        self.principals = principals


@dataclass(frozen=True, slots=True)
class _Verified:
    """What a token says, once its signature and claims have been checked."""

    tenant: str
    principal: PrincipalId
    delegation: str | None
    expires_s: int


class _RefusedError(Exception):
    """A token is not accepted; the reason is one of our own words."""


class Authenticator(Protocol):
    """What the routes need."""

    def identity(self, authorization: str | None, subject_token: str | None) -> CallerIdentity:
        """Who calls and for whom, from the values of the two headers.

        Raises:
            AuthenticationError: anything about them is not in order.
            UnavailableError: nobody can be authenticated now.
        """
        ...


class _OnlySigned(JWSRegistry):
    """Allowed algorithms and header parameters, nothing else.

    The library's registry would fall back to its recommended algorithms (HS256 among them) on an empty list,
    and would read embedded keys (`jwk`, `x5c`) and addresses of keys (`jku`, `x5u`).
    """

    default_header_registry: Final = {  # type: ignore[misc]  # the library's class attribute is a plain dict
        "alg": HeaderParameter("Algorithm", "str", required=True),
        "kid": HeaderParameter("Key ID", "str", required=True),
        "typ": HeaderParameter("Type", "str", required=True),
        "x5t": HeaderParameter("Thumbprint, ignored", "str"),
        "x5t#S256": HeaderParameter("Thumbprint, ignored", "str"),
    }

    def get_alg(self, name: str) -> JWSAlgModel:
        """An allowed algorithm. EdDSA, which many issuers still say for Ed25519, passes without a warning."""
        if name not in (self.allowed or ()):
            raise UnsupportedAlgorithmError("not allowed")
        return self.algorithms[name]


class TokenVerifier:
    """Turns the two headers of a call into a `CallerIdentity`.

    Args:
        settings: issuer, audiences, algorithms and the longest lifetime.
        keys: the issuer's public keys.
        clock: the current time.
        cache_size: verified tokens remembered (by SHA-256) until they expire.

    Raises:
        ConfigError: no algorithm is allowed, or both audiences are the same.
    """

    def __init__(
        self, settings: IssuerSettings, keys: KeySource, clock: Clock, *, cache_size: int = 4096
    ) -> None:
        if not settings.algorithms:
            raise ConfigError("issuer.algorithms: at least one is needed")
        if settings.audience == settings.subject_audience:
            raise ConfigError("issuer.subject_audience: must differ from issuer.audience")
        self._keys = keys
        self._clock = clock
        self._max_lifetime_s = settings.max_lifetime_s
        self._registry = _OnlySigned(algorithms=list(settings.algorithms))
        self._audiences = {_Kind.CALLER: settings.audience, _Kind.SUBJECT: settings.subject_audience}
        self._claims = {kind: self._claims_of(settings, kind) for kind in _Kind}
        self._cache: OrderedDict[bytes, tuple[bytes, _Verified]] = OrderedDict()
        self._cache_size = cache_size
        self._lock = threading.Lock()

    def identity(self, authorization: str | None, subject_token: str | None) -> CallerIdentity:
        """Who calls and for whom. A delegation's last hop is compared with the caller by whoever reads the chain.

        Args:
            authorization: `Bearer <token>` of the caller.
            subject_token: a token of the person, service or agent; or one that names a delegation of the caller;
                or `delegation:<id>`, which is no secret, since it is bound to the caller.

        Raises:
            AuthenticationError: anything about them is not in order.
            UnavailableError: the issuer's keys cannot be read.
        """
        try:
            return self._identity(authorization or "", subject_token or "")
        except _RefusedError as refused:
            _log.info("authentication refused: %s", refused)
        raise AuthenticationError("not authenticated")

    def _identity(self, authorization: str, subject_token: str) -> CallerIdentity:
        keys = self._keys.current()
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer":
            raise _RefusedError("no bearer token")
        caller = self._verify(_Kind.CALLER, token, keys)
        if caller.delegation is not None:
            raise _RefusedError("delegation in the caller's token")
        if subject_token.startswith(DELEGATION_PREFIX):
            delegation = _delegation(subject_token.removeprefix(DELEGATION_PREFIX))
            return CallerIdentity(caller.tenant, caller.principal, None, delegation)
        subject = self._verify(_Kind.SUBJECT, subject_token, keys)
        if subject.tenant != caller.tenant:
            raise _RefusedError("tenants differ")
        if subject.delegation is None:
            return CallerIdentity(caller.tenant, caller.principal, subject.principal)
        if subject.principal != caller.principal:
            raise _RefusedError("delegation of another caller")
        return CallerIdentity(caller.tenant, caller.principal, None, subject.delegation)

    def _verify(self, kind: _Kind, token: str, keys: TrustedKeys) -> _Verified:
        if len(token) > MAX_TOKEN_BYTES or not _JWT.fullmatch(token):
            raise _RefusedError(f"{kind.name.lower()}: not a signed token")
        digest = hashlib.sha256(f"{kind.name}\0{token}".encode("ascii")).digest()
        now = self._now()
        with self._lock:
            revision, found = self._cache.get(digest, (b"", None))
            if found is not None and revision == keys.revision and now < found.expires_s:
                self._cache.move_to_end(digest)
                return found
        verified = self._decode(kind, token, keys, now)
        with self._lock:
            self._cache[digest] = (keys.revision, verified)
            self._cache.move_to_end(digest)
            while len(self._cache) > self._cache_size:
                self._cache.popitem(last=False)
        return verified

    def _decode(self, kind: _Kind, token: str, keys: TrustedKeys, now: int) -> _Verified:
        word = kind.name.lower()
        try:
            decoded = jwt.decode(token, _picker(keys), registry=self._registry)
            # `jwt.decode` checks no claim; without `essential` a missing one would pass.
            self._claims[kind].validate(decoded.claims)
        except _RefusedError:
            raise
        # Besides its own errors the library lets ValueError, TypeError, KeyError and UnicodeError through.
        except Exception as error:  # noqa: BLE001 - whatever it is, the token is not accepted
            raise _RefusedError(f"{word}: {type(error).__name__}") from None
        if str(decoded.header.get("typ")).lower() != kind.typ.lower():
            raise _RefusedError(f"{word}: another kind of token")
        claims: Mapping[str, object] = decoded.claims
        # The library takes a list that merely contains our audience.
        if claims["aud"] not in (self._audiences[kind], [self._audiences[kind]]):
            raise _RefusedError(f"{word}: more than one audience")
        return self._checked(kind, claims, now)

    def _checked(self, kind: _Kind, claims: Mapping[str, object], now: int) -> _Verified:
        word = kind.name.lower()
        issued, expires = _instant(claims["iat"]), _instant(claims["exp"])
        if not now < expires or not 0 < expires - issued <= self._max_lifetime_s:
            raise _RefusedError(f"{word}: lifetime")
        if "nbf" in claims:
            _instant(claims["nbf"])
        delegation = _delegation(claims["delegation"]) if "delegation" in claims else None
        # A token that names a delegation is the caller's own.
        allowed = kind.principals if delegation is None else _Kind.CALLER.principals
        tenant, sub = claims["tenant"], claims["sub"]
        try:
            if not isinstance(tenant, str) or not isinstance(sub, str) or not sub.startswith(allowed):
                raise _RefusedError(f"{word}: subject or tenant")
            return _Verified(name(tenant, "tenant"), principal_id(sub), delegation, expires)
        except PolicyError:
            raise _RefusedError(f"{word}: subject or tenant") from None

    def _claims_of(self, settings: IssuerSettings, kind: _Kind) -> jwt.JWTClaimsRegistry:
        return jwt.JWTClaimsRegistry(
            now=self._now,
            leeway=LEEWAY_S,
            iss={"essential": True, "value": settings.issuer},
            aud={"essential": True, "value": self._audiences[kind]},
            exp={"essential": True},
            iat={"essential": True},
            sub={"essential": True},
            tenant={"essential": True},
        )

    def _now(self) -> int:
        return self._clock.now() // 1_000_000


def _picker(keys: TrustedKeys) -> Callable[[GuestProtocol], Key]:
    def pick(token: GuestProtocol) -> PublicKey:
        # The library would take the only key of a set for a token that names none.
        found = keys.by_kid.get(token.headers()["kid"])
        if found is None:
            raise _RefusedError("unknown key id")
        return found

    return pick


def _instant(value: object) -> int:
    # JSON's `1e300` is a valid NumericDate and a float; so is `true` an int to Python.
    if type(value) is not int or not 0 <= value < _LAST_INSTANT:
        raise _RefusedError("a time is not an integer in range")
    return value


def is_delegation_id(text: str) -> bool:
    """Whether a text has the form of a delegation id."""
    return _DELEGATION.fullmatch(text) is not None


def _delegation(value: object) -> str:
    if not isinstance(value, str) or not is_delegation_id(value):
        raise _RefusedError("not a delegation id")
    return value
