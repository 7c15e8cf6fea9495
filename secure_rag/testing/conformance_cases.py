"""The cases of the conformance suite. Each has people, groups and words of its own, so that all share one index."""

from __future__ import annotations

from typing import Final

from secure_rag.testing.conformance import Ask, Asker, Case, Document, Entry, Leave, SetPermissions

_WRITE: Final = frozenset({"write"})
_DELETE: Final = frozenset({"delete"})
_READ: Final = frozenset({"read"})


def _document(case: str, name: str, *entries: Entry, **more: object) -> Document:
    """A document with one access list. Its text holds the word of its case, so that a query finds all of them."""
    key = f"{case}-{name}"
    given: dict[str, object] = {"lists": (entries,), "id": f"{key}.txt", **more}
    return Document(key, f"{_word(case)} minutes and figures {key}", **given)  # type: ignore[arg-type]  # checked by the dataclass


def _ask(
    case: str,
    user: str,
    see: str = "",
    hide: str = "",
    *,
    clearance: str = "Public",
    k: int = 10,
    **more: object,
) -> Ask:
    """`see` and `hide` are names of documents of the case, with blanks between them."""
    return Ask(
        Asker(f"{case}-{user}", clearance, **more),  # type: ignore[arg-type]  # checked by the dataclass
        f"{_word(case)} minutes and figures",
        frozenset(f"{case}-{x}" for x in see.split()),
        frozenset(f"{case}-{x}" for x in hide.split()),
        k,
    )


def _word(case: str) -> str:
    return f"topic{case}"


def _allow(principal: str, rights: frozenset[str] = _READ, **more: bool) -> Entry:
    return Entry(principal, rights=rights, **more)


def _deny(principal: str, rights: frozenset[str] = _READ, **more: bool) -> Entry:
    return Entry(principal, allow=False, rights=rights, **more)


def _executed_defects() -> list[Case]:
    quote = "X4-x') || array_contains(users, 'X4-ceo"
    return [
        Case(
            "X1",
            "somebody without any right is not somebody without a filter",
            (_document("X1", "pay", _allow("X1-ada")),),
            (_ask("X1", "nobody", hide="pay", known=False), _ask("X1", "ada", see="pay")),
        ),
        Case(
            "X2",
            "somebody in no group does not pass a check of groups",
            (_document("X2", "pay", _allow("X2-finance")),),
            (_ask("X2", "loner", hide="pay"), _ask("X2", "ada", see="pay")),
            {"X2-finance": ("X2-ada",)},
        ),
        Case(
            "X3",
            "what nobody labelled is not public",
            (
                _document("X3", "unlabelled", _allow("X3-ada"), _allow("X3-officer"), label=None),
                _document("X3", "public", _allow("X3-ada")),
            ),
            (
                _ask("X3", "ada", see="public", hide="unlabelled"),
                _ask("X3", "officer", see="unlabelled", clearance="Secret"),
            ),
        ),
        Case(
            "X4",
            "a name with quotes is a name and no filter",
            (
                _document("X4", "board", _allow("X4-ceo")),
                _document("X4", "irish", _allow("X4-O'Brien")),
            ),
            (
                Ask(
                    Asker(quote, known=False),
                    "topicX4 minutes and figures",
                    must_not_see=frozenset({"X4-board", "X4-irish"}),
                ),
                _ask("X4", "pat", see="irish", hide="board"),
            ),
            {"X4-O'Brien": ("X4-pat",)},
        ),
        Case(
            "X5",
            "a deny of writing does not grant reading",
            (
                _document("X5", "plan", _deny("X5-ada", _WRITE)),
                _document("X5", "read-only", _deny("X5-ada", _WRITE), _allow("X5-ada")),
            ),
            (_ask("X5", "ada", see="read-only", hide="plan"),),
        ),
        Case(
            "X6",
            "a right to write is no right to read",
            (
                _document("X6", "inbox", _allow("X6-ada", _WRITE)),
                _document("X6", "own", _allow("X6-ada", _READ | _WRITE)),
            ),
            (_ask("X6", "ada", see="own", hide="inbox"),),
        ),
        Case(
            "X7",
            "the order of a list and its rights count",
            (
                _document("X7", "explicit", _allow("X7-ada"), _deny("X7-ada", inherited=True)),
                _document("X7", "kept", _deny("X7-ada", _DELETE), _allow("X7-ada")),
                _document("X7", "denied", _deny("X7-ada"), _allow("X7-team", inherited=True)),
            ),
            (_ask("X7", "ada", see="explicit kept", hide="denied"), _ask("X7", "ben", see="denied")),
            {"X7-team": ("X7-ada", "X7-ben")},
        ),
        Case(
            "X8",
            "documents without identifiers do not share a verdict",
            (
                _document("X8", "payroll", _allow("X8-hr"), id=None),
                _document("X8", "canteen", _allow("X8-ada"), id=None),
            ),
            (_ask("X8", "ada", see="canteen", hide="payroll"),),
            {"X8-hr": ("X8-ben",)},
        ),
        Case(
            "X9",
            "permissions that could not be read open for nobody",
            (
                _document("X9", "unknown", lists=None),
                _document("X9", "known", _allow("X9-ada")),
            ),
            (_ask("X9", "ada", see="known", hide="unknown"),),
        ),
    ]


def _filters() -> list[Case]:
    return [
        Case(
            "Q1",
            "an empty access list opens for nobody",
            (_document("Q1", "sealed"), _document("Q1", "open", _allow("Q1-ada"))),
            (
                _ask("Q1", "ada", see="open", hide="sealed"),
                _ask("Q1", "nobody", hide="sealed open", known=False),
            ),
        ),
        Case(
            "Q2",
            "a deny holds for documents that nobody else is denied",
            (
                _document("Q2", "hers", _deny("Q2-ada"), _allow("Q2-team")),
                _document("Q2", "none", lists=None),
                _document("Q2", "all", _allow("Q2-team")),
            ),
            (_ask("Q2", "ada", see="all", hide="hers none"), _ask("Q2", "ben", see="hers all", hide="none")),
            {"Q2-team": ("Q2-ada", "Q2-ben")},
        ),
        Case(
            "Q3",
            "what is quarantined is not returned to anybody",
            (
                _document("Q3", "planted", _allow("Q3-ada"), quarantined=True),
                _document("Q3", "clean", _allow("Q3-ada")),
            ),
            (_ask("Q3", "ada", see="clean", hide="planted"),),
        ),
        Case(
            "Q4",
            "a name that reads like a number or a truth value is that name only",
            (
                _document("Q4", "one", _allow("1")),
                _document("Q4", "true", _allow("true")),
                _document("Q4", "padded", _allow("01")),
                _document("Q4", "decimal", _allow("1.0")),
                _document("Q4", "large", _allow("9223372036854775808")),
            ),
            (
                Ask(
                    Asker("Q4-ada"),
                    "topicQ4 minutes and figures",
                    frozenset({"Q4-one"}),
                    frozenset({"Q4-true", "Q4-padded", "Q4-decimal", "Q4-large"}),
                ),
            ),
            {
                "1": ("Q4-ada",),
                **dict.fromkeys(("true", "01", "1.0", "9223372036854775808"), ("Q4-ben",)),
            },
        ),
        Case(
            "Q5",
            "names that differ in case or accents are other names",
            (
                _document("Q5", "upper", _allow("Q5-TEAM")),
                _document("Q5", "lower", _allow("Q5-team")),
            ),
            (_ask("Q5", "ada", see="lower", hide="upper"),),
            {"Q5-TEAM": ("Q5-ben",), "Q5-team": ("Q5-ada",)},
        ),
        Case(
            "Q6",
            "a label above the clearance is not returned, at it is",
            (
                _document("Q6", "secret", _allow("Q6-ada"), label="Secret"),
                _document("Q6", "internal", _allow("Q6-ada"), label="Internal"),
            ),
            (_ask("Q6", "ada", see="internal", hide="secret", clearance="Internal"),),
        ),
        Case(
            "Q8",
            "denying nobody allows nobody",
            (
                _document("Q8", "empty", _deny("Q8-nobody")),
                _document("Q8", "open", _allow("Q8-ada")),
            ),
            (_ask("Q8", "ada", see="open", hide="empty"),),
            {"Q8-nobody": ()},
        ),
        Case(
            "Q9",
            "a deny of a name that reads like a number is of that name only",
            (
                _document("Q9", "barred", _deny("2"), _allow("Q9-team")),
                _document("Q9", "other", _deny("02"), _allow("Q9-team")),
            ),
            (_ask("Q9", "ada", see="other", hide="barred"), _ask("Q9", "ben", see="barred", hide="other")),
            {"2": ("Q9-ada",), "02": ("Q9-ben",), "Q9-team": ("Q9-ada", "Q9-ben")},
        ),
        Case(
            "Q10",
            "of two labels the higher one counts",
            (
                _document("Q10", "raised", _allow("Q10-ada"), label="Public", second_label="Secret"),
                _document("Q10", "plain", _allow("Q10-ada"), label="Public"),
            ),
            (_ask("Q10", "ada", see="plain", hide="raised"),),
        ),
        Case(
            "Q7",
            "the same names in another tenant are somebody else",
            (
                _document("Q7", "ours", _allow("Q7-team")),
                _document("Q7", "theirs", _allow("Q7-team"), tenant="globex"),
            ),
            (_ask("Q7", "ada", see="ours", hide="theirs"),),
            {"Q7-team": ("Q7-ada",)},
        ),
    ]


def _lists() -> list[Case]:
    crowd = [_document("L4", f"other{n:03}", _allow("L4-ben")) for n in range(60)]
    mine = [
        Document(
            f"L4-mine{n}",
            f"topicL4 minutes and more words that make this one less near L4-mine{n}",
            ((_allow("L4-ada"),),),
            id=f"L4-mine{n}.txt",
        )
        for n in range(5)
    ]
    many = tuple(_allow(f"L6-user{n}") for n in range(6_000))
    return [
        Case(
            "L1",
            "of two lists both must admit",
            (
                Document(
                    "L1-share",
                    "topicL1 minutes and figures L1-share",
                    ((_allow("L1-staff"),), (_allow("L1-ada"),)),
                    id="L1-share.txt",
                ),
            ),
            (
                _ask("L1", "ada", see="share"),
                _ask("L1", "ben", hide="share"),
                _ask("L1", "cai", hide="share"),
            ),
            {"L1-staff": ("L1-ada", "L1-ben")},
        ),
        Case(
            "L2",
            "an entry that has ended grants nothing",
            (
                _document("L2", "link", _allow("L2-ada", expired=True)),
                _document("L2", "kept", _allow("L2-ada")),
            ),
            (_ask("L2", "ada", see="kept", hide="link"),),
        ),
        Case(
            "L3",
            "groups within groups count, for allows and for denies",
            (
                _document("L3", "deep", _allow("L3-a")),
                _document("L3", "barred", _deny("L3-a"), _allow("L3-e")),
            ),
            (_ask("L3", "ada", see="deep", hide="barred"), _ask("L3", "ben", hide="deep")),
            {
                "L3-a": ("L3-b",),
                "L3-b": ("L3-c",),
                "L3-c": ("L3-d",),
                "L3-d": ("L3-ada",),
                "L3-e": ("L3-ada",),
            },
        ),
        Case(
            "L4",
            "k results come back when k are allowed, however many nearer ones are not",
            (*crowd, *mine),
            (_ask("L4", "ada", see="mine0 mine1 mine2 mine3 mine4", hide="other000 other001 other002", k=5),),
        ),
        Case(
            "L5",
            "a deny of a member beats an allow of her group",
            (_document("L5", "review", _deny("L5-ada"), _allow("L5-team")),),
            (_ask("L5", "ada", hide="review"), _ask("L5", "ben", see="review")),
            {"L5-team": ("L5-ada", "L5-ben")},
        ),
        Case(
            "L6",
            "a long list is neither cut off nor kept as it was",
            (_document("L6", "wide", *many),),
            (
                _ask("L6", "user5999", see="wide"),
                SetPermissions("L6-wide", (many[:-1],)),
                _ask("L6", "user5999", hide="wide"),
                _ask("L6", "user5998", see="wide"),
            ),
        ),
        Case(
            "F1",
            "a right that was taken away is gone with the next query",
            (_document("F1", "deal", _allow("F1-ada"), _allow("F1-ben")),),
            (
                _ask("F1", "ada", see="deal"),
                SetPermissions("F1-deal", ((_allow("F1-ben"),),)),
                _ask("F1", "ada", hide="deal"),
                _ask("F1", "ben", see="deal"),
            ),
        ),
        Case(
            "F2",
            "who leaves a group has left it with the next query",
            (_document("F2", "deal", _allow("F2-team")),),
            (
                _ask("F2", "ada", see="deal"),
                Leave("F2-ada", "F2-team"),
                _ask("F2", "ada", hide="deal"),
                _ask("F2", "ben", see="deal"),
            ),
            {"F2-team": ("F2-ada", "F2-ben")},
        ),
    ]


CASES: Final[tuple[Case, ...]] = (*_executed_defects(), *_filters(), *_lists())
"""Every case."""
