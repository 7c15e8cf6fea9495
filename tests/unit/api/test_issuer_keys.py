from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from joserfc.jwk import ECKey, OctKey, RSAKey

from secure_rag.errors import ConfigError, UnavailableError
from secure_rag_api.auth.keys import JwksFile, trusted_keys
from tests.unit.api.world import KEY, OTHER_KEY, jwks


def entry(**changes: object) -> dict[str, object]:
    return {**KEY.as_dict(private=False), "kid": "k1", **changes}


def document(*entries: object) -> bytes:
    return json.dumps({"keys": list(entries)}).encode()


def test_public_keys_are_found_by_their_id() -> None:
    found = trusted_keys(jwks(("k1", KEY), ("k2", OTHER_KEY)), "x")
    assert set(found.by_kid) == {"k1", "k2"}
    assert not any(key.is_private for key in found.by_kid.values())


def test_keys_for_encryption_are_left_out() -> None:
    found = trusted_keys(document(entry(), entry(kid="k2", use="enc")), "x")
    assert set(found.by_kid) == {"k1"}


UNFIT: dict[str, bytes] = {
    "empty": b"",
    "no keys": b"{}",
    "a list": b"[]",
    "null": b"null",
    "keys is a number": b'{"keys": 1}',
    "a key is a number": b'{"keys": [1]}',
    "no key at all": b'{"keys": []}',
    "not UTF-8": b"\xff",
    "incomplete": document({"kty": "EC"}),
    "for encryption only": document(entry(use="enc")),
    "without id": document({k: v for k, v in entry().items() if k != "kid"}),
    "empty id": document(entry(kid="")),
    "id is a number": document(entry(kid=7)),
    "long id": document(entry(kid="k" * 201)),
    "id twice": document(entry(), entry()),
    "private": document({**KEY.as_dict(private=True), "kid": "k1"}),
    "symmetric": document({**OctKey.generate_key(256).as_dict(), "kid": "k1"}),
}


@pytest.mark.parametrize("name", UNFIT)
def test_what_is_not_a_set_of_fit_public_keys_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"^issuer\.json: "):
        trusted_keys(UNFIT[name], "issuer.json")


@pytest.mark.filterwarnings("ignore:Key size should be")
def test_a_short_rsa_key_is_refused() -> None:
    short = RSAKey.generate_key(1024).as_dict(private=False)
    with pytest.raises(ConfigError, match="fewer than 2048 bits"):
        trusted_keys(document({**short, "kid": "k1"}), "issuer.json")


def test_a_refusal_never_quotes_the_key() -> None:
    private = KEY.as_dict(private=True)
    with pytest.raises(ConfigError) as caught:
        trusted_keys(document({**private, "kid": "k1"}), "issuer.json")
    assert str(private["d"]) not in str(caught.value)
    assert caught.value.__cause__ is None


def replace(path: Path, raw: bytes, *, age_s: int = 60) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_bytes(raw)
    settled = fresh.stat().st_mtime_ns - age_s * 1_000_000_000
    os.utime(fresh, ns=(settled, settled))
    fresh.replace(path)


def test_a_replaced_file_is_noticed_and_changes_the_revision(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    replace(path, jwks(("k1", KEY)))
    source = JwksFile(path)
    first = source.current()
    assert source.current() is first
    replace(path, jwks(("k2", OTHER_KEY)))
    second = source.current()
    assert set(second.by_kid) == {"k2"}
    assert second.revision != first.revision


def test_a_rewrite_of_same_size_and_time_just_after_reading_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    one, two = jwks(("k1", KEY)), jwks(("k2", KEY))
    assert len(one) == len(two)
    path.write_bytes(one)
    stamp = path.stat().st_mtime_ns
    source = JwksFile(path)
    path.write_bytes(two)
    os.utime(path, ns=(stamp, stamp))
    assert set(source.current().by_kid) == {"k2"}


@pytest.mark.parametrize("broken", [None, b"", b'{"keys": []}', b" " * 300_000])
def test_a_file_that_goes_bad_stops_authentication_until_it_is_good_again(
    tmp_path: Path, broken: bytes | None
) -> None:
    path = tmp_path / "jwks.json"
    replace(path, jwks(("k1", KEY)))
    source = JwksFile(path)
    if broken is None:
        path.unlink()
    else:
        replace(path, broken, age_s=30)
    for _ in range(2):
        with pytest.raises(UnavailableError):
            source.current()
    replace(path, jwks(("k1", KEY)), age_s=10)
    assert set(source.current().by_kid) == {"k1"}


def test_a_missing_file_is_a_configuration_error_at_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"jwks\.json: cannot be read"):
        JwksFile(tmp_path / "jwks.json")


def test_an_ec_key_of_another_curve_is_still_a_key() -> None:
    other = ECKey.generate_key("P-384")
    assert set(trusted_keys(jwks(("k", other)), "x").by_kid) == {"k"}
