"""Regular expressions for native names: anchored at both ends, in linear time, and never a widening by accident.

RE2 matches in time linear in the name, whatever the pattern; back-references and look-around do not exist in it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import re2

from secure_rag.errors import PolicyError
from secure_rag.model import ids
from secure_rag.model.ids import EVERYONE, PrincipalId

MAX_PATTERN: Final = 256
MAX_GROUPS: Final = 9
_MEMORY: Final = 1 << 20
_PLACEHOLDER: Final = re.compile(r"\{([1-9])\}")
_KINDS: Final = ("user:", "group:", "agent:", "app:", "service:")
_SPECIAL: Final = frozenset(".^$*+?{}[]|()\\")


@dataclass(frozen=True)
class NamePattern:
    """A pattern of native names and the principal that a match comes to, `user:{1}`.

    Raises:
        ValueError: the pattern is none, or the principal has a placeholder without a group or no fixed kind.
    """

    pattern: str
    principal: str

    def __post_init__(self) -> None:
        if not 0 < len(self.pattern) <= MAX_PATTERN or not self.pattern.isprintable():
            raise ValueError(f"a pattern has 1 to {MAX_PATTERN} printable characters")
        try:
            groups = self._compiled.groups
        except re2.error as error:
            raise ValueError(f"not a pattern: {_said(error)}") from None
        if groups > MAX_GROUPS:
            raise ValueError(f"more than {MAX_GROUPS} groups")
        rest = _PLACEHOLDER.sub("", self.principal)
        if "{" in rest or "}" in rest:
            raise ValueError("a placeholder is {1} to {9}")
        if any(number > groups for number in self._used):
            raise ValueError("the principal names a group that the pattern does not have")
        if self.principal != EVERYONE and not self.principal.startswith(_KINDS):
            raise ValueError(
                "the principal begins with user:, group:, agent:, app: or service:, or is everyone"
            )
        if not self._used:
            try:
                ids.principal_id(self.principal)
            except PolicyError as error:
                raise ValueError(str(error)) from None

    @cached_property
    def _compiled(self) -> re2._Regexp:
        options = re2.Options()
        options.log_errors = False
        options.max_mem = _MEMORY
        return re2.compile(self.pattern, options)

    @property
    def _used(self) -> tuple[int, ...]:
        return tuple(int(x) for x in _PLACEHOLDER.findall(self.principal))

    def resolve(self, name: str) -> PrincipalId | None:
        """Whom a name means: None when it does not match as a whole, or what comes out is no principal."""
        match = self._compiled.fullmatch(name)
        if match is None:
            return None
        groups = [match.group(number) for number in self._used]
        if any(x is None for x in groups):
            return None
        found = iter(groups)
        try:
            return ids.principal_id(_PLACEHOLDER.sub(lambda _: str(next(found)), self.principal))
        except PolicyError:
            return None

    @cached_property
    def joins(self) -> bool:
        """Whether two names may come to one principal. Conservative: only plain shapes certainly do not.

        Fixed text around groups, and the groups in the principal once each, in order, with the same text between
        them: then the name can be read back from the principal.
        """
        parts = _parts(self.pattern)
        if parts is None:
            return True
        texts, groups = parts
        if self._used != tuple(range(1, groups + 1)):
            return True
        between = _PLACEHOLDER.split(self.principal)[::2]
        return groups > 0 and texts[1:-1] != between[1:-1]

    @cached_property
    def _shape(self) -> tuple[str, str, bool]:
        pieces = _PLACEHOLDER.split(self.principal)[::2]
        return pieces[0], pieces[-1], len(pieces) == 1

    def may_name(self, principal: str) -> bool:
        """Whether some name may come to this principal."""
        first, last, fixed = self._shape
        if fixed:
            return principal == first
        return (
            len(principal) > len(first) + len(last)
            and principal.startswith(first)
            and principal.endswith(last)
        )

    def may_meet(self, other: NamePattern) -> bool:
        """Whether a name under each pattern may come to the same principal."""
        first, last, fixed = self._shape
        if fixed:
            return other.may_name(first)
        its_first, its_last, its_fixed = other._shape
        if its_fixed:
            return self.may_name(its_first)
        begins = first.startswith(its_first) or its_first.startswith(first)
        return begins and (last.endswith(its_last) or its_last.endswith(last))


def _said(error: Exception) -> str:
    text = error.args[0] if error.args else ""
    return text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)


def _parts(pattern: str) -> tuple[list[str], int] | None:
    """Fixed text around the groups of a plain pattern, and how many groups there are; None for any other."""
    texts, groups, at = [""], 0, 0
    while at < len(pattern):
        character = pattern[at]
        if character == "(":
            end = _end_of_group(pattern, at)
            if end is None or pattern[end + 1 : end + 2] in ("*", "+", "?", "{"):
                return None
            groups += 1
            texts.append("")
            at = end + 1
        elif character == "\\" and at + 1 < len(pattern) and not pattern[at + 1].isalnum():
            texts[-1] += pattern[at + 1]
            at += 2
        elif character in _SPECIAL:
            return None
        else:
            texts[-1] += character
            at += 1
        if pattern[at : at + 1] in ("*", "+", "?", "{"):
            return None
    return texts, groups


def _end_of_group(pattern: str, start: int) -> int | None:
    """Where a group without groups in it ends; None when it is not that plain."""
    in_class, at = False, start + 1
    if pattern[at : at + 1] == "?":
        return None
    while at < len(pattern):
        character = pattern[at]
        if character == "\\":
            # \Q begins quoted text, in which the characters below mean themselves.
            if pattern[at + 1 : at + 2] == "Q":
                return None
            at += 1
        elif character == "[" and not in_class:
            in_class = True
            # A bracket that stands first in a class is itself.
            at += 1 + (pattern[at + 1 : at + 2] == "^")
            if pattern[at : at + 1] != "]":
                at -= 1
        elif character == "]":
            in_class = False
        elif character == "(" and not in_class:
            return None
        elif character == ")" and not in_class:
            return at
        at += 1
    return None
