"""Who loses and who gains a document when its class becomes another one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from secure_rag.errors import PolicyError
from secure_rag.model.ids import ClassKey, Micros
from secure_rag.model.labels import Taxonomy
from secure_rag.model.locks import AclClass
from secure_rag_acl.population import Population
from secure_rag_acl.reach import ClassIndex


@dataclass(frozen=True, slots=True)
class Difference:
    """From one class to another.

    Attributes:
        lost: people, services and agents that could read and cannot any more.
        gained: those that can now and could not.
        entries_lost: names on allow lists that are on none any more, whoever is behind them.
        entries_gained: names that are new on allow lists.
    """

    lost: tuple[str, ...]
    gained: tuple[str, ...]
    entries_lost: tuple[str, ...]
    entries_gained: tuple[str, ...]


def differences(
    pairs: Sequence[tuple[ClassKey, ClassKey]],
    classes: Mapping[ClassKey, AclClass],
    population: Population,
    taxonomy: Taxonomy,
    now: Micros,
) -> dict[tuple[ClassKey, ClassKey], Difference]:
    """Differences of pairs of classes, each person asked once.

    Raises:
        PolicyError: a class is missing.
    """
    wanted = sorted({key for pair in pairs for key in pair})
    if any(key not in classes for key in wanted):
        raise PolicyError("a class that is to be compared is missing")
    index = ClassIndex([classes[key] for key in wanted])
    readers: dict[ClassKey, set[str]] = {key: set() for key in wanted}
    for name, reader in population.readers.items():
        for key, end in zip(wanted, index.ends(reader, taxonomy).tolist(), strict=True):
            if end > now:
                readers[key].add(name)
    entries = {key: _entries(classes[key], population) for key in wanted}
    return {
        (before, after): Difference(
            lost=tuple(sorted(readers[before] - readers[after])),
            gained=tuple(sorted(readers[after] - readers[before])),
            entries_lost=tuple(sorted(entries[before] - entries[after])),
            entries_gained=tuple(sorted(entries[after] - entries[before])),
        )
        for before, after in pairs
    }


def _entries(cls: AclClass, population: Population) -> set[str]:
    known = population.principals
    return {known[who].name for lock in cls.locks for who, _ in lock.allow if who in known}
