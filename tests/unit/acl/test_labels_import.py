"""The taxonomy: what may change silently, and what somebody has to want."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from secure_rag.database import tables as t
from secure_rag.database.engine import write
from secure_rag.database.interning import intern_class
from secure_rag.database.views import Views
from secure_rag.errors import ConfigError
from secure_rag.model.ids import Compartment, LabelId, Micros, SourceKey, TenantKey
from secure_rag.model.labels import Taxonomy, Trust
from secure_rag.model.locks import AclClass, Lock
from secure_rag_acl.labels import LabelsReport, import_labels, load_labels, parse_labels
from tests.controls import control
from tests.unit.acl.homes import GUIDS, LABELS, Place, directory, new_place

NOW = Micros(5)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = new_place(tmp_path)
    yield made
    made.engine.dispose()


def imported(place: Place, text: str, *, accept: bool = False) -> LabelsReport:
    document = parse_labels(text.encode(), "l.yaml")
    return import_labels(place.engine, document, actor="user:me", now=NOW, accept_changes=accept)


def taxonomy(place: Place) -> Taxonomy:
    with Views(place.engine, lambda: NOW).open() as view:
        tenant = view.tenant_key("acme")
        assert tenant is not None
        return view.taxonomy(tenant)


def guard(place: Place, label: str, room: str = "heron") -> None:
    """A class with a label and a compartment, as ingest makes it."""
    with write(place.engine) as connection:
        tenant = TenantKey(connection.execute(sa.select(t.tenant.c.id)).scalar_one())
        values = {
            "name": "wiki",
            "kind": "filesystem",
            "trust": "internal",
            "max_acl_age": 1,
            "manifest": "{}",
        }
        source = connection.execute(
            sa.insert(t.source).values(tenant_id=tenant, **values).returning(t.source.c.id)
        )
        lock, rooms = Lock(frozenset()), frozenset({Compartment(room)})
        intern_class(
            connection,
            AclClass(tenant, (lock,), LabelId(label), rooms, Trust.INTERNAL, SourceKey(source.scalar_one())),
        )


def test_a_taxonomy_is_stored_by_guid(place: Place) -> None:
    found = taxonomy(place)
    assert [found.labels[LabelId(x)].name for x in GUIDS[:3]] == ["Public", "Internal", "Secret"]
    assert (found.default, found.mix_threshold, found.version) == (GUIDS[2], GUIDS[1], 1)


@control("acl:directory-atomic")
def test_the_same_file_twice_changes_nothing(place: Place) -> None:
    before = place.version()
    report = imported(place, LABELS)
    assert (report.changes, report.version, place.version()) == (0, 1, before)


def test_what_cannot_widen_needs_no_yes(place: Place) -> None:
    more = LABELS.replace("priority: 2", "priority: 20").replace(
        "name: Internal, priority: 1", "name: House, priority: 10"
    )
    more = more.replace("external_mix_threshold: Internal", "external_mix_threshold: Public")
    more = more.replace(
        "compartments:",
        f"  - {{id: {GUIDS[3]}, name: General, priority: 5, parent: {GUIDS[0]}}}\ncompartments:",
    )
    report = imported(place, more.replace("[heron, board]", "[heron, board, merger]"))
    assert (report.added, report.changed, report.version) == (("General",), ("House", "Secret"), 2)
    assert (report.compartments_added, report.accepted) == (("merger",), ())
    assert taxonomy(place).labels[LabelId(GUIDS[3])].parent == GUIDS[0]
    assert imported(place, more.replace("[heron, board]", "[heron, board, merger]")).changes == 0


SWAPPED = LABELS.replace("priority: 1", "priority: 3")
RENAMED = (
    LABELS.replace("name: Public", "name: X")
    .replace("name: Secret", "name: Public")
    .replace("name: X", "name: Secret")
)
HIGHER = LABELS.replace("compartments:", f"  - {{id: {GUIDS[3]}, name: Top, priority: 9}}\ncompartments:")


@control("acl:labels-guarded")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        (SWAPPED, "the order of existing labels changes: Public < Secret < Internal"),
        (LABELS.replace("default: Secret", "default: Internal"), "the default label becomes 'Internal'"),
        (HIGHER, "content without a label would count as 'Secret', which is not the highest"),
        (
            LABELS.replace("threshold: Internal", "threshold: Secret"),
            "external content may be mixed with content labelled Internal",
        ),
        (RENAMED.replace("default: Secret", "default: Public"), "the name 'Public' moves to another label"),
    ],
)
def test_what_may_widen_needs_a_knowing_yes(place: Place, text: str, said: str) -> None:
    before = place.version(), taxonomy(place)
    with pytest.raises(ConfigError) as caught:
        imported(place, text)
    assert said in str(caught.value)
    assert "accept the changes knowingly" in str(caught.value)
    assert (place.version(), taxonomy(place)) == before
    report = imported(place, text, accept=True)
    assert any(said in x for x in report.accepted)
    assert report.version == 2
    assert imported(place, text).changes == 0


@control("acl:labels-guarded")
def test_a_label_that_unreadable_content_carries_needs_a_yes(place: Place) -> None:
    guard(place, GUIDS[3])
    text = (
        LABELS.replace("priority: 0}", f"priority: 0}}\n  - {{id: {GUIDS[3]}, name: Low, priority: 1}}")
        .replace("name: Internal, priority: 1", "name: Internal, priority: 7")
        .replace("priority: 2", "priority: 8")
    )
    with pytest.raises(ConfigError, match="'Low' is on content that nobody may read"):
        imported(place, text)


@control("acl:labels-guarded")
def test_a_used_label_cannot_be_removed(place: Place) -> None:
    without = LABELS.replace(f"  - {{id: {GUIDS[1]}, name: Internal, priority: 1}}\n", "").replace(
        "threshold: Internal", "threshold: Public"
    )
    assert imported(place, without).removed == ("Internal",)
    imported(place, LABELS, accept=True)
    guard(place, GUIDS[1])
    with pytest.raises(ConfigError, match="label 'Internal' is used and cannot be removed"):
        imported(place, without, accept=True)


@control("acl:labels-guarded")
def test_a_label_that_somebody_holds_cannot_be_removed(place: Place) -> None:
    place.load(directory("  - {id: user:a, kind: member}\n"))
    without = LABELS.replace(f"  - {{id: {GUIDS[1]}, name: Internal, priority: 1}}\n", "").replace(
        "threshold: Internal", "threshold: Public"
    )
    with pytest.raises(ConfigError, match="is used and cannot be removed"):
        imported(place, without, accept=True)


@control("acl:labels-guarded")
def test_a_used_compartment_cannot_be_removed(place: Place) -> None:
    assert imported(place, LABELS.replace("[heron, board]", "[heron]")).compartments_removed == ("board",)
    guard(place, GUIDS[0], "heron")
    with pytest.raises(ConfigError, match="compartment 'heron' is used"):
        imported(place, LABELS.replace("[heron, board]", "[board]"), accept=True)


@control("acl:files-refused")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        (LABELS.replace("name: Internal", "name: Public"), "l.yaml:4: labels.1.name: Public occurs twice"),
        (LABELS.replace("priority: 1", "priority: 0"), "l.yaml:4: labels.1.priority: 0 occurs twice"),
        (
            LABELS.replace(GUIDS[1], "{" + GUIDS[0].upper() + "}"),
            "labels.1.id: must be text; put it in quotes",
        ),
        (
            LABELS.replace(GUIDS[1], '"{' + GUIDS[0].upper() + '}"'),
            "labels.1.id: 00000001-0000-4000-8000-000000000000 occurs twice",
        ),
        (LABELS.replace(GUIDS[1], "internal"), "l.yaml:4: labels.1.id: not a label GUID"),
        (
            LABELS.replace("priority: 0", f"priority: 0, parent: {GUIDS[3]}"),
            "labels.0.parent: is not a label of this file",
        ),
        (LABELS.replace("priority: 1", "priority: high"), "labels.1.priority: must be a whole number"),
        (LABELS.replace("priority: 1", "priority: -1"), "labels.1.priority"),
        (LABELS.replace("default: Secret", "default: Secrets"), "l.yaml:7: default: unknown label 'Secrets'"),
        (
            LABELS.replace("threshold: Internal", "threshold: Intern"),
            "external_mix_threshold: unknown label 'Intern'",
        ),
        (LABELS.replace("[heron, board]", "[heron, heron]"), "a compartment occurs twice"),
        (LABELS.replace("[heron, board]", "[Heron]"), "not a compartment name"),
        ("tenant: acme\nlabels: []\ndefault: a\nexternal_mix_threshold: a\n", "labels"),
        (LABELS + "colour: red\n", "colour: unknown key"),
    ],
)
def test_a_malformed_taxonomy_is_refused(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_labels(text.encode(), "l.yaml")
    assert said in str(caught.value)


def test_the_sample_taxonomy_loads() -> None:
    path = Path(__file__).parents[3] / "ingestion" / "examples" / "acme" / "labels.yaml"
    assert load_labels(path).default == "Restricted"
