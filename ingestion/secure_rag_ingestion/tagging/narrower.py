"""Where the permissions of an item are narrower than its source: kept as findings that change no verdict."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from secure_rag.model.findings import Finding, Verdict
from secure_rag.model.permissions import NARROWER, Narrowed

_EVIDENCE: Final = 200


def narrower_findings(narrowed: Sequence[Narrowed]) -> list[Finding]:
    """One finding for each entry; its rule holds the place and the reason as JSON."""
    return [
        Finding(
            detector=NARROWER,
            verdict=Verdict.ANNOTATE,
            score=1.0,
            threshold=1.0,
            evidence=_clean(x.entry if len(x.entry) <= _EVIDENCE else x.entry[: _EVIDENCE - 1] + "…"),
            rule=json.dumps([x.place, x.why]),
        )
        for x in narrowed
    ]


def _clean(text: str) -> str:
    # Names of files may hold what is no text for the database.
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
