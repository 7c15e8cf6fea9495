"""The sample companies: complete, coherent, and built from their manuscripts."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from email import message_from_bytes
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from tests.controls import CONTROLS

EXAMPLES = Path(__file__).resolve().parents[2] / "ingestion" / "examples"
TENANTS = ("acme", "globex")
CANONICAL = re.compile(r"everyone|(user|group|agent|app|service):[a-z0-9][a-z0-9._-]{0,127}")
FORMATS = {".md", ".txt", ".html", ".docx", ".xlsx", ".pptx", ".pdf", ".eml", ".csv"}
REASONS = {
    "tenant", "label", "compartment", "delegation", "unresolved_deny", "denied", "not_on_list", "acl_stale",
    "quarantined", "not_indexed", "mixed_trust", "unknown_subject",
}  # fmt: skip
NOTICES = {"external_withheld", "confidential_withheld", "near_duplicates_collapsed"}
PLANTED = {"hidden_text", "indirect_injection", "poison_set", "poison_single"}
# Names that are unmapped on purpose: one in an allow list, one in a deny list.
UNMAPPED = {"Cash Pool Readers", "Agency Staff (old directory)"}

Node = dict[str, Any]


class Source(NamedTuple):
    manifest: Node
    mapping: Node
    root: Path


def load(path: Path) -> Node:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert isinstance(content, dict), path
    return content


@cache
def directory(tenant: str) -> Node:
    return load(EXAMPLES / tenant / "directory.yaml")


@cache
def labels(tenant: str) -> Node:
    return load(EXAMPLES / tenant / "labels.yaml")


@cache
def sources(tenant: str) -> dict[str, Source]:
    found: dict[str, Source] = {}
    for path in sorted((EXAMPLES / tenant / "sources").glob("*/source.yaml")):
        manifest = load(path)
        mapping = load((path.parent / manifest["mapping"]).resolve())
        found[manifest["id"]] = Source(manifest, mapping, (path.parent / manifest["root"]).resolve())
    return found


@cache
def documents(tenant: str) -> frozenset[str]:
    return frozenset(
        f"{name}/{path.relative_to(source.root).as_posix()}"
        for name, source in sources(tenant).items()
        for path in source.root.rglob("*")
        if path.is_file() and not path.name.endswith(".acl.yaml")
    )


@cache
def scenarios() -> list[Node]:
    return list(load(EXAMPLES / "acme" / "scenarios.yaml")["scenarios"])


def steps() -> Iterator[tuple[str, Node]]:
    for scenario in scenarios():
        for step in scenario["steps"]:
            yield scenario["id"], step


@cache
def principals(tenant: str) -> frozenset[str]:
    kinds = ("users", "groups", "applications", "agents")
    return frozenset(entry["id"] for kind in kinds for entry in directory(tenant)[kind]) | {"everyone"}


def member_ids(group: Node) -> list[str]:
    return [entry["id"] if isinstance(entry, dict) else entry for entry in group["members"]]


def locks_of(rule: Mapping[str, Any]) -> Sequence[Node]:
    assert ("locks" in rule) != ("allow" in rule), "either locks or allow and deny"
    return rule["locks"] if "locks" in rule else [{"allow": rule["allow"], "deny": rule.get("deny", [])}]


def names_in(lock: Node) -> Iterator[str]:
    for entry in [*lock.get("allow", []), *lock.get("deny", [])]:
        yield entry["principal"] if isinstance(entry, dict) else entry


def glob_pattern(glob: str) -> re.Pattern[str]:
    parts = {"**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.compile("".join(parts.get(x) or re.escape(x) for x in re.split(r"(\*\*|\*|\?)", glob)))


def test_there_are_enough_documents_of_every_format() -> None:
    formats = [Path(path).suffix for path in documents("acme")]
    assert len(formats) >= 62
    assert set(formats) == FORMATS
    assert min(formats.count(suffix) for suffix in FORMATS) >= 3


def test_there_are_six_sources_and_a_second_tenant_with_three_documents() -> None:
    assert set(sources("acme")) == {"handbook", "hr", "finance", "wiki", "deal-room", "partner-inbox"}
    assert set(sources("globex")) == {"handbook"}
    assert len(documents("globex")) == 3


def test_no_path_exists_in_both_tenants() -> None:
    assert not documents("acme") & documents("globex"), "a scenario could not tell whose document came back"


def test_every_file_is_small_and_no_document_lies_outside_a_source() -> None:
    for tenant in TENANTS:
        roots = [source.root for source in sources(tenant).values()]
        for path in (EXAMPLES / tenant / "documents").rglob("*"):
            assert not path.is_symlink()
            if path.is_file():
                assert path.stat().st_size < 100_000, path
                assert any(path.is_relative_to(root) for root in roots), path


def test_text_documents_hold_150_to_600_words() -> None:
    for tenant in TENANTS:
        for source in sources(tenant).values():
            for path in source.root.rglob("*"):
                if path.suffix in {".md", ".txt", ".html", ".csv", ".eml"}:
                    words = re.findall(r"\w+", re.sub(r"<[^>]+>", " ", path.read_text(encoding="utf-8")))
                    assert 150 <= len(words) <= 600, (path, len(words))


# ---- directory and labels


def test_the_directory_has_every_kind() -> None:
    users = directory("acme")["users"]
    kinds = [user["kind"] for user in users]
    assert len(users) >= 15
    assert set(kinds) == {"member", "guest", "service"}
    assert len(directory("acme")["applications"]) >= 2
    assert len(directory("acme")["agents"]) >= 2
    for user in users:
        assert user["id"].startswith("service:" if user["kind"] == "service" else "user:")


@pytest.mark.parametrize("tenant", TENANTS)
def test_the_directory_refers_only_to_what_exists(tenant: str) -> None:
    content, known, taxonomy = directory(tenant), principals(tenant), labels(tenant)
    names = {label["name"] for label in taxonomy["labels"]}
    assert content["tenant"] == taxonomy["tenant"] == tenant
    assert len(known) == 1 + sum(len(content[x]) for x in ("users", "groups", "applications", "agents"))
    assert all(CANONICAL.fullmatch(principal) for principal in known)
    for group in content["groups"]:
        assert set(member_ids(group)) <= known, group["id"]
    for user in content["users"]:
        assert user.get("clearance") in {None, *names}
        assert set(user.get("compartments", [])) <= set(taxonomy["compartments"])
        assert user.get("mail", ".example").endswith(".example")
    for caller in [*content["applications"], *content["agents"]]:
        grant = caller["grant"]
        assert grant["label"] in names
        assert set(grant["compartments"]) <= set(taxonomy["compartments"])
        assert grant["sources"] == ["*"] or set(grant["sources"]) <= set(sources(tenant))
        assert isinstance(grant["expires"], date)
        assert grant["expires"].year >= 2099, "the sample must not age"
    for agent in content["agents"]:
        assert agent["owner"] in known


def test_groups_are_nested_at_least_four_deep_and_without_a_cycle() -> None:
    members = {group["id"]: member_ids(group) for group in directory("acme")["groups"]}

    def depth(group: str, above: tuple[str, ...] = ()) -> int:
        assert group not in above, f"cycle at {group}"
        nested = [member for member in members[group] if member in members]
        return 1 + max((depth(member, (*above, group)) for member in nested), default=0)

    assert max(depth(group) for group in members) >= 4


@pytest.mark.parametrize("tenant", TENANTS)
def test_labels_are_ordered_and_have_guids(tenant: str) -> None:
    taxonomy = labels(tenant)
    ordered = sorted(taxonomy["labels"], key=lambda label: label["priority"])
    assert [x["name"] for x in ordered] == ["Public", "General", "Internal", "Confidential", "Restricted"]
    assert len({x["id"] for x in ordered}) == len({x["priority"] for x in ordered}) == 5
    assert all(re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", x["id"]) for x in ordered)
    assert taxonomy["default"] == ordered[-1]["name"]
    assert taxonomy["external_mix_threshold"] == "Confidential"


# ---- sources, mappings, sidecars


@pytest.mark.parametrize("tenant", TENANTS)
def test_source_manifests_refer_only_to_what_exists(tenant: str) -> None:
    names = {label["name"] for label in labels(tenant)["labels"]}
    for name, (manifest, mapping, root) in sources(tenant).items():
        assert manifest["tenant"] == tenant
        assert mapping["source"] == name
        assert manifest["trust"] in {"verified", "internal", "partner", "external"}
        assert manifest.get("default_label") in {None, *names}
        assert re.fullmatch(r"\d+[smhd]", manifest["max_acl_age"])
        assert manifest["sidecars"] in {"add", "authoritative"}
        assert root.is_dir()
        for contributor in manifest.get("contributors", []):
            assert contributor["principal"] in principals(tenant)
            assert matched(contributor["path"], root)


@pytest.mark.parametrize("tenant", TENANTS)
def test_mappings_refer_only_to_what_exists(tenant: str) -> None:
    taxonomy = labels(tenant)
    names = {label["name"] for label in taxonomy["labels"]}
    for _, mapping, root in sources(tenant).values():
        native = {entry["native"]: entry["principal"] for entry in mapping["principals"]}
        assert set(native.values()) <= principals(tenant)
        for rule in mapping["rules"]:
            assert matched(rule["path"], root), f"{mapping['source']}: nothing matches {rule['path']}"
            assert rule.get("label") in {None, *names}
            assert set(rule.get("compartments", [])) <= set(taxonomy["compartments"])
            for lock in locks_of(rule):
                for name in names_in(lock):
                    assert name in principals(tenant) or name in native or name in UNMAPPED, name


def test_the_unmapped_names_are_used_and_stay_unmapped() -> None:
    mappings = [source.mapping for source in sources("acme").values()]
    used = {
        name for m in mappings for rule in m["rules"] for lock in locks_of(rule) for name in names_in(lock)
    }
    assert used >= UNMAPPED
    assert not UNMAPPED & {entry["native"] for m in mappings for entry in m["principals"]}


def test_sidecars_stand_beside_a_document_and_refer_only_to_what_exists() -> None:
    names = {label["name"] for label in labels("acme")["labels"]}
    count = 0
    for source in sources("acme").values():
        for path in sorted(source.root.rglob("*.acl.yaml")):
            count += 1
            content = load(path)
            assert path.with_name(path.name.removesuffix(".acl.yaml")).is_file()
            assert content.get("label") in {None, *names}
            for lock in content.get("locks", []):
                assert set(names_in(lock)) <= principals("acme")
    assert count >= 4


def test_one_document_has_no_rule_and_one_has_no_label() -> None:
    def rule_of(path: str) -> Node | None:
        name, _, relative = path.partition("/")
        rules = sources("acme")[name].mapping["rules"]
        return next((r for r in reversed(rules) if glob_pattern(r["path"]).fullmatch(relative)), None)

    without_rule = [path for path in documents("acme") if rule_of(path) is None]
    unlabelled = [
        path
        for path in documents("acme")
        if "default_label" not in sources("acme")[path.split("/")[0]].manifest
        and "label" not in (rule_of(path) or {})
    ]
    assert without_rule == ["finance/scratch/warehouse-lease-notes.txt"]
    assert unlabelled == ["deal-room/unsorted/site-visit-notes.txt"]


def matched(glob: str, root: Path) -> bool:
    pattern = glob_pattern(glob)
    return any(
        pattern.fullmatch(path.relative_to(root).as_posix()) for path in root.rglob("*") if path.is_file()
    )


# ---- scenarios


def test_scenarios_have_unique_names_and_there_are_enough() -> None:
    ids = [scenario["id"] for scenario in scenarios()]
    assert len(ids) >= 26
    assert len(set(ids)) == len(ids)
    for scenario in scenarios():
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", scenario["id"])
        assert scenario["control"] in CONTROLS
        assert scenario["title"]
        assert scenario["steps"]


def test_scenarios_refer_only_to_what_exists() -> None:
    everything = documents("acme") | documents("globex")
    for name, step in steps():
        tenant = step.get("tenant", "acme")
        known = principals(tenant)
        assert step["as"] in known or step["as"] == "user:nobody.known", name
        assert {step["app"], *step.get("through", [])} <= known, name
        assert set(step.get("must_return", [])) <= documents(tenant), name
        assert set(step.get("must_not_return", [])) <= everything, name
        assert set(step.get("flags", {})) <= set(step["must_return"] if "flags" in step else []), name
        assert set(step.get("why", {})) <= set(step.get("must_not_return", [])), name
        assert set(step.get("why", {}).values()) <= REASONS, name
        assert set(step.get("notices", [])) <= NOTICES, name
        for change in step.get("before", []):
            assert set(flatten(change)) <= known, name


def flatten(change: Mapping[str, Any]) -> Iterator[str]:
    for what, value in change.items():
        assert what in {"end_membership", "expire_grant"}
        yield from value.values() if isinstance(value, dict) else [value]


def test_every_step_expects_something() -> None:
    for name, step in steps():
        assert 1 <= step["k"] <= 10, name
        assert 10 <= len(step["query"]) <= 200, name
        assert step.get("must_return") or step.get("must_not_return"), name
        assert not (step.get("empty") and step.get("must_return")), name
        assert not set(step.get("must_return", [])) & set(step.get("must_not_return", [])), name


def test_every_scenario_says_what_must_and_what_must_not_come_back() -> None:
    for scenario in scenarios():
        for expected in ("must_return", "must_not_return"):
            assert any(step.get(expected) for step in scenario["steps"]), (scenario["id"], expected)


# ---- planted documents


def test_the_manifest_of_fixtures_names_existing_documents_of_every_kind() -> None:
    fixtures = load(EXAMPLES / "acme" / "fixtures.yaml")["fixtures"]
    assert {fixture["kind"] for fixture in fixtures} == PLANTED
    assert len({fixture["path"] for fixture in fixtures}) == len(fixtures)
    assert {fixture["path"] for fixture in fixtures} <= documents("acme")
    assert {fixture["expect"] for fixture in fixtures} <= {"quarantined", "collapsed", "flagged"}
    assert all(fixture["what"] for fixture in fixtures)
    assert sum(fixture["kind"] == "poison_set" for fixture in fixtures) == 5


def test_every_planted_document_appears_in_a_scenario() -> None:
    named = {
        path
        for _, step in steps()
        for path in [*step.get("must_not_return", []), *step.get("must_return", []), *step.get("flags", {})]
    }
    assert {x["path"] for x in load(EXAMPLES / "acme" / "fixtures.yaml")["fixtures"]} <= named


def test_the_poisoned_page_begins_with_the_question_and_the_poison_set_does_not_hold_it() -> None:
    asked = {step["query"] for name, step in steps() if name == "poisoned-page-is-flagged"}
    page = (EXAMPLES / "acme/documents/partner-inbox/unsolicited/kestrel-mounting-torque.html").read_text(
        "utf-8"
    )
    assert all(f"<p>{query}" in page for query in asked)
    price = {step["query"] for name, step in steps() if name.startswith("poison-")}
    for fixture in load(EXAMPLES / "acme" / "fixtures.yaml")["fixtures"]:
        if fixture["kind"] == "poison_set":
            text = (EXAMPLES / "acme" / "documents" / fixture["path"]).read_text("utf-8")
            assert "4.65" in text
            assert not [query for query in price if query.rstrip("?").lower() in text.lower()]


def test_mail_documents_are_well_formed() -> None:
    for path in sorted(EXAMPLES.glob("*/documents/**/*.eml")):
        message = message_from_bytes(path.read_bytes())
        assert not message.defects, path
        assert {"From", "To", "Date", "Subject", "Message-ID"} <= set(message.keys()), path


# ---- built files


def test_building_the_binary_documents_again_gives_the_committed_bytes() -> None:
    # In a process of its own: the libraries of the builder are for contributors and may warn.
    run = subprocess.run(
        [sys.executable, str(EXAMPLES / "build_binaries.py"), "--check"],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.strip().startswith("0 of ")


def test_every_binary_document_has_a_manuscript() -> None:
    binary = {path for path in documents("acme") if Path(path).suffix in {".docx", ".xlsx", ".pptx", ".pdf"}}
    root = EXAMPLES / "manuscripts" / "acme"
    written = {path.relative_to(root).as_posix().removesuffix(".md") for path in root.rglob("*.md")}
    assert binary <= written <= documents("acme")
