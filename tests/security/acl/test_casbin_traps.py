"""Traps of Casbin that were reproduced, each with the test that fails if it comes back."""

from __future__ import annotations

import logging
import logging.config
import threading
from dataclasses import replace
from importlib import metadata
from typing import Any

import casbin
import pytest
from casbin.core_enforcer import EnforceContext

from secure_rag.errors import PolicyError
from secure_rag.model.decisions import Reason
from secure_rag.model.ids import TenantKey
from secure_rag.model.locks import AclClass, Lock
from secure_rag.model.subject import Subject
from secure_rag_acl.casbin_engine import CasbinEngine
from secure_rag_acl.functions import FUNCTIONS, on_locks
from secure_rag_acl.policy import EXPECTED_ROWS, PolicyRow, packaged_policy, parse_rows
from tests.controls import control
from tests.unit.acl.samples import CLASS, GROUP, LOCK, NOW, SUBJECT


@control("acl:startup-invariants")
@pytest.mark.parametrize("effect", ["DENY", "deny ", " Deny", "denied", "", "allow "])
def test_a_misspelt_effect_is_refused(effect: str) -> None:
    with pytest.raises(PolicyError, match="effect"):
        PolicyRow("read", "denied", effect)


@control("acl:startup-invariants")
@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n",
        "p, read, open\n",
        "p, read, open, allow, more\n",
        "g, read, open, allow\n",
        "p, read, opened, allow\n",
        "p, , open, allow\n",
        "p, read, open, allow\np, read, open, allow\n",
    ],
)
def test_malformed_rows_are_refused(text: str) -> None:
    with pytest.raises(PolicyError):
        parse_rows(text)


@control("acl:startup-invariants")
@pytest.mark.parametrize(
    "rows",
    [
        EXPECTED_ROWS[:1],
        EXPECTED_ROWS[1:],
        (*EXPECTED_ROWS, PolicyRow("write", "open", "allow")),
        (PolicyRow("read", "open", "allow"), PolicyRow("read", "denied", "allow")),
        (),
    ],
)
def test_other_rows_than_ours_are_not_served(rows: tuple[PolicyRow, ...]) -> None:
    with pytest.raises(PolicyError, match="rows"):
        CasbinEngine(replace(packaged_policy(), rows=rows))


CONJUNCTS = (
    "r.act == p.act && ",
    " && same_tenant(r.sub, r.cls)",
    " && dominates(r.sub, r.cls)",
    " && need_to_know(r.sub, r.cls)",
    " && hops_allow(r.sub, r.act, r.cls, r.now)",
    "on_locks(p.locks, r.sub, r.cls, r.now) && ",
)


@control("acl:startup-invariants")
@pytest.mark.parametrize("conjunct", CONJUNCTS)
def test_a_model_that_lost_a_control_is_not_served(conjunct: str) -> None:
    policy = packaged_policy()
    assert policy.model.count(conjunct) == 1
    with pytest.raises(PolicyError, match="self-test"):
        CasbinEngine(replace(policy, model=policy.model.replace(conjunct, "")))


@control("acl:startup-invariants")
@pytest.mark.parametrize(
    ("old", "new"),
    [
        (" && !some(where (p.eft == deny))", " "),
        ("some(where (p.eft == allow)) && !some(where (p.eft == deny))", "!some(where (p.eft == deny))"),
        ("on_locks(p.locks", "on_lock(p.locks"),
        ("[matchers]", "[nothing]"),
        ("r = act, sub, cls, now", "r = act, sub, cls"),
    ],
)
def test_an_altered_model_is_not_served(old: str, new: str) -> None:
    policy = packaged_policy()
    assert old in policy.model
    altered = replace(policy, model=policy.model.replace(old, new))
    with pytest.raises(PolicyError):
        CasbinEngine(altered)


@control("acl:deny-overrides")
def test_a_lost_deny_row_cannot_open_a_lock() -> None:
    """The open row asks for locks that no deny closes, so the deny row is a second belt."""
    closed = replace(CLASS, locks=(Lock(LOCK.allow, frozenset({GROUP})),))
    assert on_locks("open", SUBJECT, closed, NOW) is False
    assert on_locks("denied", SUBJECT, closed, NOW) is True


@control("acl:one-casbin")
def test_the_other_distribution_is_absent() -> None:
    with pytest.raises(metadata.PackageNotFoundError):
        metadata.distribution("casbin")
    assert metadata.distribution("pycasbin").version == "2.8.0"


@control("acl:one-casbin", "acl:startup-invariants")
def test_the_engine_refuses_beside_the_other_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    real = metadata.distribution

    def both(name: str) -> metadata.Distribution:
        return real("pycasbin") if name == "casbin" else real(name)

    monkeypatch.setattr(metadata, "distribution", both)
    with pytest.raises(PolicyError, match="beside"):
        CasbinEngine()


@control("acl:empty-policy-denies")
def test_named_functions_say_no_to_empty_strings() -> None:
    for function in FUNCTIONS:
        count = function.__code__.co_argcount
        assert function(*[""] * count) is False


@control("acl:empty-policy-denies")
def test_stock_casbin_without_rows_is_denied_by_the_functions() -> None:
    model = casbin.Enforcer.new_model(text=packaged_policy().model)
    enforcer = casbin.Enforcer(model)
    for function in FUNCTIONS:
        enforcer.add_function(function.__name__, function)
    assert enforcer.enforce("read", SUBJECT, CLASS, NOW) is False


@control("acl:startup-invariants")
def test_an_unknown_check_raises_instead_of_being_false() -> None:
    with pytest.raises(PolicyError, match="unknown check"):
        on_locks("opened", SUBJECT, CLASS, NOW)


@control("acl:error-denies", "acl:startup-invariants")
def test_a_disabled_enforcer_denies() -> None:
    engine = CasbinEngine()
    assert engine.decide(SUBJECT, "read", CLASS, NOW).allowed
    engine._enforcer.enable_enforce(False)
    assert (
        engine._enforcer.enforce("read", SUBJECT, replace(CLASS, tenant=TenantKey(99)), NOW) is True
    )  # the trap
    decision = engine.decide(SUBJECT, "read", CLASS, NOW)
    assert (decision.allowed, decision.reason) == (False, Reason.EVALUATION_ERROR)


@control("acl:error-denies")
@pytest.mark.parametrize("broken", [None, "", 7, object()])
def test_an_error_inside_an_evaluation_denies(broken: Any) -> None:
    """What types rule out must deny all the same."""
    engine = CasbinEngine()
    for arguments in (
        (broken, "read", CLASS, NOW),
        (SUBJECT, "read", broken, NOW),
        (SUBJECT, broken, CLASS, NOW),
    ):
        decision = engine.decide(*arguments)
        assert not decision.allowed


@control("acl:error-denies")
def test_a_model_section_cannot_be_chosen_by_a_request() -> None:
    context: Any = EnforceContext("r", "p", "e", "m")
    decision = CasbinEngine().decide(SUBJECT, context, CLASS, NOW)
    assert decision.reason is Reason.EVALUATION_ERROR


@control("acl:error-denies")
def test_a_function_that_fails_denies_and_is_logged_without_content(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = CasbinEngine()

    def fail(*_: object) -> bool:
        raise RuntimeError("user:ada.marsh")

    engine._enforcer.fm.fm["dominates"] = fail
    engine._enforcer._evaluators = threading.local()
    decision = engine.decide(SUBJECT, "read", CLASS, NOW)
    assert (decision.allowed, decision.reason, decision.rules) == (False, Reason.EVALUATION_ERROR, ())
    said = capsys.readouterr().out
    assert "policy_evaluation_failed" in said
    assert "ada.marsh" not in said


def test_only_our_functions_can_be_called() -> None:
    engine = CasbinEngine()
    assert sorted(engine._enforcer.fm.get_functions()) == sorted(f.__name__ for f in FUNCTIONS)
    engine._enforcer.get_model()["m"]["m"].value = "True"
    assert engine.decide(replace(SUBJECT, closure=frozenset()), "read", CLASS, NOW).allowed is False


def test_a_denial_logs_no_request_even_when_logging_is_configured_later() -> None:
    """Casbin logs whole requests on a denial, and dictConfig switches loggers on that it had disabled."""
    engine, seen = CasbinEngine(), list[logging.LogRecord]()

    class Catcher(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(record)

    root = logging.getLogger()
    before = root.level
    catcher = Catcher()
    try:
        logging.config.dictConfig(
            {"version": 1, "disable_existing_loggers": False, "root": {"level": "DEBUG"}}
        )
        root.addHandler(catcher)
        logging.getLogger("casbin").setLevel(logging.DEBUG)
        assert not engine.decide(replace(SUBJECT, clearance=None), "read", CLASS, NOW).allowed
        assert engine.decide(SUBJECT, "read", CLASS, NOW).allowed
    finally:
        root.removeHandler(catcher)
        root.setLevel(before)
    assert [x for x in seen if "casbin" in x.name or "muted" in x.name] == []


@control("acl:all-locks")
def test_a_class_without_locks_is_open_to_nobody() -> None:
    forged = replace(CLASS)
    object.__setattr__(forged, "locks", ())
    decision = CasbinEngine().decide(SUBJECT, "read", forged, NOW)
    assert (decision.allowed, decision.reason) == (False, Reason.NOT_ON_LIST)
    with pytest.raises(PolicyError):
        replace(CLASS, locks=())


@control("acl:reasons")
def test_a_verdict_names_the_row_that_decided() -> None:
    engine = CasbinEngine()
    assert engine.decide(SUBJECT, "read", CLASS, NOW).rules == ("read/open/allow",)
    closed = replace(CLASS, locks=(Lock(LOCK.allow, frozenset({GROUP})),))
    assert engine.decide(SUBJECT, "read", closed, NOW).rules == ("read/denied/deny",)
    unlabelled = replace(SUBJECT, clearance=None)
    assert engine.decide(unlabelled, "read", CLASS, NOW).rules == ()


def test_threads_get_the_verdicts_of_a_single_thread() -> None:
    """Casbin parses the matcher per call, which under threads fails at random on CPython 3.11; ours parses once."""
    engine = CasbinEngine()
    questions: list[tuple[Subject, AclClass, bool]] = [
        (SUBJECT, CLASS, True),
        (replace(SUBJECT, clearance=None), CLASS, False),
        (SUBJECT, replace(CLASS, locks=(Lock(LOCK.allow, frozenset({GROUP})),)), False),
        (replace(SUBJECT, hops=()), CLASS, False),
    ]
    wrong: list[object] = []

    def ask(offset: int) -> None:
        for number in range(800):
            subject, cls, expected = questions[(number + offset) % len(questions)]
            decision = engine.decide(subject, "read", cls, NOW)
            if decision.allowed is not expected or decision.reason is Reason.EVALUATION_ERROR:
                wrong.append(decision)

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_the_digest_covers_model_and_rows() -> None:
    policy = packaged_policy()
    assert policy.rows == EXPECTED_ROWS
    assert policy.digest == CasbinEngine().model_digest
    assert len(policy.digest) == 64
