"""From native names of one source to canonical principals. The data owner says who is who; nothing is guessed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

from secure_rag.errors import PolicyError
from secure_rag.model import ids
from secure_rag.model.ids import PrincipalId
from secure_rag_acl.fields import native_name


class MappingLineError(PolicyError):
    """A line of `principals:` is wrong; `index` says which."""

    def __init__(self, index: int, message: str) -> None:
        super().__init__(message)
        self.index = index


class MappingLine(Protocol):
    """One line of `principals:`."""

    @property
    def native(self) -> str:
        """Name in the source."""
        ...

    @property
    def principal(self) -> PrincipalId:
        """Whom it means."""
        ...

    @property
    def merge(self) -> bool:
        """Whether the data owner knows that another native name means the same principal."""
        ...


@dataclass(frozen=True, slots=True)
class PrincipalMapping:
    """Native names of one source. The same name in another source is another name."""

    source: str
    names: Mapping[str, PrincipalId]

    @staticmethod
    def of(source: str, lines: Iterable[MappingLine]) -> PrincipalMapping:
        """Build and check a mapping.

        Raises:
            MappingLineError: a native name twice, or a second name for a principal without `merge: true`.
        """
        names: dict[str, PrincipalId] = {}
        unmerged: dict[PrincipalId, str] = {}
        for index, line in enumerate(lines):
            native = native_name(line.native)
            if ids.is_canonical(native):
                raise MappingLineError(
                    index, f"{native!r} reads like a canonical principal, not like a native name"
                )
            if native in names:
                raise MappingLineError(index, f"the native name {native!r} occurs twice")
            names[native] = line.principal
            if not line.merge and line.principal in unmerged:
                other = unmerged[line.principal]
                raise MappingLineError(
                    index, f"{other!r} and {native!r} are both {line.principal}; if so, say merge: true"
                )
            if not line.merge:
                unmerged[line.principal] = native
        return PrincipalMapping(source, MappingProxyType(names))

    def resolve(self, entry: str) -> PrincipalId | None:
        """Principal of an entry; None for a native name that is not mapped.

        Raises:
            PolicyError: the entry has a canonical prefix but not the canonical form.
        """
        if ids.is_canonical(entry):
            return ids.principal_id(entry)
        return self.names.get(native_name(entry))
