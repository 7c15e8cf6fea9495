from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from secure_rag.config import IssuerSettings, Profile, Settings
from secure_rag.errors import AuthenticationError, ConfigError
from secure_rag_api.auth.development_issuer import (
    DEVELOPMENT_ISSUER,
    KEY_FILE,
    DevelopmentIssuer,
    is_loopback,
)
from secure_rag_api.auth.setup import verifier_of
from tests.controls import control
from tests.unit.api.world import ISSUER, KEY, KID, ManualClock, jwks

DEVELOPMENT = Settings(profile=Profile.DEVELOPMENT)
CLOCK = ManualClock()
ANY = str(IPv4Address(0))


def opened(home: Path, **more: str) -> DevelopmentIssuer:
    return DevelopmentIssuer.open(home, DEVELOPMENT, CLOCK, **more)


def test_its_tokens_are_accepted_by_the_development_service(tmp_path: Path) -> None:
    checked = verifier_of(tmp_path, DEVELOPMENT, CLOCK, host="127.0.0.1")
    person = opened(tmp_path).issue(app="app:helpdesk", tenant="acme", subject="user:ada.marsh")
    found = checked.identity(f"Bearer {person.token}", person.subject_token)
    assert (found.tenant, found.caller, found.subject, found.delegation) == (
        "acme",
        "app:helpdesk",
        "user:ada.marsh",
        None,
    )
    agent = opened(tmp_path).issue(app="agent:researcher", tenant="acme", delegation="dlg-000001")
    found = checked.identity(f"Bearer {agent.token}", agent.subject_token)
    assert (found.caller, found.subject, found.delegation) == ("agent:researcher", None, "dlg-000001")


@control("api:development-issuer")
def test_it_opens_in_the_development_profile_on_loopback_only(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="development profile only"):
        DevelopmentIssuer.open(tmp_path, Settings(), CLOCK)
    configured = DEVELOPMENT.model_copy(update={"issuer": ISSUER})
    with pytest.raises(ConfigError, match="configured issuer"):
        DevelopmentIssuer.open(tmp_path, configured, CLOCK)
    for host in (
        ANY,
        "::",
        "",
        "192.168.1.4",
        "rag.acme.example",
        "127.0.0.1.acme.example",
        "::ffff:10.0.0.1",
    ):
        with pytest.raises(ConfigError, match="loopback"):
            opened(tmp_path, host=host)
    assert not (tmp_path / KEY_FILE).exists()


@pytest.mark.parametrize(("host", "expected"), [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True)])
def test_loopback_addresses(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


@control("api:development-issuer")
def test_production_refuses_its_tokens_its_name_and_its_absence(tmp_path: Path) -> None:
    tokens = opened(tmp_path).issue(app="app:helpdesk", tenant="acme", subject="user:ada.marsh")
    (tmp_path / "jwks.json").write_bytes(jwks((KID, KEY)))
    production = Settings(profile=Profile.PRODUCTION, issuer=ISSUER)
    checked = verifier_of(tmp_path, production, CLOCK, host=ANY)
    with pytest.raises(AuthenticationError):
        checked.identity(f"Bearer {tokens.token}", tokens.subject_token)

    with pytest.raises(ConfigError, match="needs one"):
        verifier_of(tmp_path, Settings(), CLOCK, host="127.0.0.1")
    disguised = IssuerSettings(issuer=DEVELOPMENT_ISSUER, jwks_file=Path("jwks.json"))
    for profile in Profile:
        with pytest.raises(ConfigError, match="cannot be configured"):
            verifier_of(tmp_path, Settings(profile=profile, issuer=disguised), CLOCK, host="127.0.0.1")


@control("api:development-issuer")
def test_production_refuses_its_tokens_even_with_its_key_in_the_key_set(tmp_path: Path) -> None:
    issuer = opened(tmp_path)
    tokens = issuer.issue(app="app:helpdesk", tenant="acme", subject="user:ada.marsh")
    (kid,) = issuer.keys().by_kid
    (tmp_path / "jwks.json").write_bytes(jwks((kid, issuer._key)))
    production = Settings(profile=Profile.PRODUCTION, issuer=ISSUER)
    with pytest.raises(AuthenticationError):
        verifier_of(tmp_path, production, CLOCK, host="127.0.0.1").identity(
            f"Bearer {tokens.token}", tokens.subject_token
        )


def test_another_home_does_not_accept_its_tokens(tmp_path: Path) -> None:
    tokens = opened(tmp_path / "one").issue(app="app:helpdesk", tenant="acme", subject="user:ada.marsh")
    with pytest.raises(AuthenticationError):
        verifier_of(tmp_path / "two", DEVELOPMENT, CLOCK, host="::1").identity(
            f"Bearer {tokens.token}", tokens.subject_token
        )


def test_the_key_is_made_once_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        first = opened(tmp_path)
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / KEY_FILE).stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / KEY_FILE).parent.stat().st_mode) == 0o700
    assert opened(tmp_path).keys() == first.keys()
    assert [x.name for x in (tmp_path / "keys").iterdir()] == ["dev-issuer"]


def test_processes_that_start_together_agree_on_one_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: opened(tmp_path).keys(), range(8)))
    assert len({x.revision for x in found}) == 1


def test_a_key_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    opened(tmp_path)
    (tmp_path / KEY_FILE).chmod(0o640)
    with pytest.raises(ConfigError, match="mode 600"):
        opened(tmp_path)


def test_a_key_file_that_is_a_link_is_refused(tmp_path: Path) -> None:
    opened(tmp_path / "elsewhere")
    (tmp_path / "keys").mkdir()
    (tmp_path / KEY_FILE).symlink_to(tmp_path / "elsewhere" / KEY_FILE)
    with pytest.raises(ConfigError, match="cannot be read"):
        opened(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"not a key", b"-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n"]
)
def test_a_key_file_that_holds_no_key_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / KEY_FILE).write_bytes(content)
    (tmp_path / KEY_FILE).chmod(0o600)
    with pytest.raises(ConfigError, match="not a private P-256 key"):
        opened(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"app": "helpdesk"},
        {"app": "user:ada.marsh"},
        {"subject": "app:helpdesk"},
        {"subject": "everyone"},
        {"subject": None, "delegation": "../x"},
        {"tenant": "Acme Corp"},
        {"subject": "ada@acme.example"},
        {"subject": None},
        {"delegation": "dlg-000001"},
        {"lifetime_s": 0},
        {"lifetime_s": 3_601},
    ],
)
def test_malformed_orders_are_refused(tmp_path: Path, change: dict[str, object]) -> None:
    good: dict[str, object] = {"app": "app:helpdesk", "tenant": "acme", "subject": "user:ada.marsh"}
    with pytest.raises(ConfigError):
        opened(tmp_path).issue(**{**good, **change})  # type: ignore[arg-type]  # wrong on purpose
