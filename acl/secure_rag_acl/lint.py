"""What in the permissions of a tenant is probably not meant: each finding says what to do about it.

Nothing here decides about access. A check that may be wrong says what it saw, with documents to look at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import sqlalchemy as sa

from secure_rag.database import tables as t
from secure_rag.database.quarantine import maintenance_texts
from secure_rag.database.tables import DocumentState
from secure_rag.database.views import ReadView
from secure_rag.model.ids import ClassKey, LabelId, Micros, PrincipalKey, SourceKey, TenantKey
from secure_rag.model.labels import Taxonomy
from secure_rag.model.locks import AclClass, Lock
from secure_rag.model.permissions import ALLOW, origins_from_json
from secure_rag_acl.mappings import Rule
from secure_rag_acl.population import Population, read_population
from secure_rag_acl.principals import is_broad

SAMPLES: Final = 3

_NAMED: Final = re.compile(r"\[([^\[\]]+)\]$")
"""The name behind an everyone-like entry of an export."""


class Check(StrEnum):
    """What is looked for."""

    EVERYONE = "everyone_on_label"
    LINK = "link_on_label"
    ORPHAN = "orphan_principal"
    EMPTY = "empty_group"
    UNREACHABLE = "unreachable_rule"
    IDLE_DENY = "idle_deny"
    BELOW_MARKING = "label_below_marking"
    DORMANT = "dormant_grant"


HINTS: Final[Mapping[Check, str]] = {
    Check.EVERYONE: "name the groups that need it instead of everyone, or lower the label if it is too high",
    Check.LINK: "end the link at the source, or map it to a group instead of everyone",
    Check.ORPHAN: "take it off the list, or import a directory that has it; as a deny it closes its lock",
    Check.EMPTY: "take it off the list, or put somebody in: whoever joins the group later will read",
    Check.UNREACHABLE: "a later rule decides about everything that it matches: move it down, or take it out",
    Check.IDLE_DENY: "nobody whom the list admits is in it: the name may be wrong, or the deny needless",
    Check.BELOW_MARKING: "the text carries a higher marking: raise the label in the mapping or a sidecar",
    Check.DORMANT: "it has ended, or whoever has it is inactive: take it off the list",
}


@dataclass(frozen=True, slots=True)
class LintFinding:
    """One finding. `what` is the principal, rule or label at fault; `documents` how many it touches."""

    check: Check
    source: str | None
    what: str
    documents: int = 0
    samples: tuple[str, ...] = ()

    @property
    def hint(self) -> str:
        """What to do about it."""
        return HINTS[self.check]

    def to_dict(self) -> dict[str, object]:
        """Plain values."""
        return {
            "check": self.check.value,
            "source": self.source,
            "what": self.what,
            "documents": self.documents,
            "samples": list(self.samples),
            "hint": self.hint,
        }


@dataclass(frozen=True, slots=True)
class _Document:
    source: str
    native_id: str
    class_key: ClassKey

    @property
    def name(self) -> str:
        return f"{self.source}/{self.native_id}"


@dataclass(slots=True)
class _Found:
    """Findings that are about the same thing, added up."""

    documents: dict[tuple[Check, str, str], list[str]] = field(
        default_factory=dict[tuple[Check, str, str], list[str]]
    )

    def add(self, check: Check, document: _Document, what: str) -> None:
        self.documents.setdefault((check, document.source, what), []).append(document.name)

    def findings(self) -> Iterator[LintFinding]:
        for (check, source, what), names in sorted(self.documents.items()):
            yield LintFinding(check, source, what, len(names), tuple(names[:SAMPLES]))


def lint(
    view: ReadView, tenant: TenantKey, sources: Mapping[SourceKey, str], rules: Mapping[str, Sequence[Rule]]
) -> list[LintFinding]:
    """Look at the permissions of some sources.

    Args:
        view: a snapshot.
        tenant: whose.
        sources: by key, those that the reader of the findings owns.
        rules: of their mappings, by source.
    """
    linting = _Linting(view, tenant, sources)
    found = [*linting.classes(), *linting.markings(), *linting.grants()]
    for source, listed in sorted(rules.items()):
        found += unreachable(source, listed)
    return found


def unreachable(source: str, rules: Sequence[Rule]) -> Iterator[LintFinding]:
    """Rules whose every path a later rule decides about, as far as patterns tell for certain."""
    for number, rule in enumerate(rules):
        later = next((x for x in rules[number + 1 :] if _covers(x.glob.pattern, rule.glob.pattern)), None)
        if later is not None:
            what = f"rule {number + 1} ({rule.glob.pattern}) at {rule.place}, behind {later.glob.pattern}"
            yield LintFinding(Check.UNREACHABLE, source, what)


def _covers(wide: str, narrow: str) -> bool:
    if wide in ("**", narrow):
        return True
    return wide.endswith("/**") and not set("*?") & set(wide[:-3]) and narrow.startswith(wide[:-2])


class _Linting:
    def __init__(self, view: ReadView, tenant: TenantKey, sources: Mapping[SourceKey, str]) -> None:
        self._view = view
        self._tenant = tenant
        self._sources = sources
        self._taxonomy: Taxonomy = view.taxonomy(tenant)
        self._population: Population = read_population(view._connection, tenant, view.now)
        self._documents = self._read_documents()
        self._classes = view.classes(tenant, {x.class_key for x in self._documents})
        self._members: dict[PrincipalKey, frozenset[str]] = {}

    def _read_documents(self) -> list[_Document]:
        d = t.document.c
        rows = self._view._connection.execute(
            sa.select(d.source_id, d.native_id, d.class_id)
            .where(
                d.source_id.in_(list(self._sources)),
                d.class_id.is_not(None),
                d.state != int(DocumentState.DELETED),
            )
            .order_by(d.id)
        ).all()
        return [
            _Document(self._sources[SourceKey(source)], native_id, ClassKey(key))
            for source, native_id, key in rows
        ]

    # ---- locks

    def classes(self) -> Iterator[LintFinding]:
        """Findings about lists of locks."""
        found = _Found()
        said = {key: self._of_class(cls) for key, cls in self._classes.items()}
        for document in self._documents:
            for check, what in said[document.class_key]:
                found.add(check, document, what)
        yield from found.findings()
        yield from self._links()

    def _of_class(self, cls: AclClass) -> list[tuple[Check, str]]:
        found: dict[tuple[Check, str], None] = {}
        everyone = self._population.everyone
        if self._high(cls.label) and all(self._open_to(lock, everyone) for lock in cls.locks):
            found[Check.EVERYONE, self._taxonomy.name(cls.label)] = None
        for lock in cls.locks:
            for principal, end in lock.allow:
                self._entry(principal, end, found)
            for principal in lock.deny:
                self._deny(lock, principal, found)
        return list(found)

    def _high(self, label: LabelId) -> bool:
        rank = self._taxonomy.rank_of_content
        return rank(label) >= rank(self._taxonomy.mix_threshold)

    def _open_to(self, lock: Lock, principal: PrincipalKey) -> bool:
        return any(who == principal and self._view.now < end for who, end in lock.allow)

    def _entry(self, key: PrincipalKey, end: Micros, found: dict[tuple[Check, str], None]) -> None:
        who = self._population.principals.get(key)
        if who is None:
            return
        if who.state in ("unknown", "deleted"):
            found[Check.ORPHAN, f"{who.name} is {who.state}"] = None
        elif who.state == "disabled":
            found[Check.DORMANT, f"{who.name} is disabled"] = None
        elif end <= self._view.now:
            found[Check.DORMANT, f"the entry of {who.name} has ended"] = None
        elif who.kind == "group" and not self._in(key):
            found[Check.EMPTY, who.name] = None

    def _deny(self, lock: Lock, key: PrincipalKey, found: dict[tuple[Check, str], None]) -> None:
        who = self._population.principals.get(key)
        if who is None:
            return
        if who.state in ("unknown", "deleted"):
            found[Check.ORPHAN, f"{who.name} is {who.state}"] = None
        # One of an application or agent is about what passes on, whoever is admitted.
        elif who.kind not in ("app", "agent", "everyone") and self._idle(lock, key):
            found[Check.IDLE_DENY, who.name] = None

    def _idle(self, lock: Lock, key: PrincipalKey) -> bool:
        denied = self._in(key)
        if any(name.startswith("agent:") for name in denied) or key in self._population.uncertain:
            return False
        return not any(denied & self._in(who) for who, end in lock.allow if self._view.now < end)

    def _in(self, key: PrincipalKey) -> frozenset[str]:
        if key not in self._members:
            self._members[key] = self._population.members(key)
        return self._members[key]

    def _links(self) -> Iterator[LintFinding]:
        """Entries of the source that stand for everybody or a link, on documents labelled high."""
        d, found = t.document.c, _Found()
        high = {key for key, cls in self._classes.items() if self._high(cls.label)}
        rows = self._view._connection.execute(
            sa.select(d.source_id, d.native_id, d.class_id, d.origins).where(
                d.source_id.in_(list(self._sources)), d.class_id.is_not(None)
            )
        )
        for source, native_id, key, origins in rows:
            if key in high:
                document = _Document(self._sources[SourceKey(source)], native_id, ClassKey(key))
                entries = {x.entry for x in origins_from_json(origins) if x.effect == ALLOW and x.principal}
                for entry in sorted(x for x in entries if _everyone_like(x)):
                    found.add(Check.LINK, document, entry)
        yield from found.findings()

    # ---- text

    def markings(self) -> Iterator[LintFinding]:
        """Documents whose text carries the name of a higher label as a marking, on a line of its own."""
        found = _Found()
        by_key = {(x.source, x.native_id): x for x in self._documents}
        for label in self._taxonomy.labels.values():
            naming = maintenance_texts(self._view._connection, self._sources, label.name)
            for source, native_id, text in naming:
                document = by_key.get((self._sources[source], native_id))
                if document is None or not marked(text, label.name):
                    continue
                has = self._classes[document.class_key].label
                if self._taxonomy.rank_of_content(has) < label.priority:
                    what = f"{label.name}, labelled {self._taxonomy.name(has)}"
                    known = found.documents.get((Check.BELOW_MARKING, document.source, what), [])
                    if document.name not in known:
                        found.add(Check.BELOW_MARKING, document, what)
        yield from found.findings()

    # ---- what passes on

    def grants(self) -> Iterator[LintFinding]:
        """Applications and agents whose only grant has ended, and agents whose owner is gone."""
        p, g = t.principal.c, t.grant.c
        names = {x.name: x for x in self._population.principals.values()}
        rows = self._view._connection.execute(
            sa.select(p.name, p.owner, sa.func.max(g.valid_to))
            .join(t.grant, g.principal_id == p.id)
            .where(p.tenant_id == self._tenant, p.state == "active")
            .group_by(p.name, p.owner)
            .order_by(p.name)
        ).all()
        for name, owner, end in rows:
            holder = None if owner is None else names.get(owner)
            if end <= self._view.now:
                yield LintFinding(Check.DORMANT, None, f"the grant of {name} has ended")
            elif owner is not None and (holder is None or not holder.active):
                yield LintFinding(Check.DORMANT, None, f"{name} belongs to {owner}, who is not active")


def _everyone_like(entry: str) -> bool:
    """Whether an entry, as a mapping or an export wrote it, names an everyone-like principal."""
    named = _NAMED.search(entry)
    return is_broad(entry if named is None else named[1])


def marked(text: str, label: str) -> bool:
    """Whether a line of a text is nothing but a marking with this label."""
    name = re.escape(label)
    pattern = rf"^\W*(?:(?:classification|sensitivity|label|marking)\W+)?(?:strictly\s+)?{name}\W*$"
    return re.search(pattern, text, re.IGNORECASE | re.MULTILINE) is not None
