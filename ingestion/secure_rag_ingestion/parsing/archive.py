"""Office files are zip archives. Everything about one is checked before a parser opens it.

The sizes in an archive are claims of its author, so each entry is really decompressed once, with a limit, and must
come out as declared. Entries that overlap, repeat a name, or look different from the front and from the back of
the file are refused: two readers would see two documents.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from dataclasses import dataclass
from xml.etree.ElementTree import Element

import defusedxml
from defusedxml.ElementTree import ParseError, fromstring

from secure_rag_ingestion.parsing.document import ParseReason, RefusedError

MIB = 1 << 20
_LOCAL_HEADER = struct.Struct("<4sHHHHHIIIHH")
_FLAG_ENCRYPTED = 0x1
_PIECE = 256 * 1024


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """What an office file may unpack to.

    Attributes:
        entries: number of files in the archive.
        total_bytes: all entries together.
        part_bytes: one XML part that is read here.
        ratio: unpacked to packed, for entries above `ratio_from` bytes.
        ratio_from: smaller entries may have any ratio; an empty sheet packs very well.
    """

    entries: int = 10_000
    total_bytes: int = 256 * MIB
    part_bytes: int = 64 * MIB
    ratio: int = 200
    ratio_from: int = 4 * MIB


class OfficeArchive:
    """A checked archive and its XML parts.

    Raises:
        RefusedError: `archive_limit`, `encrypted` or `corrupt`.
    """

    def __init__(self, data: bytes, limits: ArchiveLimits | None = None) -> None:
        self._limits = limits or ArchiveLimits()
        self._data = data
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(data))
        except (zipfile.BadZipFile, ValueError, NotImplementedError, struct.error) as error:
            raise RefusedError(ParseReason.CORRUPT, "not a readable zip archive") from error
        self._entries = self._check()

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def names(self, prefix: str) -> list[str]:
        """Names of the parts that start with `prefix`, in a stable order."""
        return sorted(name for name in self._entries if name.startswith(prefix))

    def xml(self, name: str) -> Element | None:
        """Parse one part; None when the archive has no such part."""
        info = self._entries.get(name)
        if info is None:
            return None
        if info.file_size > self._limits.part_bytes:
            raise RefusedError(ParseReason.ARCHIVE_LIMIT, "a part of the file is too large")
        try:
            return fromstring(self._zip.read(info), forbid_dtd=True)
        except (
            ParseError,
            defusedxml.DefusedXmlException,
            zipfile.BadZipFile,
            zlib.error,
            ValueError,
        ) as error:
            raise RefusedError(ParseReason.CORRUPT, "a part of the file is not plain XML") from error

    def _check(self) -> dict[str, zipfile.ZipInfo]:
        infos = self._zip.infolist()
        limits = self._limits
        if len(infos) > limits.entries:
            raise RefusedError(ParseReason.ARCHIVE_LIMIT, "too many entries")
        if sum(info.file_size for info in infos) > limits.total_bytes:
            raise RefusedError(ParseReason.ARCHIVE_LIMIT, "unpacks to too much")
        entries = {info.filename: info for info in infos}
        if len({name.lower() for name in entries}) != len(infos):
            raise RefusedError(ParseReason.CORRUPT, "an entry name appears twice")
        if any(info.flag_bits & _FLAG_ENCRYPTED for info in infos):
            raise RefusedError(ParseReason.ENCRYPTED, "entries have a password")
        if min((info.header_offset for info in infos), default=1) != 0:
            raise RefusedError(
                ParseReason.CORRUPT, "something stands before the archive, or nothing is in it"
            )
        end = 0
        for info in sorted(infos, key=lambda entry: entry.header_offset):
            if info.header_offset < end:
                raise RefusedError(ParseReason.ARCHIVE_LIMIT, "entries overlap")
            end = self._check_entry(info)
        return entries

    def _check_entry(self, info: zipfile.ZipInfo) -> int:
        """Unpack one entry with its declared size as the limit; returns where its bytes end."""
        header = self._data[info.header_offset : info.header_offset + _LOCAL_HEADER.size]
        if len(header) < _LOCAL_HEADER.size:
            raise RefusedError(ParseReason.CORRUPT, "an entry lies outside the file")
        magic, _, flags, method, *_, name_size, extra_size = _LOCAL_HEADER.unpack(header)
        start = info.header_offset + _LOCAL_HEADER.size
        name = self._data[start : start + name_size]
        # The directory decodes names by flag 11; compare as the directory would.
        known = name.decode("utf-8" if flags & 0x800 else "cp437", "replace")
        if magic != b"PK\x03\x04" or known != info.orig_filename or method != info.compress_type:
            raise RefusedError(ParseReason.CORRUPT, "an entry differs from the archive's directory")
        start += name_size + extra_size
        packed = memoryview(self._data)[start : start + info.compress_size]
        if len(packed) != info.compress_size:
            raise RefusedError(ParseReason.CORRUPT, "an entry is cut off")
        limits = self._limits
        if info.file_size > limits.ratio_from and info.file_size > limits.ratio * max(info.compress_size, 1):
            raise RefusedError(ParseReason.ARCHIVE_LIMIT, "unpacks to far more than its size")
        _unpack(packed, method, info.file_size)
        end: int = start + info.compress_size
        return end


def _unpack(packed: memoryview, method: int, declared: int) -> None:
    if method == zipfile.ZIP_STORED:
        if len(packed) != declared:
            raise RefusedError(ParseReason.CORRUPT, "an entry is not as long as declared")
        return
    if method != zipfile.ZIP_DEFLATED:
        raise RefusedError(ParseReason.CORRUPT, "a compression method that office files do not use")
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    total = 0
    try:
        for start in range(0, len(packed), _PIECE):
            rest: bytes | memoryview = packed[start : start + _PIECE]
            while rest and total <= declared and not inflater.eof:
                total += len(inflater.decompress(rest, 4 * _PIECE))
                rest = inflater.unconsumed_tail
    except zlib.error as error:
        raise RefusedError(ParseReason.CORRUPT, "an entry cannot be unpacked") from error
    if total > declared:
        raise RefusedError(ParseReason.ARCHIVE_LIMIT, "an entry is larger than declared")
    if total != declared or not inflater.eof or inflater.unused_data:
        raise RefusedError(ParseReason.CORRUPT, "an entry is not as long as declared")
