"""From the people and groups of an identity system to a directory, by rules that somebody wrote down.

`identity.yaml` says how ids are made, who is a member and which clearance somebody starts with. Invariants
- Two entries that would get one id, and names that cannot be ids, are refused by name. Nobody is merged or left out.
- Who is not known to be a member is a guest.
- A group with a member that the export does not have is incomplete, so that a deny of it closes for everybody.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from secure_rag.errors import ConfigError, PolicyError
from secure_rag.model import ids
from secure_rag_acl.aliases import MAIL
from secure_rag_acl.data_files import DataFile, read_bytes
from secure_rag_acl.directory_files import Defaults, DirectoryFile, as_directory
from secure_rag_acl.directory_tables import Path_, PlacedFile
from secure_rag_acl.fields import MAX_NAME, Native, ShortName, StrictModel
from secure_rag_acl.yaml_files import parse_yaml

_NAMED_AT_MOST: Final = 20
_INVITED: Final = "#ext#"
"""In the user name of somebody whom Entra only hosts as a guest."""


class IdRule(StrictModel):
    """How an id is made: an attribute, its part before the last @, texts replaced, in lower case."""

    attribute: Native
    part: Literal["whole", "local"] = "whole"
    replace: Annotated[dict[Annotated[str, Field(min_length=1)], str], Field(default_factory=dict)]
    ids: Annotated[dict[Native, Native], Field(default_factory=dict)]
    """Values whose id is given by hand, without prefix."""

    def make(self, prefix: str, attributes: Mapping[str, tuple[str, ...]]) -> str:
        """A principal.

        Raises:
            PolicyError: the attribute is not there once, or its value cannot be an id.
        """
        values = attributes.get(self.attribute.lower(), ())
        if len(values) != 1:
            raise PolicyError(f"has {len(values) or 'no'} values of {self.attribute!r}")
        value = unicodedata.normalize("NFC", values[0])
        given = {name.lower(): made for name, made in self.ids.items()}
        if value.lower() in given:
            return ids.principal_id(f"{prefix}:{given[value.lower()]}")
        text = value.lower()
        if self.part == "local":
            text = text.rpartition("@")[0] or text
        for old, new in self.replace.items():
            text = text.replace(old.lower(), new)
        return ids.principal_id(f"{prefix}:{text}")


class ValueRule(StrictModel):
    """Who has one of these values in an attribute; spelling counts, case does not."""

    attribute: Native
    values: Annotated[list[Native], Field(min_length=1)]

    def matches(self, attributes: Mapping[str, tuple[str, ...]]) -> bool:
        """Whether somebody has."""
        wanted = {x.lower() for x in self.values}
        return any(x.lower() in wanted for x in attributes.get(self.attribute.lower(), ()))


class MemberRule(StrictModel):
    """Who is a member rather than a guest: everything that is given must hold."""

    all: Literal[True] | None = None
    """Everybody whose user name does not say that Entra only hosts them."""
    attribute: Native | None = None
    values: Annotated[list[Native], Field(min_length=1)] | None = None
    domains: Annotated[list[Native], Field(min_length=1)] | None = None
    """Every address must be in one of them, and there must be one."""

    @model_validator(mode="after")
    def _says_something(self) -> MemberRule:
        if (self.attribute is None) != (self.values is None):
            raise ValueError("`attribute` and `values` belong together")
        if (self.attribute is not None or self.domains is not None) == (self.all is not None):
            raise ValueError("give domains, or attribute and values, or `all: true` alone")
        return self

    def matches(self, attributes: Mapping[str, tuple[str, ...]], addresses: Sequence[str]) -> bool:
        """Whether somebody is one."""
        if self.attribute is not None and self.values is not None:
            rule = ValueRule(attribute=self.attribute, values=self.values)
            if not rule.matches(attributes):
                return False
        if self.domains is None:
            return True
        inside = {x.lower() for x in self.domains}
        return bool(addresses) and all(x.rpartition("@")[2].lower() in inside for x in addresses)


class ClearanceRule(StrictModel):
    """Label of a clearance by the value of an attribute; any other value gets the default of the kind."""

    attribute: Native
    values: dict[Native, Native]


class UserRules(StrictModel):
    """What becomes of users."""

    id: IdRule
    members: MemberRule
    services: ValueRule | None = None
    clearance: ClearanceRule | None = None


class GroupRules(StrictModel):
    """What becomes of groups."""

    id: IdRule
    absent_members: Literal["incomplete", "empty"] = "incomplete"
    """What a group without any list of members is: SCIM servers may leave the list out, of empty groups or of all."""


class IdentityRules(StrictModel):
    """`identity.yaml`."""

    tenant: ShortName
    complete: bool
    """Whether the export has everybody. What an export shows to be missing makes it incomplete all the same."""
    defaults: Annotated[Defaults, Field(default_factory=lambda: Defaults(clearance={}))]
    users: UserRules
    groups: GroupRules


@dataclass(frozen=True, slots=True)
class Account:
    """A user or group of an export.

    Attributes:
        key: what members are named by in this export.
        place: file and line, or pointer.
        attributes: values by attribute, in lower case.
        display: for people.
        aliases: in their one form.
        addresses: names with an @ that it is known by; for the domains of members.
        active: whether a user may sign in.
        members: keys of the members of a group.
        complete: whether these are all members.
    """

    key: str
    place: str
    attributes: Mapping[str, tuple[str, ...]]
    display: str | None = None
    aliases: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    active: bool = True
    members: tuple[str, ...] = ()
    complete: bool = True


@dataclass(slots=True)
class Export:
    """What a reader found.

    Attributes:
        name: of the file.
        users: None when the export has none at all, so that nobody is taken for gone.
        groups: the same.
        nobody: keys that may be members but never are users or groups, such as computers.
        gaps: why it cannot be the whole directory.
        notes: what somebody should look at.
    """

    name: str
    users: list[Account] = field(default_factory=list[Account])
    groups: list[Account] = field(default_factory=list[Account])
    nobody: set[str] = field(default_factory=set[str])
    gaps: list[str] = field(default_factory=list[str])
    notes: list[str] = field(default_factory=list[str])


@dataclass(frozen=True, slots=True)
class ImportedIdentities:
    """A directory, and what somebody should know about how it came about."""

    document: DirectoryFile
    notes: tuple[str, ...]


def load_rules(path: Path) -> tuple[IdentityRules, DataFile]:
    """Read `identity.yaml`.

    Raises:
        ConfigError: it cannot be read or is malformed; names line and what is wrong.
    """
    file = parse_yaml(read_bytes(path), str(path))
    return file.validate(IdentityRules), file


def build_directory(export: Export, rules: IdentityRules, rules_file: DataFile) -> ImportedIdentities:
    """A directory from an export.

    Raises:
        ConfigError: ids collide or cannot be made, or what came out is no directory; names the entries.
    """
    principals = _principals(export, rules)
    notes = [f"incomplete: {x}" for x in export.gaps] + export.notes
    places: dict[Path_, str] = {}
    data: dict[str, object] = {
        "tenant": rules.tenant,
        "complete": rules.complete and not export.gaps,
        "defaults": rules.defaults.model_dump(),
    }
    if export.users:
        data["users"] = [_user(x, principals[x.key], rules) for x in export.users]
        places |= {("users", n): x.place for n, x in enumerate(export.users)}
    if export.groups:
        data["groups"] = [_team(x, principals, export, notes) for x in export.groups]
        places |= {("groups", n): x.place for n, x in enumerate(export.groups)}
    if not places:
        raise ConfigError(f"{export.name}: neither users nor groups")
    return ImportedIdentities(as_directory(PlacedFile(rules_file, data, places)), tuple(notes))


def _principals(export: Export, rules: IdentityRules) -> dict[str, str]:
    """Principal by key."""
    made: dict[str, str] = {}
    owners: dict[str, Account] = {}
    problems: list[str] = []
    for account, rule, prefix in _with_rules(export, rules):
        if account.key in made:
            problems.append(f"{account.place}: occurs twice")
            continue
        made[account.key] = ""
        try:
            made[account.key] = rule.make(prefix, account.attributes)
        except PolicyError as error:
            problems.append(f"{account.place}: {error}")
            continue
        other = owners.setdefault(made[account.key], account)
        if other is not account:
            problems.append(f"{account.place}: would be {made[account.key]}, which {other.place} is already")
    if problems:
        more = len(problems) - _NAMED_AT_MOST
        shown = [*problems[:_NAMED_AT_MOST], *([f"and {more} more"] if more > 0 else [])]
        raise ConfigError("; ".join(shown))
    return made


def _with_rules(export: Export, rules: IdentityRules) -> Iterator[tuple[Account, IdRule, str]]:
    for user in export.users:
        yield user, rules.users.id, "service" if _is_service(user, rules) else "user"
    for group in export.groups:
        yield group, rules.groups.id, "group"


def _is_service(user: Account, rules: IdentityRules) -> bool:
    return rules.users.services is not None and rules.users.services.matches(user.attributes)


def _kind(user: Account, rules: IdentityRules) -> str:
    if _is_service(user, rules):
        return "service"
    if any(_INVITED in value.lower() for value in user.addresses):
        return "guest"
    return "member" if rules.users.members.matches(user.attributes, user.addresses) else "guest"


def _user(user: Account, principal: str, rules: IdentityRules) -> dict[str, object]:
    entry: dict[str, object] = {
        "id": principal,
        "kind": _kind(user, rules),
        "state": "active" if user.active else "disabled",
        **_names(user),
    }
    label = _clearance(user, rules.users.clearance)
    return entry if label is None else {**entry, "clearance": label}


def _clearance(user: Account, rule: ClearanceRule | None) -> str | None:
    if rule is None:
        return None
    by_value = {value.lower(): label for value, label in rule.values.items()}
    found = {by_value.get(x.lower()) for x in user.attributes.get(rule.attribute.lower(), ())} - {None}
    if len(found) > 1:
        raise ConfigError(
            f"{user.place}: {rule.attribute!r} stands for several labels: {sorted(map(str, found))}"
        )
    return next(iter(found), None)


def _names(account: Account) -> dict[str, object]:
    mails = [x for x in account.aliases if x.startswith(f"{MAIL}:")]
    names: dict[str, object] = {"aliases": [x for x in account.aliases if x not in mails[:1]]}
    if mails:
        names["mail"] = mails[0].removeprefix(f"{MAIL}:")
    display = None if account.display is None else unicodedata.normalize("NFC", account.display)
    if display is not None and len(display) <= MAX_NAME and ids.is_clean(display):
        names["name"] = display
    return names


def _team(
    group: Account, principals: Mapping[str, str], export: Export, notes: list[str]
) -> dict[str, object]:
    members = dict.fromkeys(principals[x] for x in group.members if x in principals)
    unknown = [x for x in group.members if x not in principals and x not in export.nobody]
    if unknown:
        notes.append(
            f"{principals[group.key]} is incomplete: {len(unknown)} of its members are not in the export, "
            f"such as {unknown[0]!r}"
        )
    entry: dict[str, object] = {"id": principals[group.key], "members": list(members), **_names(group)}
    return entry if group.complete and not unknown else {**entry, "complete": False}
