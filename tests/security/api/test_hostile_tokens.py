"""Tokens that must not pass, each through the whole application; and none tells the caller why it did not."""

from __future__ import annotations

import base64
import hmac
import json
import string

import pytest
from joserfc import jwe, jws, jwt
from joserfc.jwk import OctKey

from tests.controls import control
from tests.unit.api.world import (
    HEADER,
    ISSUER,
    JSON,
    KEY,
    NOW_S,
    OTHER_KEY,
    SUBJECT_HEADER,
    World,
    ask,
    call,
    caller_claims,
    caller_token,
    identity_headers,
    sign,
    subject_claims,
    subject_token,
    unsigned,
)

REFUSED = b'{"type":"urn:secure-rag:problem:unauthenticated","title":"Authentication required","status":401}'


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def raw_claims(payload: str) -> str:
    """Signed, with a payload that no JSON library of ours would write."""
    return jws.serialize_compact(dict(HEADER), payload, KEY, algorithms=["ES256"])


def signed_with_public_key(secret: bytes) -> str:
    signed = unsigned({**HEADER, "alg": "HS256"}, caller_claims()).removesuffix(".")
    return f"{signed}.{b64(hmac.digest(secret, signed.encode(), 'sha256'))}"


def embedded_key() -> str:
    header = {**HEADER, "jwk": OTHER_KEY.as_dict(private=False)}
    return sign(header, caller_claims(), OTHER_KEY)


def encrypted() -> str:
    secret = OctKey.generate_key(256)
    header = {"alg": "dir", "enc": "A256GCM"}
    return jwe.encrypt_compact(header, json.dumps(caller_claims()), secret)


def changed_payload() -> str:
    head, _, signature = caller_token().split(".")
    return f"{head}.{b64(json.dumps(caller_claims('app:console')).encode())}.{signature}"


def without_kid() -> str:
    return sign({"alg": "ES256", "typ": "at+jwt"}, caller_claims())


HUGE = json.dumps({**caller_claims(), "exp": 0}).replace('"exp": 0', '"exp": 1e300')
NAN = json.dumps({**caller_claims(), "exp": 0}).replace('"exp": 0', '"exp": NaN')

CALLERS: dict[str, str] = {
    "alg none": unsigned({**HEADER, "alg": "none"}, caller_claims()),
    "alg None with a signature": unsigned({**HEADER, "alg": "None"}, caller_claims(), "AAAA"),
    "signature cut off": caller_token().rpartition(".")[0] + ".",
    "signature of another token": caller_token().rpartition(".")[0]
    + "."
    + subject_token().rpartition(".")[2],
    "payload changed": changed_payload(),
    "HS256 with the public key as PEM": signed_with_public_key(KEY.as_pem(private=False)),
    "HS256 with the public key as JWK": signed_with_public_key(
        json.dumps(KEY.as_dict(private=False)).encode()
    ),
    "another key under our kid": sign(HEADER, caller_claims(), OTHER_KEY),
    "embedded key": embedded_key(),
    "embedded key beside ours": sign({**HEADER, "jwk": KEY.as_dict(private=False)}, caller_claims()),
    "address of a key": sign({**HEADER, "jku": "https://evil.example/jwks.json"}, caller_claims()),
    "certificate chain": sign({**HEADER, "x5c": ["MIIB"]}, caller_claims()),
    "unknown kid": sign({**HEADER, "kid": "other"}, caller_claims()),
    "missing kid": without_kid(),
    "empty kid": sign({**HEADER, "kid": ""}, caller_claims()),
    "missing typ": jwt.encode(
        {"alg": "ES256", "kid": HEADER["kid"]}, caller_claims(), KEY, algorithms=["ES256"], default_type=None
    ),
    "typ of a subject": sign(SUBJECT_HEADER, caller_claims()),
    "audience of a subject": caller_token(aud=ISSUER.subject_audience),
    "audience of another service": caller_token(aud="payroll"),
    "two audiences": caller_token(aud=["payroll", ISSUER.audience]),
    "our audience twice": caller_token(aud=[ISSUER.audience, ISSUER.audience]),
    "no audience": caller_token(aud=None),
    "audience is an object": caller_token(aud={ISSUER.audience: True}),
    "another issuer": caller_token(iss="https://idp.globex.example"),
    "issuer in other case": caller_token(iss=ISSUER.issuer.upper()),
    "no issuer": caller_token(iss=None),
    "issuer is a list": caller_token(iss=[ISSUER.issuer]),
    "expired": caller_token(iat=NOW_S - 700, exp=NOW_S),
    "expired a second ago": caller_token(iat=NOW_S - 700, exp=NOW_S - 1),
    "no exp": caller_token(exp=None),
    "exp as text": caller_token(exp=str(NOW_S + 600)),
    "exp as a float": caller_token(exp=NOW_S + 600.5),
    "exp 1e300": raw_claims(HUGE),
    "exp NaN": raw_claims(NAN),
    "exp true": caller_token(exp=True, iat=0),
    "lives too long": caller_token(exp=NOW_S + 10_000),
    "never ends": caller_token(exp=2**53),
    "exp before iat": caller_token(iat=NOW_S, exp=NOW_S - 10),
    "no iat": caller_token(iat=None),
    "issued in the future": caller_token(iat=NOW_S + 60, exp=NOW_S + 600),
    "negative iat": caller_token(iat=-5),
    "not yet valid": caller_token(nbf=NOW_S + 60),
    "nbf as text": caller_token(nbf="0"),
    "nbf as a float": caller_token(nbf=1.5),
    "no sub": caller_token(sub=None),
    "sub is a number": caller_token(sub=7),
    "sub is a list": caller_token(sub=["app:helpdesk"]),
    "sub in other case": caller_token(sub="app:HelpDesk"),
    "sub with a newline": caller_token(sub="app:helpdesk\n"),
    "sub in full-width letters": caller_token(sub="app:\uff48elpdesk"),
    "sub without a kind": caller_token(sub="helpdesk"),
    "a person as caller": caller_token("user:ada.marsh"),
    "a group as caller": caller_token("group:engineering"),
    "everyone as caller": caller_token("everyone"),
    "a delegation in the caller's token": caller_token(delegation="dlg-000001"),
    "no tenant": caller_token(tenant=None),
    "tenant is a list": caller_token(tenant=["acme"]),
    "tenant with a slash": caller_token(tenant="acme/globex"),
    "other tenant": caller_token(tenant="globex"),
    "encrypted": encrypted(),
    "longer than 8 KiB": caller_token(pad="x" * 9_000),
    "40 kB": "a" * 40_000,
    "critical extension": sign({**HEADER, "crit": ["b64"], "b64": True}, caller_claims()),
    "claims are a list": raw_claims("[1]"),
    "claims are not JSON": raw_claims("{"),
    "claims are not UTF-8": f"{b64(json.dumps(dict(HEADER)).encode())}.{b64(bytes([255, 254]))}.AAAA",
    "header is a list": f"{b64(b'[]')}.{b64(b'{}')}.AAAA",
    "header nests deeply": f"{b64(b'[' * 3000)}.{b64(b'{}')}.AAAA",
    "not base64": "a b.c.d",
    "dots": "..",
    "empty": "",
    "padding": caller_token() + "==",
    "a space before it": " " + caller_token(),
    "two tokens": f"{caller_token()} {caller_token()}",
}

SUBJECTS: dict[str, str] = {
    "the caller's token again": caller_token(),
    "alg none": unsigned({**SUBJECT_HEADER, "alg": "none"}, subject_claims()),
    "typ of a caller": sign(HEADER, subject_claims()),
    "audience of a caller": subject_token(aud=ISSUER.audience),
    "both audiences": subject_token(aud=[ISSUER.audience, ISSUER.subject_audience]),
    "other tenant": subject_token(tenant="globex"),
    "expired": subject_token(iat=NOW_S - 700, exp=NOW_S),
    "an application as subject": subject_token("app:helpdesk"),
    "a group as subject": subject_token("group:board"),
    "everyone as subject": subject_token("everyone"),
    "a mail address as subject": subject_token("ada.marsh@acme.example"),
    "delegation of another caller": subject_token("app:portal", delegation="dlg-000001"),
    "delegation of the person": subject_token("user:ada.marsh", delegation="dlg-000001"),
    "empty delegation": subject_token("app:helpdesk", delegation=""),
    "delegation is null in the claims": sign(
        SUBJECT_HEADER, {**subject_claims("app:helpdesk"), "delegation": None}
    ),
    "delegation is a list": subject_token("app:helpdesk", delegation=["dlg-000001"]),
    "delegation with a quote": subject_token("app:helpdesk", delegation="dlg'000001"),
    "literal delegation without id": "delegation:",
    "literal delegation too short": "delegation:a",
    "literal delegation too long": "delegation:" + "a" * 65,
    "literal delegation with a slash": "delegation:../../etc",
    "literal delegation with a newline": "delegation:dlg-000001\n",
    "literal delegation in capitals": "DELEGATION:dlg-000001",
    "a bare name": "user:ada.marsh",
    "Bearer before it": f"Bearer {subject_token()}",
    "empty": "",
}


def test_the_good_ones_pass() -> None:
    assert ask(World().app()).status == 200


@control("api:token-signature", "api:token-claims", "api:two-identities", "api:authenticated-first")
@pytest.mark.parametrize("name", CALLERS)
def test_a_hostile_caller_token_is_refused_like_any_other(name: str) -> None:
    world = World()
    reply = ask(world.app(), b"not even JSON", identity_headers(CALLERS[name]))
    expected = (431,) if name == "40 kB" else (401,)
    assert reply.status in expected
    if reply.status == 401:
        assert reply.body == REFUSED
        assert reply.headers["www-authenticate"] == 'Bearer realm="secure-rag"'
    assert world.retriever.asked == []


@control("api:two-identities", "api:authenticated-first")
@pytest.mark.parametrize("name", SUBJECTS)
def test_a_hostile_subject_token_is_refused_like_any_other(name: str) -> None:
    world = World()
    headers = [("Authorization", f"Bearer {caller_token()}"), ("X-Subject-Token", SUBJECTS[name])]
    reply = ask(world.app(), b"not even JSON", headers)
    assert (reply.status, reply.body) == (401, REFUSED)
    assert world.retriever.asked == []


@control("api:two-identities")
@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("Authorization", f"Bearer {caller_token()}")],
        [("X-Subject-Token", subject_token())],
        [("Authorization", caller_token()), ("X-Subject-Token", subject_token())],
        [("Authorization", f"Basic {caller_token()}"), ("X-Subject-Token", subject_token())],
        [("Authorization", "Bearer"), ("X-Subject-Token", subject_token())],
        [("Authorization", f"Bearer {subject_token()}"), ("X-Subject-Token", caller_token())],
        [("X-Caller-Token", caller_token()), ("X-Subject-Token", subject_token())],
    ],
)
def test_missing_and_swapped_identities_are_refused(headers: list[tuple[str, str]]) -> None:
    reply = ask(World().app(), headers=headers)
    assert (reply.status, reply.body) == (401, REFUSED)


@control("api:one-meaning", "api:two-identities")
@pytest.mark.parametrize("name", ["Authorization", "X-Subject-Token"])
def test_a_repeated_identity_is_ambiguous(name: str) -> None:
    good = dict(identity_headers())
    headers = [*good.items(), (name.lower(), good[name])]
    world = World()
    assert ask(world.app(), headers=headers).status == 400
    assert world.retriever.asked == []


@control("api:two-identities")
def test_tokens_elsewhere_than_in_their_headers_do_not_count() -> None:
    query = f"access_token={caller_token()}&subject_token={subject_token()}"
    cookie = ("Cookie", f"token={caller_token()}; subject={subject_token()}")
    assert call(World().app(), "POST", "/v1/retrieve", [JSON, cookie], b"{}", query=query).status == 401


@control("api:token-signature")
def test_every_changed_byte_of_a_token_breaks_it() -> None:
    letters = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
    app, token = World().app(), caller_token()
    for i in range(0, len(token), 3):
        if token[i] != ".":
            # The first of the six bits: the last ones of a segment may be padding and mean nothing.
            other = letters[letters.index(token[i]) ^ 32]
            assert ask(app, headers=identity_headers(token[:i] + other + token[i + 1 :])).status == 401, i
