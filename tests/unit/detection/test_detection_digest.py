from __future__ import annotations

from secure_rag.detection import (
    ContributorBurst,
    InstructionPatterns,
    NearDuplicates,
    QueryEcho,
    UnicodeRules,
    default_chunk_detectors,
    default_document_detectors,
    detection_digest,
)
from secure_rag.detection.instruction_patterns import RulePack, packaged_rules
from secure_rag.ports import ChunkDetector, DocumentDetector
from tests.unit.detection.rows import document


def test_the_defaults_are_named_once() -> None:
    documents: tuple[DocumentDetector, ...] = default_document_detectors()
    chunks: tuple[ChunkDetector, ...] = default_chunk_detectors()
    names = [d.name for d in documents] + [d.name for d in chunks]
    assert names == [
        "unicode_rules",
        "hidden_markup",
        "instruction_patterns",
        "query_echo",
        "near_duplicates",
    ]


def test_the_digest_is_stable() -> None:
    assert detection_digest() == detection_digest()
    assert len(detection_digest()) == 64


def test_a_changed_threshold_or_rule_changes_the_digest() -> None:
    other = RulePack.of(
        'rule x { meta: version="1" family="f" verdict="annotate" strings: $a="xyz" condition: $a }'
    )
    variants = [
        detection_digest(),
        detection_digest([]),
        detection_digest([QueryEcho()]),
        detection_digest([QueryEcho(threshold=0.9)]),
        detection_digest([NearDuplicates(tau=0.9)]),
        detection_digest([UnicodeRules(zero_width=9)]),
        detection_digest([ContributorBurst(threshold=0.9)]),
        detection_digest([InstructionPatterns()]),
        detection_digest([InstructionPatterns(other)]),
    ]
    assert len(set(variants)) == len(variants)


def test_the_digest_holds_no_address_of_this_process() -> None:
    assert " at 0x" not in repr(default_document_detectors())
    assert packaged_rules().sha256 in repr(InstructionPatterns())


def test_detectors_find_nothing_in_an_empty_document() -> None:
    assert [list(d.inspect(document(""))) for d in default_document_detectors()] == [[], [], []]
    assert [dict(d.inspect("", [])) for d in default_chunk_detectors()] == [{}, {}]
