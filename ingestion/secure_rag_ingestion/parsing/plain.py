"""Text files: their encoding, and what Markdown adds to plain text."""

from __future__ import annotations

import codecs
import contextlib
import re

import charset_normalizer

from secure_rag_ingestion.parsing.document import Heading, ParseReason, RefusedError
from secure_rag_ingestion.parsing.extracted import Concealed, Extracted
from secure_rag_ingestion.parsing.hidden.html import scan_fragment

# UTF-32 first: its little-endian mark starts with that of UTF-16.
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_DECLARABLE = re.compile(
    r"(?:utf-8|ascii|iso8859-\d+|cp(?:125\d|866|874|932|949)|gbk|gb2312|gb18030|big5|shift_jis|euc_jp|euc_kr"
    r"|iso2022_jp|koi8-[ru]|mac-roman)\Z"
)
# https://encoding.spec.whatwg.org/#names-and-labels
_LIKE_BROWSERS = {
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
    "gb2312": "gbk",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
}
_GUESS_BYTES = 256 * 1024
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_ATX = re.compile(r"^ {0,3}(#{1,6})[ \t]+(.*?)(?:[ \t]+#+)?[ \t]*$")
_SETEXT = re.compile(r"^ {0,3}(=+|-+)[ \t]*$")
_NOT_A_TITLE = re.compile(r"^ {0,3}(?:[-*+>|]|\d{1,9}[.)])")
_TOKEN = re.compile(
    r"^ {0,3}(?P<fence>`{3,}|~{3,})[^\n]*$"
    r"|(?P<comment><!--)"
    r"|^ {0,3}(?P<link>\[[^\]\n]*\]:[ \t]*(?:#|<>)[ \t]*[(\"'][^\n]*)$"
    r"|(?P<ticks>`+)",
    re.MULTILINE,
)
_FRONT_MATTER = re.compile(r"---[ \t]*\n.*?\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_FRONT_TITLE = re.compile(r"^title:[ \t]*[\"']?(.+?)[\"']?[ \t]*$", re.MULTILINE)


def decode(data: bytes, declared: str | None = None) -> str:
    """Decode text: byte order mark, the declared encoding, UTF-8, else a confident guess.

    Args:
        data: the bytes.
        declared: encoding that the document names; an unknown, unusual or wrong one is passed over.

    Raises:
        RefusedError: `corrupt` when no encoding fits or the result holds control characters.
    """
    for bom, encoding in _BOMS:
        if data.startswith(bom):
            return _checked(_strict(data[len(bom) :], encoding, "not in the encoding of its byte order mark"))
    for candidate in (_known(declared), "utf-8"):
        if candidate is not None:
            with contextlib.suppress(UnicodeDecodeError):
                return _checked(data.decode(candidate))
    best = charset_normalizer.from_bytes(data[:_GUESS_BYTES]).best()
    if best is None:
        raise RefusedError(ParseReason.CORRUPT, "the character encoding is unknown")
    return _checked(_strict(data, best.encoding, "the character encoding is unknown"))


def read_text(data: bytes) -> Extracted:
    """Read plain text or CSV: what is written is what is extracted."""
    return Extracted(text=_lines(decode(data)))


def read_markdown(data: bytes) -> Extracted:
    """Read Markdown without the comments that its rendering drops, and look for concealing HTML in it."""
    source = _lines(decode(data))
    front = _FRONT_MATTER.match(source)
    pieces, comments = _pieces(source, front.end() if front else 0)
    text = "".join(piece for _, piece in pieces)
    headings = _headings(pieces)
    concealed = Concealed()
    scan_fragment("".join(" " if code else piece for code, piece in pieces), "body", concealed)
    title = _FRONT_TITLE.search(front.group()) if front else None
    return Extracted(
        text=text,
        title=title.group(1) if title else next((h.text for h in headings if h.level == 1), None),
        metadata={"comments_removed": str(comments)} if comments else {},
        headings=headings,
        hidden=concealed.report(),
    )


def _known(declared: str | None) -> str | None:
    """Encoding of a label, if it is one that documents really use.

    Python knows more than browsers and mail programs do: `utf-7` or `unicode_escape` would turn harmless bytes
    into text that nobody else sees.
    """
    try:
        name = codecs.lookup(declared or "").name
    except LookupError:
        return None
    return _LIKE_BROWSERS.get(name, name) if _DECLARABLE.match(name) else None


def _strict(data: bytes, encoding: str, complaint: str) -> str:
    try:
        return data.decode(encoding)
    except (UnicodeDecodeError, LookupError) as error:
        raise RefusedError(ParseReason.CORRUPT, complaint) from error


def _checked(text: str) -> str:
    if _CONTROL.search(text):
        raise RefusedError(ParseReason.CORRUPT, "control characters in a text file")
    return text


def _lines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _pieces(text: str, start: int) -> tuple[list[tuple[bool, str]], int]:
    """Split Markdown into (is code, source) pieces and leave its comments out.

    One pass from left to right, because what opens first wins: a fence inside a comment is not shown, and a
    comment inside a fence is.
    """
    pieces = [(True, text[:start])]
    comments = 0
    position = start
    while found := _TOKEN.search(text, position):
        pieces.append((False, text[position : found.start()]))
        if found["fence"]:
            position = _fence_end(text, found)
            pieces.append((True, text[found.start() : position]))
        elif found["ticks"]:
            position = _inline_end(text, found)
            pieces.append((position > found.end(), text[found.start() : position]))
        else:
            comments += 1
            position = _comment_end(text, found)
    pieces.append((False, text[position:]))
    return pieces, comments


def _comment_end(text: str, opened: re.Match[str]) -> int:
    if opened["link"]:
        return opened.end()
    end = text.find("-->", opened.start() + 2)  # `<!-->` is a whole comment
    return len(text) if end < 0 else end + 3


def _fence_end(text: str, opened: re.Match[str]) -> int:
    mark = opened["fence"]
    closing = re.compile(rf"^ {{0,3}}{re.escape(mark[0])}{{{len(mark)},}}[ \t]*$", re.MULTILINE)
    closed = closing.search(text, opened.end())
    return closed.end() if closed else len(text)


def _inline_end(text: str, opened: re.Match[str]) -> int:
    """End of a code span, which never crosses a blank line; the ticks alone when it does not close."""
    blank = text.find("\n\n", opened.end())
    limit = len(text) if blank < 0 else blank
    ticks = opened["ticks"]
    closed = re.compile(rf"(?<!`){ticks}(?!`)").search(text, opened.end(), limit)
    return closed.end() if closed else opened.end()


def _headings(pieces: list[tuple[bool, str]]) -> list[Heading]:
    text = "".join(piece for _, piece in pieces)
    fenced: list[tuple[int, int]] = []
    offset = 0
    for code, piece in pieces:
        if code and "\n" in piece:
            fenced.append((offset, offset + len(piece)))
        offset += len(piece)
    found: list[Heading] = []
    previous, previous_start, offset = "", 0, 0
    for line in text.split("\n"):
        while fenced and fenced[0][1] <= offset:
            fenced.pop(0)
        if fenced and fenced[0][0] <= offset:
            previous = ""
        else:
            heading = _heading(line, offset, previous, previous_start)
            if heading:
                found.append(heading)
            previous, previous_start = line, offset
        offset += len(line) + 1
    return found


def _heading(line: str, offset: int, previous: str, previous_start: int) -> Heading | None:
    atx = _ATX.match(line)
    if atx and atx.group(2):
        return Heading(len(atx.group(1)), atx.group(2), offset + atx.start(2))
    under = _SETEXT.match(line)
    if under and previous.strip() and not _ATX.match(previous) and not _NOT_A_TITLE.match(previous):
        indent = len(previous) - len(previous.lstrip())
        return Heading(1 if under.group(1).startswith("=") else 2, previous.strip(), previous_start + indent)
    return None
