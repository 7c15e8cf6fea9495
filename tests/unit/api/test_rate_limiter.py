from __future__ import annotations

from secure_rag.model.ids import PrincipalId
from secure_rag.model.subject import CallerIdentity
from secure_rag_api.rate import CALLER_FACTOR, RateLimiter
from tests.unit.api.world import ManualClock


def who(
    subject: str = "user:ada.marsh", caller: str = "app:helpdesk", tenant: str = "acme"
) -> CallerIdentity:
    return CallerIdentity(tenant, PrincipalId(caller), PrincipalId(subject))


def delegated(delegation: str) -> CallerIdentity:
    return CallerIdentity("acme", PrincipalId("agent:researcher"), None, delegation)


def admitted(limiter: RateLimiter, identity: CallerIdentity, tries: int) -> int:
    return sum(limiter.wait_s(identity) == 0 for _ in range(tries))


def test_a_burst_is_a_sixth_of_the_minute_and_refills_at_the_rate() -> None:
    clock = ManualClock()
    limiter = RateLimiter(60, clock)
    assert admitted(limiter, who(), 30) == 10
    clock.advance(3)
    assert admitted(limiter, who(), 30) == 3
    clock.advance(3_600)
    assert admitted(limiter, who(), 30) == 10


def test_wait_says_when_it_is_worth_trying_again() -> None:
    clock = ManualClock()
    limiter = RateLimiter(6, clock)
    assert limiter.wait_s(who()) == 0
    wait = limiter.wait_s(who())
    assert wait == 10
    clock.advance(wait - 1)
    assert limiter.wait_s(who()) == 1
    clock.advance(1)
    assert limiter.wait_s(who()) == 0


def test_the_smallest_rate_still_admits_one() -> None:
    assert admitted(RateLimiter(1, ManualClock()), who(), 5) == 1


def test_subjects_callers_and_tenants_do_not_share() -> None:
    limiter = RateLimiter(6, ManualClock())
    others = [who(), who("user:lin.okafor"), who(caller="app:portal"), who(tenant="globex")]
    assert [limiter.wait_s(x) for x in others] == [0, 0, 0, 0]
    assert all(limiter.wait_s(x) > 0 for x in others)


def test_ever_new_delegations_share_the_callers_own_limit() -> None:
    limiter = RateLimiter(60, ManualClock())
    passed = sum(limiter.wait_s(delegated(f"made-up-{i}")) == 0 for i in range(5_000))
    assert passed == 10 * CALLER_FACTOR


def test_a_refused_call_does_not_use_up_the_callers_limit() -> None:
    limiter = RateLimiter(60, ManualClock())
    assert admitted(limiter, who(), 10_000) == 10
    assert limiter.wait_s(who("user:lin.okafor")) == 0


def test_churn_never_resets_a_bucket_and_memory_is_bounded() -> None:
    clock = ManualClock()
    limiter = RateLimiter(60, clock, max_entries=50)
    assert admitted(limiter, who(), 100) == 10
    for i in range(200):
        limiter.wait_s(who(f"user:u{i}", caller=f"app:a{i}"))
    assert len(limiter._pairs._buckets) <= 50
    assert limiter.wait_s(who()) > 0
    clock.advance(20)
    assert limiter.wait_s(who("user:new", caller="app:new")) == 0


def test_a_clock_that_steps_back_neither_refills_nor_freezes() -> None:
    clock = ManualClock()
    limiter = RateLimiter(60, clock)
    assert admitted(limiter, who(), 20) == 10
    clock.advance(-3_600)
    assert limiter.wait_s(who()) > 0
    clock.advance(2)
    assert limiter.wait_s(who()) == 0
