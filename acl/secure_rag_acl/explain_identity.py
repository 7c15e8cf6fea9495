"""Why a call has no subject: what is wrong with the caller, the delegation or the person, and what would help."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from secure_rag.database.subjects import DELEGATING_KINDS, PrincipalRow
from secure_rag.model.ids import PrincipalKey, TenantKey
from secure_rag.model.subject import MAX_AGENT_HOPS, CallerIdentity
from secure_rag_acl.explain_account import Fix, Repair

if TYPE_CHECKING:
    from secure_rag.database.views import ReadView
    from secure_rag_acl.explain_sight import Names


def identity_repairs(
    view: ReadView, tenant: TenantKey, identity: CallerIdentity, names: Names
) -> list[Repair]:
    """What has to change so that the call has a subject with at least itself in its closure."""
    found: list[Repair] = []
    if not view.directory_known(tenant):
        says = "import the directory: nobody has rights before that, nor after a restore"
        found.append(Repair(Fix.IMPORT_DIRECTORY, says))
    caller = view.principal(tenant, identity.caller)
    if caller is None or caller.kind not in ("app", "agent"):
        called = identity.caller if caller is None else names.of(caller.key)
        says = f"ask through an application or agent: {called} is none"
        found.append(Repair(Fix.ASK_THROUGH, says))
        caller = None
    elif not caller.active:
        found.append(_activate(caller, names))
    if identity.delegation is None:
        found += _direct(view, tenant, identity, caller, names)
    else:
        found += _delegated(view, tenant, identity.delegation, caller, names)
    return found


def _direct(
    view: ReadView, tenant: TenantKey, identity: CallerIdentity, caller: PrincipalRow | None, names: Names
) -> Iterator[Repair]:
    name = identity.subject or ""
    who = view.principal(tenant, name)
    if who is None:
        yield Repair(Fix.REGISTER, f"import {name} with the directory: it has nobody of that name", name)
    elif who.kind in ("app", "group", "everyone"):
        yield Repair(Fix.ASK_AS, f"ask for a person, a service or an agent: {name} is none", name)
    elif caller is not None and caller.kind == "agent" and caller.key != who.key:
        agent = names.of(caller.key)
        says = f"let {agent} act for {name} with a delegation; an agent has no rights of its users"
        yield Repair(Fix.DELEGATE, says, agent)
        if not who.active:
            yield _activate(who, names)
    elif not who.active:
        yield _activate(who, names)


def _delegated(
    view: ReadView, tenant: TenantKey, public_id: str, caller: PrincipalRow | None, names: Names
) -> Iterator[Repair]:
    broken = _broken(view, tenant, public_id, caller, names)
    if broken is not None:
        says = f"make a new delegation (`secure-rag delegations create`): {broken}"
        yield Repair(Fix.DELEGATE, says, None if caller is None else names.of(caller.key))
    chain = view._chain(tenant, public_id)
    who = view._by_key(tenant, PrincipalKey(chain[0].subject_id)) if chain else None
    if who is not None and who.kind not in DELEGATING_KINDS:
        yield Repair(Fix.DELEGATE, f"delegate for a person or a service: {names.of(who.key)} is none", None)
    elif who is not None and not who.active:
        yield _activate(who, names)


def _broken(
    view: ReadView, tenant: TenantKey, public_id: str, caller: PrincipalRow | None, names: Names
) -> str | None:
    """What is wrong with a delegation, if anything is. The rules are those of `SubjectReader`."""
    chain = view._chain(tenant, public_id)
    if not chain or len(chain) > MAX_AGENT_HOPS:
        return f"there is no such one, or it has more than {MAX_AGENT_HOPS} agents"
    if caller is not None and chain[-1].agent_id != caller.key:
        return f"it was not made for {names.of(caller.key)}"
    maker = view._by_key(tenant, PrincipalKey(chain[0].created_by))
    if maker is None or maker.kind != "app":
        return "it was not begun by an application"
    creator = chain[0].created_by
    for number, link in enumerate(chain, 1):
        agent = view._by_key(tenant, PrincipalKey(link.agent_id))
        if agent is None or agent.kind != "agent":
            return f"hop {number} is no agent"
        if link.created_by != creator or link.subject_id != chain[0].subject_id:
            return f"hop {number} was not made by the hop before it for the same subject"
        if not link.valid_from <= view.now < link.valid_to:
            return f"hop {number} has ended"
        creator = link.agent_id
    return None


def _activate(who: PrincipalRow, names: Names) -> Repair:
    name = names.of(who.key)
    return Repair(Fix.ACTIVATE, f"import {name} as active: the directory has it as {who.state}", name)
