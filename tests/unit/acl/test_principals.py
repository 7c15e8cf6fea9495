"""Who a native name means: the kinds of lines, their order, and what must not be joined or guessed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from secure_rag.errors import ConfigError
from secure_rag.model.ids import NEVER, Micros, PrincipalId
from secure_rag_acl.formats.native import NativePrincipal
from secure_rag_acl.known_names import Gone, KnownNames, parse_table
from secure_rag_acl.mappings import parse_additions
from secure_rag_acl.patterns import MAX_PATTERN, NamePattern
from secure_rag_acl.principals import PrincipalMapping, Resolution, Why, is_broad, named
from tests.controls import control

NOW = Micros(1_000)
ADA, BEN, HR = PrincipalId("user:ada"), PrincipalId("user:ben"), PrincipalId("group:hr")
GUID = "0b0b0b0b-0000-4000-8000-000000000001"
SID = "S-1-5-21-1-2-3-1107"


def known(*rows: tuple[str, str] | tuple[str, str, int, int]) -> KnownNames:
    full = [(x[0], PrincipalId(x[1]), Micros(0), NEVER) if len(x) == 2 else x for x in rows]
    return KnownNames.of([(a, PrincipalId(p), Micros(b), Micros(e)) for a, p, b, e in full], NOW)


PEOPLE = known(
    ("mail:ada@acme.example", "user:ada"),
    ("ben@acme.example", "user:ben"),
    (f"sid:{SID}", "user:ada"),
    (f"object:{GUID}", "user:ada"),
    ("object:0b0b0b0b-0000-4000-8000-000000000002", "group:hr"),
    ("mail:old@acme.example", "user:gone", 0, 500),
    ("mail:old@acme.example", "user:ben", 600, NEVER),
    ("mail:left@acme.example", "user:left", 0, 500),
    ("mail:later@acme.example", "user:later", 2_000, NEVER),
    ("mail:ada@partner.example", "user:ada"),
    ("mail:ada@notacme.example", "user:ada"),
    ("mail:ada@sub.acme.example", "user:ada"),
)


def mapping(
    lines: str, people: KnownNames = PEOPLE, read: Callable[[str], bytes] | None = None
) -> PrincipalMapping:
    text = f"source: hr\nprincipals:\n{lines}"
    return parse_additions(text.encode(), "hr.yaml", "hr", known=people, read_table=read)[0]


def mail(address: str, name: str | None = None) -> NativePrincipal:
    return NativePrincipal(name or f"drive-user:{address}", mail=address)


@control("acl:names-by-directory")
def test_a_mail_domain_is_who_the_directory_says() -> None:
    found = mapping("  - {mail_domain: acme.example}\n")
    assert found.look_up(mail("ada@acme.example")).principal == ADA
    assert found.look_up(mail("ben@acme.example")).principal == BEN, "kept without its kind by older homes"
    assert found.look_up(mail("ADA@acme.example")).principal == ADA
    assert found.look_up(mail("ada@partner.example")) == Resolution(None, Why.UNMAPPED)
    assert found.look_up(mail("ada@sub.acme.example")).principal is None
    assert found.look_up(mail("ada@notacme.example")).principal is None
    assert found.look_up(mail("nobody@acme.example")) == Resolution(None, Why.UNMAPPED)
    assert found.look_up(NativePrincipal("posix-user:ada")).principal is None


@control("acl:names-recycled")
def test_a_recycled_address_means_nobody_and_so_does_one_that_ended_or_has_not_begun() -> None:
    found = mapping("  - {mail_domain: acme.example}\n")
    assert found.look_up(mail("old@acme.example")) == Resolution(None, Why.RECYCLED)
    assert found.look_up(mail("OLD@acme.example")) == Resolution(None, Why.RECYCLED)
    assert found.look_up(mail("left@acme.example")) == Resolution(None, Why.ENDED)
    assert found.look_up(mail("later@acme.example")) == Resolution(None, Why.ENDED)
    spelt = known(("mail:Ada@acme.example", "user:ada"), ("mail:ada@acme.example", "user:other"))
    assert spelt.find("mail:ada@acme.example") is Gone.RECYCLED


@control("acl:names-recycled")
def test_letters_that_only_look_the_same_are_another_name() -> None:
    found = mapping("  - {mail_domain: acme.example}\n", known(("mail:kim@acme.example", "user:kim")))
    assert found.look_up(mail("kim@acme.example")).principal == "user:kim"
    # The Kelvin sign is k in lower case.
    assert found.look_up(mail("\u212aim@acme.example")).principal is None


@control("acl:names-recycled")
def test_an_account_made_anew_under_an_old_address_is_another_one() -> None:
    found = mapping("  - {mail_domain: acme.example}\n")
    new = NativePrincipal("graph-user:new", mail="ada@acme.example", object_id=GUID.replace("0b", "0c"))
    assert found.look_up(new) == Resolution(None, Why.OTHER_IDENTIFIER)
    assert found.look_up(replace(new, object_id=GUID.upper())).principal == ADA
    assert found.look_up(replace(new, object_id=None)).principal == ADA
    assert found.look_up(replace(new, object_id=GUID, name="sid:S-1-5-21-9")) == Resolution(
        None, Why.OTHER_IDENTIFIER
    )
    # Of Ben the directory has no identifier to compare with.
    assert found.look_up(replace(new, mail="ben@acme.example")).principal == BEN
    # Another line may know her, and still makes it ambiguous when it says somebody else.
    both = (
        "  - {mail_domain: acme.example, merge: true}\n  - {native: 'graph-user:new', principal: user:%s}\n"
    )
    assert mapping(both % "ada").look_up(new).principal == ADA
    assert mapping(both % "ben").look_up(new) == Resolution(None, Why.AMBIGUOUS, (ADA, BEN))


@control("acl:names-by-directory")
def test_identifiers_are_who_the_directory_says() -> None:
    found = mapping("  - {sid_table: true}\n  - {object_ids: true}\n")
    assert found.look_up(NativePrincipal(f"sid:{SID}")).principal == ADA
    assert found.look_up(NativePrincipal("sid:S-1-5-21-9-9-9-1")) == Resolution(None, Why.UNMAPPED)
    assert found.look_up(NativePrincipal(f"graph-user:{GUID}", object_id=GUID)).principal == ADA
    assert found.look_up(NativePrincipal("confluence-user:1", object_id=GUID)).principal == ADA
    only = mapping("  - {object_ids: true}\n")
    assert only.look_up(NativePrincipal(f"sid:{SID}")).principal is None
    assert only.resolve(f"graph-user:{GUID}") == ADA, "an entry that somebody wrote down"


def test_tables_beside_the_mapping() -> None:
    files = {
        "sids.csv": f"sid,principal\n{SID},user:ben\n",
        "ids.csv": f"object_id,principal\r\n{GUID},group:hr\r\n\r\n",
    }
    found = mapping(
        "  - {sid_table: sids.csv}\n  - {object_ids: ids.csv}\n", read=lambda x: files[x].encode()
    )
    assert found.look_up(NativePrincipal(f"sid:{SID.lower()}")).principal == BEN
    assert found.look_up(NativePrincipal("x", object_id=GUID)).principal == HR
    assert found.look_up(NativePrincipal("sid:S-1-5-21-9")).principal is None


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("", "t.csv:1: the columns are sid,principal"),
        ("principal,sid\n", "t.csv:1"),
        ("sid,principal\n", "t.csv:1: no entries"),
        ("sid,principal\nS-1-5,user:a,x\n", "t.csv:2: not 2 columns"),
        ("sid,principal\nS-1-5,ada\n", "t.csv:2: not a principal"),
        ("sid,principal\nS-1-5,user:a\ns-1-5,user:b\n", "t.csv:3: 's-1-5' occurs twice"),
        ('sid,principal\n"S-1-5,user:a\n', "t.csv"),
        ("sid,principal\n S-1-5,user:a\n", "t.csv:2: not a name"),
    ],
)
def test_a_malformed_table_is_refused(table: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_table(table.encode(), "t.csv", "sid")
    assert said in str(caught.value)


def test_a_pattern_is_anchored_at_both_ends() -> None:
    found = mapping("  - {pattern: 'posix-user:([a-z]+)', principal: 'user:{1}'}\n")
    assert found.look_up(NativePrincipal("posix-user:ada")).principal == ADA
    for name in ("xposix-user:ada", "posix-user:ada\n", "posix-user:ada2", "posix-user:", "posix-user:ADA"):
        assert found.look_up(NativePrincipal(name)).principal is None, name
    assert found.resolve("posix-user:ada") == ADA


def test_what_comes_out_of_a_pattern_must_be_a_principal() -> None:
    pattern = NamePattern("nfs4-user:(.*)@acme", "user:{1}")
    assert pattern.resolve("nfs4-user:ada@acme") == ADA
    for inside in ("Ada", "a:b", "../x", "", "-a", "ada marsh", "x" * 200):
        assert pattern.resolve(f"nfs4-user:{inside}@acme") is None, inside
    optional = NamePattern("a:(?:(x)|(y))", "user:{1}")
    assert optional.resolve("a:y") is None


def test_a_pattern_takes_time_linear_in_the_name() -> None:
    pattern = NamePattern("(a+)+b", "user:{1}")
    assert pattern.resolve("a" * 512) is None


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{pattern: '(a', principal: 'user:{1}'}", "not a pattern: missing"),
        (r"{pattern: '(a)\1', principal: 'user:{1}'}", "not a pattern: invalid escape"),
        ("{pattern: '(?=a)a', principal: 'user:a'}", "not a pattern"),
        (f"{{pattern: '{'a' * (MAX_PATTERN + 1)}', principal: 'user:a'}}", "a pattern has 1 to"),
        ("{pattern: '', principal: 'user:a'}", "a pattern has 1 to"),
        ("{pattern: '(a)', principal: 'user:{2}'}", "a group that the pattern does not have"),
        ("{pattern: '(a)', principal: 'user:{x}'}", "a placeholder is {1} to {9}"),
        ("{pattern: '(.*)', principal: '{1}'}", "begins with user:"),
        ("{pattern: '(.*)', principal: 'us{1}'}", "begins with user:"),
        ("{pattern: 'a', principal: 'user:A'}", "not a principal"),
        ("{pattern: '(a)(b)(c)(d)(e)(f)(g)(h)(i)(j)', principal: 'user:{1}'}", "more than 9 groups"),
        ("{pattern: 'a'}", "principals.0.principal: is missing"),
        ("{native: a}", "principals.0.principal: is missing"),
        ("{principal: user:a}", "one of native, mail_domain"),
        ("{}", "one of native, mail_domain"),
        ("{native: a, pattern: a, principal: user:a}", "one of native and pattern, not both"),
        ("{mail_domain: a.example, principal: user:a}", "says by itself who is meant"),
        ("{mail_domain: ACME.example}", "not a mail domain in lower case"),
        ("{mail_domain: '@acme.example'}", "not a mail domain"),
        ("{sid_table: false}", "true, or the name of a CSV file"),
        ("{sid_table: ../sids.csv}", "named without a folder"),
        ("{sid_table: /etc/sids.csv}", "named without a folder"),
        ("{object_ids: ''}", "named without a folder"),
        ("{sid_table: sids.csv}", "needs a mapping that is a file"),
        ("{sid_tables: true}", "unknown key"),
    ],
)
def test_a_malformed_line_is_refused(line: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        mapping(f"  - {line}\n")
    assert said in str(caught.value)
    assert str(caught.value).startswith("hr.yaml:3: principals.0")


@control("acl:names-ambiguous")
def test_two_lines_that_disagree_mean_nobody() -> None:
    lines = """\
  - {native: "drive-user:ada@acme.example", principal: user:ben, merge: true}
  - {object_ids: true}
  - {pattern: 'drive-user:([a-z]+)@acme[.]example', principal: 'user:{1}', merge: true}
  - {mail_domain: acme.example, merge: true}
"""
    found = mapping(lines)
    assert found.look_up(mail("ada@acme.example")) == Resolution(None, Why.AMBIGUOUS, (ADA, BEN))
    assert found.look_up(mail("ben@acme.example")).principal == BEN, "pattern and mail agree"
    assert found.look_up(
        NativePrincipal("drive-user:ben@acme.example", object_id=GUID, mail="ben@acme.example")
    ) == Resolution(None, Why.AMBIGUOUS, (ADA, BEN))
    # A kind that knows nothing of the name has no say, and neither has an address that changed hands.
    assert found.look_up(
        NativePrincipal("drive-user:old@acme.example", mail="old@acme.example")
    ).principal == ("user:old")


@control("acl:names-broad")
@pytest.mark.parametrize(
    "name",
    ["sid:S-1-1-0", "sid:S-1-5-11", "sid:s-1-5-32-545", "sid:S-1-5-21-1-2-3-513", "posix-other", "nfs4-everyone",
     "adls-other", "graph-organization", "graph-anyone", "graph-everyone", "graph-everyone-except-external",
     "drive-anyone", "drive-domain:acme.example", "confluence-anonymous"],
)  # fmt: skip
def test_everyone_like_names_mean_somebody_by_an_exact_line_only(name: str) -> None:
    covering = """\
  - {sid_table: true}
  - {pattern: '(?s).*', principal: 'user:ada', merge: true}
  - {mail_domain: acme.example, merge: true}
"""
    people = known((name, "user:ada"), ("mail:all@acme.example", "user:ada"))
    native = NativePrincipal(name, mail="all@acme.example", object_id=GUID)
    assert is_broad(name)
    assert mapping(covering, people).look_up(native) == Resolution(None, Why.UNMAPPED)
    exact = mapping(f"{covering}  - {{native: '{name}', principal: everyone}}\n", people)
    assert exact.look_up(native).principal == "everyone"


@control("acl:names-broad")
def test_what_a_reader_calls_broad_is_broad() -> None:
    found = mapping("  - {pattern: 'all:(.*)', principal: 'group:{1}'}\n")
    assert found.look_up(NativePrincipal("all:staff")).principal == "group:staff"
    assert found.look_up(NativePrincipal("all:staff", broad=True)).principal is None
    assert not is_broad("sid:S-1-5-21-1-2-3-1107")
    assert not is_broad("posix-user:other")


@control("acl:mapping-collisions")
@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["{native: a, principal: user:ada}", "{mail_domain: acme.example}"], "the mail_domain line may come to"),
        (["{native: a, principal: user:ada}", "{sid_table: true}"], "the sid_table line"),
        (["{native: a, principal: user:ada}", "{pattern: 'p:([a-z]+)', principal: 'user:{1}'}"], "the pattern line"),
        (["{pattern: 'p:(.*)', principal: 'user:{1}'}", "{mail_domain: acme.example}"], "same principals"),
        (["{object_ids: true}", "{mail_domain: acme.example}"], "the object_ids line may come to the same"),
        (["{pattern: 'p:(.*)', principal: 'user:{1}'}", "{pattern: 'q:(.*)', principal: 'user:{1}'}"], "to the same"),
        (["{pattern: 'p:(.*)', principal: 'user:a{1}'}", "{pattern: 'q:(.*)', principal: 'user:{1}b'}"], "the same"),
        (["{pattern: 'p', principal: 'user:ada'}", "{pattern: 'q:(.*)', principal: 'user:{1}'}"], "to the same"),
        (["{pattern: '(p|q)', principal: 'user:ada'}"], "may join several names"),
        (["{pattern: 'p:(.)(.)', principal: 'user:{2}{1}'}"], "may join several names"),
        (["{pattern: '(?i)p:([a-z]+)', principal: 'user:{1}'}"], "may join several names"),
        (["{pattern: '.:([a-z]+)', principal: 'user:{1}'}"], "may join several names"),
    ],
)  # fmt: skip
def test_lines_that_may_come_to_one_principal_need_a_knowing_yes(lines: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match="merge: true") as caught:
        mapping("".join(f"  - {x}\n" for x in lines))
    assert said in str(caught.value)
    mapping("".join(f"  - {x[:-1]}, merge: true}}\n" for x in lines))
    # One knowing line of two is enough.
    *others, last = lines
    mapping("".join(f"  - {x}\n" for x in others) + f"  - {last[:-1]}, merge: true}}\n")


@control("acl:mapping-collisions")
@pytest.mark.parametrize(
    "lines",
    [
        ["{native: 'sid:S-1-5-11', principal: everyone}", "{sid_table: true}"],
        ["{native: a, principal: group:hr}", "{pattern: 'p:([a-z]+)', principal: 'user:{1}'}"],
        ["{native: 'p:ada', principal: user:ada}", "{pattern: 'p:([a-z]+)', principal: 'user:{1}'}"],
        ["{sid_table: true}", "{object_ids: true}"],
        ["{mail_domain: acme.example}", "{mail_domain: partner.example}"],
        ["{pattern: 'p:(.*)', principal: 'user:{1}'}", "{pattern: 'g:(.*)', principal: 'group:{1}'}"],
        ["{pattern: 'p:(.*)', principal: 'user:a-{1}'}", "{pattern: 'q:(.*)', principal: 'user:b-{1}'}"],
        [r"{pattern: 'u:([a-z]+)\.([a-z]+)@acme\.example', principal: 'user:{1}.{2}'}"],
        ["{pattern: 'p:([])]+)', principal: 'user:{1}'}"],
    ],
)
def test_lines_that_cannot_meet_need_none(lines: list[str]) -> None:
    mapping("".join(f"  - {x}\n" for x in lines))


@control("acl:mapping-collisions")
def test_a_table_that_joins_names_needs_a_knowing_yes() -> None:
    table = f"sid,principal\n{SID},user:ada\nS-1-5-21-9,user:ada\n".encode()
    with pytest.raises(ConfigError, match=r"sids.csv joins several names .*merge: true"):
        mapping("  - {sid_table: sids.csv}\n", read=lambda _: table)
    mapping("  - {sid_table: sids.csv, merge: true}\n", read=lambda _: table)
    with pytest.raises(ConfigError, match="merge: true"):
        mapping(
            "  - {sid_table: sids.csv}\n  - {native: a, principal: user:ada}\n",
            read=lambda _: f"sid,principal\n{SID},user:ada\n".encode(),
        )


def test_too_many_lines_that_cover_names() -> None:
    lines = "".join(f"  - {{pattern: 'p{n}', principal: 'user:u{n}'}}\n" for n in range(101))
    with pytest.raises(ConfigError, match="more than 100 lines"):
        mapping(lines)


@control("acl:mapping-unmapped")
@pytest.mark.parametrize("name", ["user:ada", "everyone", "group:hr", "bad\u200bname", "", "x" * 600])
def test_a_source_never_speaks_of_canonical_principals(name: str) -> None:
    found = mapping("  - {pattern: '(?s).*', principal: 'user:ada', merge: true}\n")
    assert found.look_up(NativePrincipal(name)) == Resolution(None, Why.MALFORMED)


def test_a_name_that_is_written_down_says_what_its_form_says() -> None:
    assert named("drive-group:HR@acme.example").mail == "hr@acme.example"
    assert named("ada@acme.example").mail == "ada@acme.example"
    assert named("nfs4-user:ada@acme").mail is None
    assert named("HR Team").mail is None
    assert named(f"adls-user:{GUID}").object_id == GUID
