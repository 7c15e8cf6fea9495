"""The three ways in which Windows writes paths with security descriptors: `icacls /save`, `Export-Csv`, JSON.

Windows PowerShell writes UTF-16 with a mark at the beginning, `icacls` UTF-16 without one, newer tools UTF-8.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from secure_rag.errors import ConfigError
from secure_rag_acl.formats.native import Limits

COLUMNS: Final = ("path", "sddl")
_DESCRIPTOR: Final = re.compile(r"[OGDS]:")
_TYPE_LINE: Final = "#TYPE "
_SHARE: Final = re.compile(r"\\\\[^\\/?.][^\\/?]*\\[^\\/]+")
# Names that NTFS cannot hold, and what an export in a narrower encoding puts in place of a letter.
_FORBIDDEN: Final = frozenset('<>:"|?*')


@dataclass(frozen=True, slots=True)
class Row:
    """A path with its descriptor, as the file has them, and where."""

    place: str
    path: str
    sddl: str


def decode_windows(data: bytes, name: str, limits: Limits) -> str:
    """The text of a file, its byte order mark removed.

    Raises:
        ConfigError: too large, or in no encoding that Windows tools write.
    """
    if len(data) > limits.max_bytes:
        raise ConfigError(f"{name}: larger than {limits.max_bytes} bytes")
    try:
        if data.startswith(codecs.BOM_UTF16_BE):
            raise ConfigError(f"{name}: UTF-16 in big-endian order, which no Windows tool writes")
        if data.startswith(codecs.BOM_UTF16_LE) or b"\0" in data:
            return data.decode("utf-16-le").removeprefix("\ufeff")
        return data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name}: byte {error.start}: neither UTF-8 nor UTF-16, or cut off") from error


def looks_like_csv(text: str) -> bool:
    """Whether it starts with the header of `Export-Csv`."""
    header = _without_type(text).partition("\n")[0].replace('"', "").strip().lower().split(",")
    return set(COLUMNS) <= set(header)


def looks_like_icacls(text: str) -> bool:
    """Whether its second line is a security descriptor."""
    return _DESCRIPTOR.match(text.partition("\n")[2]) is not None


def icacls_rows(text: str, name: str) -> Iterator[Row]:
    """Pairs of lines of `icacls NAME /save FILE /t`.

    Raises:
        ConfigError: a path has no descriptor, or the last line does not end: the file is cut off.
    """
    if not text.endswith("\n"):
        raise ConfigError(f"{name}: the last line does not end; the file is cut off")
    lines = [x.removesuffix("\r") for x in text.split("\n")[:-1]]
    if len(lines) % 2:
        raise ConfigError(f"{name}:{len(lines)}: a path without a security descriptor; the file is cut off")
    for at in range(0, len(lines), 2):
        if not lines[at]:
            raise ConfigError(f"{name}:{at + 1}: an empty line instead of a path")
        if _DESCRIPTOR.match(lines[at + 1]) is None:
            raise ConfigError(f"{name}:{at + 2}: expected the security descriptor of the line above")
        yield Row(f"{name}:{at + 2}", lines[at], lines[at + 1])


def csv_rows(text: str, name: str) -> Iterator[Row]:
    """Rows of `Export-Csv` with the columns `path` and `sddl`.

    Raises:
        ConfigError: an unknown column, a row of another length, or a quote that does not close.
    """
    skipped = line = 1 if text.startswith(_TYPE_LINE) else 0
    reader = csv.reader(io.StringIO(_without_type(text), newline=""), strict=True)
    try:
        header = [x.strip().lower() for x in next(reader)]
        if sorted(header) != sorted(COLUMNS):
            raise ConfigError(f"{name}:{line + 1}: the columns must be path and sddl, not {header!r}")
        line = skipped + reader.line_num
        for row in reader:
            place, line = f"{name}:{line + 1}", skipped + reader.line_num
            if len(row) != len(header):
                raise ConfigError(f"{place}: has {len(row)} fields instead of {len(header)}")
            fields = dict(zip(header, row, strict=True))
            yield Row(place, fields["path"], fields["sddl"])
    except csv.Error as error:
        raise ConfigError(f"{name}:{line + 1}: not valid CSV: {error}") from error


def is_share(path: str) -> bool:
    r"""Whether a row is about the share itself: its path is `\\server\share`."""
    return _SHARE.fullmatch(path) is not None


def relative_path(path: str) -> str:
    r"""A path of Windows below the root, in POSIX spelling.

    Raises:
        ConfigError: it is absolute or climbs.
    """
    parts = path.replace("\\", "/").removeprefix("./").split("/")
    if path.startswith(("\\", "/")) or re.match(r"[A-Za-z]:", path) or "::" in path:
        raise ConfigError(f"{path[:200]!r} is not relative to the root of the source")
    if any(x in {"", ".", ".."} for x in parts):
        raise ConfigError(f"{path[:200]!r} is not a plain path below the root of the source")
    return "/".join(parts)


def same_name(path: str) -> str:
    """What paths of one file have in common: NTFS compares letter by letter in upper case, so `ß` is not `SS`."""
    if path.isascii():
        return path.upper()
    return "".join(upper if len(upper := x.upper()) == 1 else x for x in path)


def impossible_name(path: str) -> str | None:
    """Why a path cannot be one of NTFS; None when it can."""
    if not path.isprintable():
        return "control characters in the path"
    if _FORBIDDEN & set(path):
        return "a character that NTFS does not allow; was the export written in a narrower encoding?"
    return None


def _without_type(text: str) -> str:
    """Without the first line that `Export-Csv` of Windows PowerShell adds."""
    return text.partition("\n")[2] if text.startswith(_TYPE_LINE) else text
