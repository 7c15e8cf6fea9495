"""Mutation of mappings: each rule is taken away in turn, and access tests are asked whether they notice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from secure_rag.errors import ConfigError, SecureRagError
from secure_rag.model.ids import PrincipalKey, SourceKey
from secure_rag.model.locks import AclClass
from secure_rag.ports import LivePermissions
from secure_rag_acl.access_tests import AccessTest, matching
from secure_rag_acl.formats.resolve import FormatPermissionMapper
from secure_rag_acl.known_names import read_known_names
from secure_rag_acl.mappings import FilePermissionMapper, Rule, matching_rule
from secure_rag_api.access_testing import AccessTester, sources_of
from secure_rag_api.change_control import default_label, in_force, open_mapper
from secure_rag_api.prospects import principal_keys, stored_guarded
from secure_rag_ingestion.retagging import retag
from secure_rag_ingestion.sources import RegisteredSource, load_manifest
from secure_rag_ingestion.tagging.tagger import Tagger

if TYPE_CHECKING:
    from secure_rag.database.documents import StoredDocument

_Mapper = FilePermissionMapper | FormatPermissionMapper


@dataclass(frozen=True, slots=True)
class Survivor:
    """A rule whose loss no test notices."""

    source: str
    rule: int
    """Number in the file, from 1."""
    pattern: str
    place: str
    why: str


@dataclass(frozen=True, slots=True)
class Mutation:
    """How many rules were taken away, and those that nobody missed."""

    rules: int
    survivors: tuple[Survivor, ...]
    left_out: tuple[str, ...]
    """Sources that could not be looked at, and why."""


def mutate(asking: AccessTester, tests: Sequence[AccessTest], source: str | None = None) -> Mutation:
    """Take away each rule of each mapping, or of one source's, and run the tests.

    Args:
        asking: of what is stored; every test must hold there.
        tests: the tests.
        source: only this one.
    """
    rules, survivors, left = 0, list[Survivor](), list[str]()
    for name in sorted(sources_of(asking.view._connection, asking.tenant)):
        if source not in (None, name):
            continue
        try:
            mutants = _Mutants.of(asking, name)
        except SecureRagError as error:
            left.append(f"{name}: {error}")
            continue
        rules += len(mutants.mapper.rules)
        survivors += mutants.survivors(asking, tests)
    return Mutation(rules, tuple(survivors), tuple(left))


@dataclass(frozen=True, slots=True)
class _Mutants:
    source: RegisteredSource
    tagger: Tagger
    mapper: _Mapper
    live: LivePermissions | None
    stored: Mapping[str, StoredDocument]

    @staticmethod
    def of(asking: AccessTester, name: str) -> _Mutants:
        connection = asking.view._connection
        key, path = sources_of(connection, asking.tenant)[name]
        decided = in_force(connection, asking.tenant, load_manifest(path))
        taxonomy = asking.view.taxonomy(asking.tenant)
        label = default_label(decided.manifest, taxonomy)
        source = RegisteredSource(asking.tenant, SourceKey(key), decided.manifest, label)
        known = read_known_names(connection, asking.tenant, asking.view.now)
        mapper, live = open_mapper(decided.manifest, decided.mapping, known)
        if not isinstance(mapper, FilePermissionMapper | FormatPermissionMapper):
            raise ConfigError("its permissions have no rules")
        return _Mutants(
            source, Tagger(source, taxonomy), mapper, live, stored_guarded(connection, SourceKey(key))
        )

    def survivors(self, asking: AccessTester, tests: Sequence[AccessTest]) -> Iterator[Survivor]:
        prefix = f"{self.source.manifest.id}/"
        tested = {
            name.removeprefix(prefix)
            for test in tests
            for pattern in (*test.seen, *test.unseen)
            for name in matching(pattern, asking.classes)
            if name.startswith(prefix)
        }
        by_rule = {name: matching_rule(self.mapper.rules, name) for name in tested}
        for number, rule in enumerate(self.mapper.rules):
            concerned = {name for name, found in by_rule.items() if found is rule}
            why = self._missed(asking, tests, number, concerned)
            if why is not None:
                yield self._survivor(number, rule, why)

    def _missed(
        self, asking: AccessTester, tests: Sequence[AccessTest], number: int, concerned: set[str]
    ) -> str | None:
        """Why nobody notices that a rule is gone; None when a test does."""
        if not concerned:
            return "no test names a document that it decides about"
        changed, doubtful = self._classes(asking, number, concerned)
        if asking.with_classes(changed, doubtful).run(tests).failures:
            return None
        return "every test holds without it"

    def _classes(
        self, asking: AccessTester, number: int, concerned: set[str]
    ) -> tuple[dict[str, AclClass], frozenset[PrincipalKey]]:
        mapper = replace(self.mapper, rules=(*self.mapper.rules[:number], *self.mapper.rules[number + 1 :]))
        stored = {name: x for name, x in self.stored.items() if name in concerned}
        tagged = retag(self.source, stored, self.tagger, mapper, self.live)
        named = {name for x in tagged if x.tag is not None for name in x.tag.principals}
        keys, unknown = principal_keys(asking.view._connection, asking.tenant, named)
        prefix = self.source.manifest.id
        return {
            f"{prefix}/{x.stored.native_id}": self.tagger.acl_class(x.tag, keys)
            for x in tagged
            if x.tag is not None
        }, frozenset(unknown.values())

    def _survivor(self, number: int, rule: Rule, why: str) -> Survivor:
        return Survivor(self.source.manifest.id, number + 1, rule.glob.pattern, rule.place, why)
