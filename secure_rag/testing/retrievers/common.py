"""What the shipped retrievers share: how access lists are usually flattened into metadata, and who somebody is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from secure_rag.testing.conformance import LABELS, Asker, Corpus, Document, Leave


@dataclass
class Directory:
    """Direct groups only, as a token or a user table has them."""

    groups: dict[str, set[str]] = field(default_factory=dict[str, set[str]])

    @staticmethod
    def of(corpus: Corpus) -> Directory:
        """Members of every group."""
        return Directory({name: set(members) for name, members in corpus.groups.items()})

    def leave(self, change: Leave) -> None:
        """Take a member out of a group."""
        self.groups[change.group].discard(change.member)

    def principals(self, asker: Asker) -> list[str]:
        """The asker and her groups; nothing for somebody unknown."""
        if not asker.known:
            return []
        return [asker.user, *sorted(name for name, members in self.groups.items() if asker.user in members)]


def metadata(document: Document) -> dict[str, object]:
    """One flat allow list and one flat deny list, whatever the entries are about, and what else is compared."""
    found: dict[str, object] = {
        "id": document.id,
        "tenant": document.tenant,
        "quarantined": document.quarantined,
    }
    labels = [LABELS.index(x) for x in (document.label, document.second_label) if x is not None]
    if labels:
        # Two labels of one document end up in a list, of which a filter needs to match only one.
        found["label"] = labels if len(labels) > 1 else labels[0]
    if document.lists is not None:
        entries = [entry for entries in document.lists for entry in entries]
        found["allowed"] = [entry.principal for entry in entries if entry.allow]
        found["denied"] = [entry.principal for entry in entries if not entry.allow]
    return found


def rank(asker: Asker) -> int:
    """Rank of the highest label that the asker may see."""
    return LABELS.index(asker.clearance)


def names(found: Mapping[str, object], key: str) -> list[str]:
    """A list of names in metadata; empty when it is not there."""
    value = found.get(key)
    return [str(x) for x in value] if isinstance(value, list) else []
