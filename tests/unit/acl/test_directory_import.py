"""Directory imports: what they write, what they keep, and what they leave doubtful."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from secure_rag.database import tables as t
from secure_rag.database.engine import write
from secure_rag.errors import ConfigError, UnavailableError
from secure_rag.model.ids import NEVER, Micros
from secure_rag_acl.directory import import_directory
from secure_rag_acl.directory_files import parse_directory
from tests.controls import control
from tests.unit.acl.homes import GRANT, GUIDS, Place, directory, new_place

USERS = """\
  - {id: user:ann, kind: member, name: Ann, mail: Ann@acme.example, clearance: Secret, compartments: [heron]}
  - {id: user:ben, kind: member, name: Ben}
  - {id: user:gus, kind: guest, clearance: Public}
  - {id: service:cron, kind: service}
"""
GROUPS = """\
  - {id: group:hr, name: HR, members: [user:ann, user:gus]}
  - {id: group:staff, members: [group:hr, user:ben]}
  - {id: group:firm, members: [group:staff, app:chat]}
"""
BASE = directory(USERS, GROUPS)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = new_place(tmp_path)
    yield made
    made.engine.dispose()


def test_an_import_makes_subjects(place: Place) -> None:
    report = place.load(BASE)
    assert len(report.added) == 8
    assert (report.links_begun, report.links_ended, report.needs_attention) == (6, 0, False)
    assert place.groups("user:ann") == {"user:ann", "group:hr", "group:staff", "group:firm", "everyone"}
    assert place.groups("user:gus") == {"user:gus", "group:hr", "group:staff", "group:firm"}
    assert place.groups("service:cron") == {"service:cron"}
    ann, ben, cron = (place.subject(name) for name in ("user:ann", "user:ben", "service:cron"))
    assert ann.clearance == GUIDS[2]
    assert ann.compartments == frozenset({"heron"})
    assert (ben.clearance, ben.compartments) == (GUIDS[1], frozenset())
    assert cron.clearance is None
    assert place.named(ann.hops[0].closure) == {"app:chat", "group:firm"}
    assert place.uncertain() == set()


@control("acl:directory-atomic")
def test_the_same_import_twice_changes_nothing(place: Place) -> None:
    place.load(BASE)
    before = place.version()
    report = place.load(BASE)
    assert (report.changes, place.version()) == (0, before)


@control("acl:directory-atomic")
@pytest.mark.parametrize(
    "text",
    [
        directory(USERS, GROUPS + "  - {id: group:new, members: [user:ann]}\n", rest="x: 1"),
        directory(USERS.replace("clearance: Secret", "clearance: Secrets"), GROUPS),
        directory(USERS.replace("[heron]", "[heronry]"), GROUPS),
        directory(
            USERS, GROUPS + "  - {id: group:a, members: [group:b]}\n  - {id: group:b, members: [group:a]}\n"
        ),
    ],
)
def test_a_refused_import_changes_nothing(place: Place, text: str) -> None:
    place.load(BASE)
    before = place.version(), place.links()
    with pytest.raises(ConfigError):
        place.load(text)
    assert (place.version(), place.links()) == before


@control("acl:directory-atomic")
def test_an_import_that_fails_half_way_leaves_nothing(place: Place) -> None:
    place.load(BASE)
    before = place.version(), place.links()
    with write(place.engine) as connection:
        connection.exec_driver_sql(
            "CREATE TRIGGER no_more BEFORE INSERT ON access_grant BEGIN SELECT RAISE(ABORT, 'disk full'); END"
        )
    with pytest.raises((UnavailableError, IntegrityError)):
        place.load(directory(USERS + "  - {id: user:eve, kind: member}\n", GROUPS, apps="app:other"))
    assert (place.version(), place.links()) == before
    assert place.groups("user:eve") == set()


def test_changes_end_and_begin_instead_of_being_edited(place: Place) -> None:
    place.load(BASE)
    first = place.now
    place.load(
        directory(USERS.replace("clearance: Secret", "clearance: Public"), GROUPS.replace("user:ann, ", ""))
    )
    c, m = t.clearance.c, t.membership.c
    with place.engine.connect() as connection:
        ann = connection.execute(
            sa.select(t.principal.c.id).where(t.principal.c.name == "user:ann")
        ).scalar_one()
        held = connection.execute(
            sa.select(c.label, c.valid_from, c.valid_to).where(c.principal_id == ann).order_by(c.id)
        ).all()
        links = connection.execute(sa.select(m.valid_from, m.valid_to).where(m.member_id == ann)).all()
    assert [tuple(row) for row in held] == [(GUIDS[2], first, place.now), (GUIDS[0], place.now, NEVER)]
    assert [tuple(row) for row in links] == [(first, place.now)]
    assert place.subject("user:ann").clearance == GUIDS[0]
    assert place.groups("user:ann") == {"user:ann", "everyone"}


def test_memberships_begin_and_end_when_they_say(place: Place) -> None:
    dated = """\
  - {id: group:soon, members: [{id: user:ann, valid_from: 2030-01-01}]}
  - {id: group:now, members: [{id: user:ann, valid_from: 1970-01-01, valid_to: 2030-01-01}]}
  - {id: group:over, members: [{id: user:ann, valid_to: 1970-01-02}]}
"""
    place.load(directory(USERS, dated))
    year_2030 = 1_893_456_000_000_000
    assert place.groups("user:ann") == {"user:ann", "everyone", "group:now"}
    assert place.groups("user:ann", later=year_2030 - place.now - 1) == {"user:ann", "everyone", "group:now"}
    assert place.groups("user:ann", later=year_2030 - place.now) == {"user:ann", "everyone", "group:soon"}
    assert place.load(directory(USERS, dated)).changes == 0
    place.load(
        directory(
            USERS, dated.replace("2030-01-01}]}\n  - {id: group:now", "2031-01-01}]}\n  - {id: group:now")
        )
    )
    assert place.groups("user:ann", later=year_2030 - place.now) == {"user:ann", "everyone"}


@control("acl:directory-tombstones")
def test_a_group_that_is_gone_stays_in_denies(place: Place) -> None:
    place.load(BASE)
    report = place.load(
        directory(USERS, GROUPS.replace("  - {id: group:hr, name: HR, members: [user:ann, user:gus]}\n", ""))
    )
    # staff still names hr, which nobody defines any more: staff itself is doubtful, and firm above it.
    assert report.deleted == ("group:hr",)
    assert place.principal("group:hr")[1] == "deleted"
    assert {("user:ann", "group:hr"), ("group:hr", "group:staff")} <= place.links()
    assert place.uncertain() == {"group:hr", "group:staff", "group:firm"}
    assert place.groups("user:ann") == {"user:ann", "everyone"}
    assert report.uncertain == ("group:firm", "group:hr", "group:staff")
    assert report.unknown == ("group:hr (d.yaml:11)",)
    assert report.needs_attention


@control("acl:directory-tombstones")
def test_links_of_a_tombstone_stay_until_somebody_forgets_it(place: Place) -> None:
    place.load(BASE)
    without = directory(
        USERS, "  - {id: group:staff, members: [user:ben]}\n  - {id: group:firm, members: [group:staff]}\n"
    )
    place.load(without)
    assert ("group:hr", "group:staff") in place.links()
    assert place.uncertain() == {"group:hr", "group:staff", "group:firm"}
    assert place.load(without).changes == 0
    report = place.load(without, forget=("group:hr",))
    assert (report.forgotten, report.links_ended) == (("group:hr",), 3)
    assert place.uncertain() == {"group:hr"}
    assert place.principal("group:hr")[1] == "deleted"


@pytest.mark.parametrize("name", ["group:staff", "user:ann", "group:never", "everyone"])
def test_only_who_is_gone_can_be_forgotten(place: Place, name: str) -> None:
    place.load(BASE)
    with pytest.raises(ConfigError, match="cannot be forgotten"):
        place.load(BASE, forget=(name,))


def test_a_group_that_comes_back_is_known_again(place: Place) -> None:
    place.load(BASE)
    place.load(directory(USERS, "  - {id: group:staff, members: [user:ben]}\n"))
    assert "group:hr" in place.uncertain()
    place.load(BASE)
    assert place.uncertain() == set()
    assert place.groups("user:ann") == {"user:ann", "group:hr", "group:staff", "group:firm", "everyone"}


def test_an_explicit_unnesting_ends_the_link(place: Place) -> None:
    place.load(BASE)
    report = place.load(directory(USERS, GROUPS.replace("[group:hr, user:ben]", "[user:ben]")))
    assert report.links_ended == 1
    assert ("group:hr", "group:staff") not in place.links()
    assert place.uncertain() == set()


def test_users_that_are_gone_are_tombstones_without_rights(place: Place) -> None:
    place.load(BASE)
    report = place.load(
        directory("  - {id: user:ben, kind: member}\n", "  - {id: group:staff, members: [user:ben]}\n")
    )
    assert report.deleted == ("group:firm", "group:hr", "service:cron", "user:ann", "user:gus")
    assert place.groups("user:ann") == set()
    ann = place.subject("user:ann")
    assert (ann.clearance, ann.compartments) == (None, frozenset())
    assert "user:ann" in place.uncertain()
    a = t.alias.c
    with place.engine.connect() as connection:
        assert connection.execute(sa.select(a.valid_to)).scalars().all() == [place.now]
    place.load(BASE)
    assert place.subject("user:ann").clearance == GUIDS[2]


@control("acl:directory-incomplete")
def test_an_incomplete_import_removes_nothing_and_doubts_every_group(place: Place) -> None:
    place.load(BASE)
    before = place.links()
    page = directory(
        "  - {id: user:ben, kind: member}\n", "  - {id: group:staff, members: [user:ben]}\n", complete="false"
    )
    report = place.load(page)
    assert (report.deleted, report.links_ended) == ((), 0)
    assert place.links() == before
    assert place.groups("user:ann") == {"user:ann", "group:hr", "group:staff", "group:firm", "everyone"}
    assert place.uncertain() == {"group:hr", "group:staff", "group:firm"}
    assert place.load(page).changes == 0
    place.load(BASE)
    assert place.uncertain() == set()


@control("acl:directory-incomplete")
def test_a_group_may_say_that_it_is_complete_itself(place: Place) -> None:
    place.load(BASE)
    page = "  - {id: group:staff, complete: true, members: [group:hr]}\n"
    place.load(directory(USERS, page, complete="false"))
    assert place.uncertain() == {"group:hr", "group:firm", "group:staff"}  # hr is below staff and in doubt
    assert ("user:ben", "group:staff") not in place.links()
    assert place.principal("group:staff")[2] == 1
    whole = "  - {id: group:hr, complete: true, members: [user:ann]}\n" + page
    place.load(directory(USERS, whole, complete="false"))
    assert place.uncertain() == {"group:firm"}


@control("acl:directory-incomplete")
def test_a_group_may_say_that_it_is_not_complete(place: Place) -> None:
    place.load(BASE)
    report = place.load(
        directory(
            USERS,
            GROUPS.replace("name: HR, members: [user:ann, user:gus]", "complete: false, members: [user:ann]"),
        )
    )
    assert ("user:gus", "group:hr") in place.links()
    assert place.uncertain() == {"group:hr", "group:staff", "group:firm"}
    assert report.declared_incomplete == ("group:hr",)
    assert report.needs_attention  # staff and firm above it are in doubt as well


def test_a_member_that_nobody_defines_makes_its_group_doubtful(place: Place) -> None:
    report = place.load(directory(USERS, GROUPS + "  - {id: group:x, members: [user:ghost, group:lost]}\n"))
    assert [x.split()[0] for x in report.unknown] == ["user:ghost", "group:lost"]
    assert place.principal("user:ghost") == ("member", "unknown", 0)
    assert place.uncertain() == {"user:ghost", "group:lost", "group:x"}
    assert place.groups("user:ghost") == set()
    later = place.load(
        directory(
            USERS + "  - {id: user:ghost, kind: guest}\n",
            GROUPS + "  - {id: group:x, members: [user:ghost]}\n",
        )
    )
    assert place.principal("user:ghost") == ("guest", "active", 1)
    assert place.groups("user:ghost") == {"user:ghost", "group:x"}
    # The link of group:lost stays: nobody took it out of x, it only vanished.
    assert later.uncertain == ("group:lost", "group:x")
    assert place.load(BASE, forget=("group:lost",)).uncertain == ("group:lost", "group:x")


def test_sections_that_are_absent_are_not_covered(place: Place) -> None:
    place.load(BASE)
    before = place.version()
    assert place.load("tenant: acme\ncomplete: true\nagents: []\n").changes == 0
    assert place.version() == before
    report = place.load("tenant: acme\ncomplete: true\napplications: []\n")
    assert report.deleted == ("app:chat",)
    assert place.groups("user:ann") == set()  # no application, no answer


def test_grants_end_and_are_reported_when_they_are_over(place: Place) -> None:
    place.load(BASE)
    hop = place.subject("user:ann").hops[0]
    assert (hop.actions, hop.purposes) == (frozenset({"read"}), frozenset({"qa"}))
    assert list(hop.ceilings) == [GUIDS[2]]
    assert hop.compartments == frozenset({"heron"})
    assert hop.expires == 4_070_908_800_000_000
    over = BASE.replace("expires: 2099-01-01", "expires: 1970-01-02")
    report = place.load(over)
    assert (report.expired, report.needs_attention) == (("app:chat",), True)
    assert place.subject("user:ann").hops[0].actions == frozenset()
    assert place.load(over).changes == 0


def test_agents_have_owners_clearances_and_grants(place: Place) -> None:
    agents = f"agents: [{{id: agent:bot, owner: user:ann, clearance: Internal, compartments: [board], grant: {GRANT}}}]"
    place.load(BASE.replace("agents: []", agents))
    bot = place.subject("agent:bot", "agent:bot")
    assert bot.clearance == GUIDS[1]
    assert bot.compartments == frozenset({"board"})
    assert len(bot.hops) == 1
    assert place.groups("agent:bot") == {"agent:bot"}
    report = place.load(BASE.replace("agents: []", agents.replace("user:ann", "user:ghost")))
    assert report.unknown == ("user:ghost (d.yaml:16)",)


def test_a_mail_address_means_one_person_at_a_time(place: Place) -> None:
    place.load(BASE)
    taken = "  - {id: user:new, kind: member, mail: ann@ACME.example}\n"
    with pytest.raises(ConfigError, match=r"ann@acme\.example belongs to user:ann now"):
        place.load(directory(taken, complete="false"))
    place.load(directory(taken, ""))  # complete: Ann is gone, so her address is free
    with place.engine.connect() as connection:
        p, a = t.principal.c, t.alias.c
        owners = connection.execute(
            sa.select(p.name).join(t.alias, a.principal_id == p.id).where(a.valid_to == NEVER)
        ).scalars()
        assert list(owners) == ["user:new"]


def test_a_new_tenant_gets_everyone_and_a_generation(tmp_path: Path) -> None:
    place = new_place(tmp_path, labels=None)
    place.load("tenant: acme\ncomplete: true\nusers: [{id: user:a, kind: member}]\ngroups: []\n")
    assert place.principal("everyone") == ("everyone", "active", 1)
    generation, n = place.version()
    assert len(generation) == 32
    assert n > 0
    place.engine.dispose()


def test_labels_come_first(tmp_path: Path) -> None:
    place = new_place(tmp_path, labels=None)
    with pytest.raises(ConfigError, match="import labels first"):
        place.load(BASE)
    place.engine.dispose()


def test_a_restored_database_serves_nothing_before_all_of_it_is_known(place: Place) -> None:
    place.load(BASE)
    with write(place.engine) as connection:
        connection.execute(sa.update(t.tenant).values(directory_as_of=0))
    assert place.groups("user:ann") == set()
    for text in (
        BASE.replace("complete: true", "complete: false"),
        BASE.replace("agents: []\n", ""),
        "tenant: acme\ncomplete: true\nusers: []\n",
    ):
        report = place.load(text)
        covers = "groups" in text and "complete: true" in text
        assert report.serving is covers, (
            text
        )  # no agent was ever there, so not naming agents leaves nothing out
        if report.serving:
            break
        assert report.needs_attention
        assert place.groups("user:ann") == set()
    assert "group:hr" in place.groups("user:ann")


@control("acl:directory-validated")
def test_nesting_across_pages_is_checked_as_a_whole(place: Place) -> None:
    place.load(directory("", "  - {id: group:a, members: [group:b]}\n  - {id: group:b, members: []}\n"))
    with pytest.raises(ConfigError, match="groups contain each other: group:a in group:b in group:a"):
        place.load(
            directory(
                "", "  - {id: group:b, members: [group:a]}\n  - {id: group:a, complete: false, members: []}\n"
            )
        )


def test_an_import_takes_a_document_made_in_code(place: Place) -> None:
    document = parse_directory(BASE.encode(), "d.yaml").model_copy(update={"users": None, "groups": None})
    report = import_directory(place.engine, document, actor="user:me", now=Micros(place.now))
    assert report.added == ("app:chat",)


@control("acl:directory-tombstones")
def test_a_group_cannot_be_disabled(place: Place) -> None:
    """Nothing is reached through a disabled group, and nobody would count it as doubtful: denies would open."""
    place.load(BASE)
    disabled = sa.update(t.principal).where(t.principal.c.name == "group:hr").values(state="disabled")
    with pytest.raises(IntegrityError, match="group_state"), write(place.engine) as connection:
        connection.execute(disabled)


@control("acl:label-dominance")
def test_two_clearances_at_once_are_none(place: Place) -> None:
    """Which one would count? No import writes that; whoever did must not gain by it."""
    place.load(BASE)
    with write(place.engine) as connection:
        row = connection.execute(sa.select(t.clearance).where(t.clearance.c.label == GUIDS[2])).one()
        doubled = {
            "tenant_id": row.tenant_id,
            "principal_id": row.principal_id,
            "label": GUIDS[0],
            "valid_from": 0,
        }
        connection.execute(sa.insert(t.clearance).values(doubled))
    assert place.subject("user:ann").clearance is None
    assert place.subject("user:ben").clearance == GUIDS[1]


def aliases(place: Place) -> list[tuple[str, str, int, int]]:
    """Alias, principal and dates of every row, oldest first."""
    p, a = t.principal.c, t.alias.c
    statement = sa.select(a.alias, p.name, a.valid_from, a.valid_to).join(t.principal, p.id == a.principal_id)
    with place.engine.connect() as connection:
        return [
            (r.alias, r.name, r.valid_from, r.valid_to) for r in connection.execute(statement.order_by(a.id))
        ]


SID = "S-1-5-21-1-2-3-1107"
NAMED = f"  - {{id: user:ann, kind: member, mail: Ann@acme.example, sid: {SID.lower()}, aliases: ['scim:00u1']}}\n"
TEAM = "  - {id: group:hr, object_id: '{00112233-4455-6677-8899-AABBCCDDEEFF}', members: []}\n"


@control("acl:aliases-dated")
def test_native_ids_of_users_and_groups_are_aliases(place: Place) -> None:
    place.load(directory(NAMED, TEAM))
    assert set(aliases(place)) == {
        ("mail:ann@acme.example", "user:ann", place.now, NEVER),
        (f"sid:{SID}", "user:ann", place.now, NEVER),
        ("scim:00u1", "user:ann", place.now, NEVER),
        ("object:00112233-4455-6677-8899-aabbccddeeff", "group:hr", place.now, NEVER),
    }
    assert place.load(directory(NAMED, TEAM)).changes == 0


@control("acl:aliases-dated")
def test_an_alias_that_moves_ends_and_begins_and_keeps_its_past(place: Place) -> None:
    place.load(directory(NAMED, TEAM))
    first = place.now
    moved = "  - {id: user:ann, kind: member}\n" + NAMED.replace("user:ann", "user:new")
    place.load(directory(moved, TEAM))
    rows = aliases(place)
    assert (f"sid:{SID}", "user:ann", first, place.now) in rows
    assert (f"sid:{SID}", "user:new", place.now, NEVER) in rows
    assert len(rows) == 7
    place.load(directory(NAMED, TEAM))
    assert len(aliases(place)) == 10
    assert aliases(place)[:7] == [
        (name, who, since, place.now if who == "user:new" else until) for name, who, since, until in rows
    ]


@control("acl:aliases-dated")
def test_an_alias_of_somebody_outside_the_file_is_not_taken(place: Place) -> None:
    place.load(directory(NAMED, TEAM))
    other = f"  - {{id: user:eve, kind: member, sid: {SID}}}\n"
    with pytest.raises(ConfigError, match=rf"sid:{SID} belongs to user:ann now"):
        place.load(directory(other, complete="false"))
    group = f"  - {{id: group:x, sid: {SID}, members: []}}\n"
    with pytest.raises(ConfigError, match=rf"d\.yaml.*sid:{SID} belongs to user:ann already"):
        place.load(directory(NAMED, group))


@control("acl:aliases-dated")
def test_an_address_written_before_aliases_had_kinds_still_belongs_to_its_owner(place: Place) -> None:
    place.load(directory(NAMED, TEAM))
    with write(place.engine) as connection:
        mail = t.alias.c.alias.startswith("mail:")
        connection.execute(sa.update(t.alias).where(mail).values(alias="ann@acme.example"))
    taken = "  - {id: user:eve, kind: member, mail: ann@acme.example}\n"
    with pytest.raises(ConfigError, match=r"ann@acme\.example belongs to user:ann now"):
        place.load(directory(taken, complete="false"))
    place.load(directory(NAMED, TEAM))
    held = [(name, until) for name, _, _, until in aliases(place) if "ann@" in name]
    assert held == [("ann@acme.example", place.now), ("mail:ann@acme.example", NEVER)]


@control("acl:directory-validated")
@pytest.mark.parametrize(
    "field",
    [
        "sid: S-1-5-x", "sid: S-2-5-21-1", "sid: ada", "object_id: ada", "aliases: ['ada@acme.example']",
        "aliases: ['mail:ada']", "aliases: ['upn:ada@acme.example']", "aliases: ['sid:']", "aliases: ['scim: x']",
    ],
)  # fmt: skip
def test_a_native_id_of_another_form_is_refused(place: Place, field: str) -> None:
    with pytest.raises(ConfigError, match=r"d\.yaml:5: users\.0\."):
        place.load(directory(f"  - {{id: user:a, kind: member, {field}}}\n"))
