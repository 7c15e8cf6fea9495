"""Sensitivity labels: an ordered taxonomy per tenant. Classes and clearances hold the GUID, never the rank."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from secure_rag.errors import PolicyError
from secure_rag.model.ids import LabelId


class Trust(StrEnum):
    """Integrity of content: a property of its registered source; an item can only lower it."""

    VERIFIED = "verified"
    INTERNAL = "internal"
    PARTNER = "partner"
    EXTERNAL = "external"

    @property
    def level(self) -> int:
        """3 for verified down to 0 for external."""
        return {Trust.VERIFIED: 3, Trust.INTERNAL: 2, Trust.PARTNER: 1, Trust.EXTERNAL: 0}[self]


@dataclass(frozen=True, slots=True)
class Label:
    """One sensitivity label (Purview style)."""

    id: LabelId
    name: str
    priority: int
    parent: LabelId | None = None


@dataclass(frozen=True, slots=True)
class Taxonomy:
    """The labels of one tenant at one version.

    `default` is the label of content whose label is missing or unknown. `mix_threshold` is the lowest label
    that external content is never mixed with in one answer.
    """

    labels: Mapping[LabelId, Label]
    default: LabelId
    mix_threshold: LabelId
    version: int

    @staticmethod
    def of(labels: Iterable[Label], default: LabelId, mix_threshold: LabelId, version: int) -> Taxonomy:
        """Build and check a taxonomy.

        Raises:
            PolicyError: no labels, a priority twice, or an unknown default, threshold or parent.
        """
        by_id = {label.id: label for label in labels}
        if not by_id:
            raise PolicyError("a taxonomy needs at least one label")
        if len({label.priority for label in by_id.values()}) != len(by_id):
            raise PolicyError("two labels have the same priority")
        for what, needed in (("default", default), ("external_mix_threshold", mix_threshold)):
            if needed not in by_id:
                raise PolicyError(f"{what} is not a label of this taxonomy")
        for label in by_id.values():
            if label.parent is not None and label.parent not in by_id:
                raise PolicyError(f"label {label.name!r} has an unknown parent")
        return Taxonomy(MappingProxyType(by_id), default, mix_threshold, version)

    def rank_of_content(self, label: LabelId) -> int:
        """Rank that content with this label demands; an unknown label demands more than any clearance has."""
        found = self.labels.get(label)
        return found.priority if found else self._above_all

    def rank_of_clearance(self, label: LabelId | None) -> int:
        """Rank that a clearance or ceiling grants; a missing or unknown one grants less than any label demands."""
        found = self.labels.get(label) if label is not None else None
        return found.priority if found else self._below_all

    def highest(self, labels: Iterable[LabelId]) -> LabelId:
        """The label that demands most; the default when there is none.

        An unknown label counts as the default (which ships as the highest) unless a known one demands more.
        """
        known = [x if x in self.labels else self.default for x in labels] or [self.default]
        return max(known, key=lambda x: self.labels[x].priority)

    def name(self, label: LabelId) -> str:
        """Name for people; the GUID when the label is unknown."""
        found = self.labels.get(label)
        return found.name if found else label

    @property
    def _above_all(self) -> int:
        return max(label.priority for label in self.labels.values()) + 1

    @property
    def _below_all(self) -> int:
        return min(label.priority for label in self.labels.values()) - 1
