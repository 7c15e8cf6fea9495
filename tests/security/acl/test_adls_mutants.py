"""Faults planted into the reader of ADLS exports: the table of cases decided by hand must notice each."""

from __future__ import annotations

import pytest

from secure_rag_acl.formats import _adls_roles, adls
from tests.controls import control
from tests.support.exported import adls_row, mutant, unnoticed

MUTANTS: dict[str, tuple[str, str]] = {
    "the mask is ignored": (" and right in mask", ""),
    "the mask limits the owner": ('_ALL if (kind, name) == ("user", "") else ', ""),
    "the mask spares other": (
        '(kind, name) == ("user", "")',
        'kind == "other" or (kind, name) == ("user", "")',
    ),
    "the mask spares the owning group": (
        '(kind, name) == ("user", "")',
        '(kind, name) in (("user", ""), ("group", ""))',
    ),
    "read is enough for folders": ('_guard(_acl(node), "x",', '_guard(_acl(node), "r",'),
    "execute reads": ('_guard(_acl(node), "r",', '_guard(_acl(node), "x",'),
    "folders do not guard": ("for x in _above(whole)]", "for x in ()]"),
    "the container's root does not guard": ("for x in _above(whole)]", "for x in _above(whole)[1:]]"),
    "only the root guards": ("for x in _above(whole)]", "for x in _above(whole)[:1]]"),
    "default entries grant": ('("default:", written[8:])', '("", written[8:])'),
    "who is refused by name falls through": ("elif native not in always:", "elif False:"),
    "a refused owner falls through": ('yield "user", "", f"adls-user:{acl.owner}"', "pass"),
    "the owner's named entry counts": (" and name and name != acl.owner", " and name"),
    "refused groups come to other": ("        deny += refused\n", ""),
    "one refused group is enough": ("native not in opened and ", ""),
    "a refused group beats other groups": ("    if other:\n", "    deny += refused\n    if other:\n"),
    "narrowing is not reported": ("        narrowed += [_why(x, ", "        _ = [_why(x, "),
    "roles are not counted": ("allow, deny = list(roles.allow)", "allow, deny = list[NativeEntry]()"),
    "entries without a mask are accepted": ("any(name for _, name in access_only)", "False"),
    "names are accepted for ids": ("if name and not _envelope.GUID", "if False and not _envelope.GUID"),
    "the super-user is a principal": ("if acl.group != _SUPER_USER", "if True"),
}
ROLE_MUTANTS: dict[str, tuple[str, str]] = {
    "conditions are ignored": ('node.has("condition")', "False"),
    "deny assignments are ignored": ("elif denied:", "elif False:"),
    "any role reads": ("if role not in _READING:", "if False:"),
    "management roles read": (
        "    if role in _WITHOUT_DATA:\n        return\n",
        "    role = min(_READING) if role in _WITHOUT_DATA else role\n",
    ),
    "scopes are text": ('container.startswith(scope + "/")', "container.startswith(scope[:-4])"),
    "a group's role is a user's": ('"Group": "adls-group"', '"Group": "adls-user"'),
}


@control("acl:adls-subset")
@pytest.mark.parametrize("name", sorted(MUTANTS))
def test_every_planted_fault_is_noticed(name: str) -> None:
    assert not unnoticed(adls, [MUTANTS[name]], adls_row, "adls.yaml")


@control("acl:adls-subset")
@pytest.mark.parametrize("name", sorted(ROLE_MUTANTS))
def test_every_fault_in_reading_roles_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_adls_roles, "read_roles", mutant(_adls_roles, [ROLE_MUTANTS[name]]).read_roles)
    assert not unnoticed(adls, [], adls_row, "adls.yaml")


def test_the_reader_itself_agrees_with_the_table() -> None:
    assert unnoticed(adls, [], adls_row, "adls.yaml")
