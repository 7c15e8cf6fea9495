from __future__ import annotations

import hashlib
import json
import warnings

import pytest
from joserfc import jwt
from joserfc.jwk import OKPKey, RSAKey

from secure_rag.config import IssuerSettings
from secure_rag.errors import AuthenticationError, ConfigError, UnavailableError
from secure_rag.model.subject import CallerIdentity
from secure_rag_api.auth.keys import FixedKeys, TrustedKeys, trusted_keys
from secure_rag_api.auth.tokens import TokenVerifier
from tests.controls import control
from tests.unit.api.world import (
    HEADER,
    ISSUER,
    KEY,
    KID,
    OTHER_KEY,
    SUBJECT_HEADER,
    ManualClock,
    caller_claims,
    caller_token,
    jwks,
    sign,
    subject_claims,
    subject_token,
)


class Rotating:
    """Keys that a test replaces."""

    def __init__(self, keys: TrustedKeys | None) -> None:
        self.keys = keys

    def current(self) -> TrustedKeys:
        if self.keys is None:
            raise UnavailableError("gone")
        return self.keys


def keys(raw: bytes | None = None) -> TrustedKeys:
    return trusted_keys(raw or jwks((KID, KEY)), "test")


def verifier(
    clock: ManualClock | None = None, settings: IssuerSettings = ISSUER, **more: int
) -> TokenVerifier:
    return TokenVerifier(settings, FixedKeys(keys()), clock or ManualClock(), **more)


def bearer(token: str | None = None) -> str:
    return f"Bearer {token or caller_token()}"


@pytest.mark.parametrize("subject", ["user:ada.marsh", "service:indexer", "agent:researcher"])
def test_a_subject_is_a_user_a_service_or_an_agent(subject: str) -> None:
    found = verifier().identity(bearer(), subject_token(subject))
    assert found == CallerIdentity("acme", "app:helpdesk", subject)  # type: ignore[arg-type]  # ids as plain text


@pytest.mark.parametrize("caller", ["app:helpdesk", "agent:researcher"])
def test_a_caller_is_an_application_or_an_agent(caller: str) -> None:
    assert verifier().identity(bearer(caller_token(caller)), subject_token()).caller == caller


@pytest.mark.parametrize("caller", ["app:helpdesk", "agent:researcher"])
def test_a_delegation_comes_as_a_claim_or_literally(caller: str) -> None:
    expected = CallerIdentity("acme", caller, None, "dlg_Abc-123")  # type: ignore[arg-type]  # ids as plain text
    by_claim = subject_token(caller, delegation="dlg_Abc-123")
    assert verifier().identity(bearer(caller_token(caller)), by_claim) == expected
    assert verifier().identity(bearer(caller_token(caller)), "delegation:dlg_Abc-123") == expected


def test_the_scheme_is_case_insensitive_and_a_list_of_one_audience_is_one() -> None:
    token = caller_token(aud=[ISSUER.audience])
    assert verifier().identity(f"bEARER {token}", subject_token()).tenant == "acme"


def test_kinds_are_media_types_and_so_case_insensitive() -> None:
    token = sign({**HEADER, "typ": "AT+JWT"}, caller_claims())
    assert verifier().identity(bearer(token), subject_token()).tenant == "acme"


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")
@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "EdDSA"])
def test_other_algorithms_work_when_they_are_configured(algorithm: str) -> None:
    key = OKPKey.generate_key("Ed25519") if algorithm == "EdDSA" else RSAKey.generate_key(2048)
    trusted = keys(json.dumps({"keys": [key.as_dict(private=False, kid="k")]}).encode())
    settings = IssuerSettings.model_validate({**ISSUER.model_dump(), "algorithms": [algorithm]})
    header = {"alg": algorithm, "kid": "k"}
    caller = jwt.encode({**HEADER, **header}, caller_claims(), key, algorithms=[algorithm])
    subject = jwt.encode({**SUBJECT_HEADER, **header}, subject_claims(), key, algorithms=[algorithm])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = TokenVerifier(settings, FixedKeys(trusted), ManualClock()).identity(bearer(caller), subject)
    assert found.caller == "app:helpdesk"
    with pytest.raises(AuthenticationError):
        verifier().identity(bearer(caller), subject)


def test_a_configuration_that_would_weaken_the_check_is_refused() -> None:
    for change in ({"algorithms": ()}, {"subject_audience": ISSUER.audience}):
        with pytest.raises(ConfigError):
            verifier(settings=ISSUER.model_copy(update=change))


@control("api:token-signature")
def test_an_algorithm_of_the_same_key_that_is_not_configured_is_refused() -> None:
    key = RSAKey.generate_key(2048)
    trusted = keys(json.dumps({"keys": [key.as_dict(private=False, kid="k")]}).encode())
    settings = ISSUER.model_copy(update={"algorithms": ("RS256",)})
    checked = TokenVerifier(settings, FixedKeys(trusted), ManualClock())

    def pair(algorithm: str) -> tuple[str, str]:
        header = {"alg": algorithm, "kid": "k"}
        caller = jwt.encode({**HEADER, **header}, caller_claims(), key, algorithms=[algorithm])
        return bearer(caller), jwt.encode(
            {**SUBJECT_HEADER, **header}, subject_claims(), key, algorithms=[algorithm]
        )

    assert checked.identity(*pair("RS256")).tenant == "acme"
    for algorithm in ("PS256", "RS512"):
        with pytest.raises(AuthenticationError):
            checked.identity(*pair(algorithm))


@control("api:token-claims")
def test_a_remembered_token_expires_to_the_second() -> None:
    clock = ManualClock()
    checked, token, subject = verifier(clock), caller_token(), subject_token()
    assert checked.identity(bearer(token), subject).tenant == "acme"
    clock.advance(599)
    assert checked.identity(bearer(token), subject).tenant == "acme"
    assert len(checked._cache) == 2
    clock.advance(1)
    with pytest.raises(AuthenticationError):
        checked.identity(bearer(token), subject)


@control("api:key-rotation")
def test_a_remembered_token_ends_with_its_key() -> None:
    source = Rotating(keys())
    checked = TokenVerifier(ISSUER, source, ManualClock())
    token, subject = caller_token(), subject_token()
    assert checked.identity(bearer(token), subject).tenant == "acme"
    source.keys = keys(jwks(("next", OTHER_KEY)))
    with pytest.raises(AuthenticationError):
        checked.identity(bearer(token), subject)
    source.keys = keys(jwks((KID, OTHER_KEY)))
    with pytest.raises(AuthenticationError):
        checked.identity(bearer(token), subject)
    source.keys = None
    with pytest.raises(UnavailableError):
        checked.identity(bearer(token), subject)


def test_remembered_tokens_are_bounded_and_kept_by_digest() -> None:
    checked = verifier(cache_size=4)
    for i in range(10):
        checked.identity(bearer(), subject_token(f"user:u{i}"))
    assert len(checked._cache) == 4
    token = caller_token()
    checked.identity(bearer(token), subject_token())
    assert hashlib.sha256(f"CALLER\0{token}".encode()).digest() in checked._cache
    assert token not in repr(checked._cache)


def test_only_what_verified_is_remembered() -> None:
    checked = verifier()
    for i in range(5):
        with pytest.raises(AuthenticationError):
            checked.identity(bearer(f"a.{i}.c"), subject_token())
    assert len(checked._cache) == 0


@control("api:two-identities")
def test_a_remembered_token_never_counts_as_the_other_kind() -> None:
    checked = verifier()
    caller, subject = caller_token("agent:researcher"), subject_token("agent:researcher")
    assert checked.identity(bearer(caller), subject).tenant == "acme"
    for swapped in ((bearer(subject), caller), (bearer(caller), caller), (bearer(subject), subject)):
        with pytest.raises(AuthenticationError):
            checked.identity(*swapped)
