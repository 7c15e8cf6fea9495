"""Mail messages: who, when, what about, and the body that a mail program shows.

A mail program shows the HTML alternative when there is one (RFC 2046, 5.1.4: the last that it knows), so that is
what is extracted. A plain alternative that says something else is seen by nobody, and would be by the index.
"""

from __future__ import annotations

import email.policy
from dataclasses import replace
from email.message import EmailMessage
from email.parser import BytesParser

from secure_rag_ingestion.parsing.document import Heading, ParseReason, RefusedError
from secure_rag_ingestion.parsing.extracted import Concealed, Extracted
from secure_rag_ingestion.parsing.hidden.html import HtmlScan
from secure_rag_ingestion.parsing.plain import decode

_HEADERS = ("Subject", "From", "To", "Cc", "Date")
_KEPT = ("Message-ID", "msip_labels")
_MAX_HEADER = 1000


def read_mail(data: bytes) -> Extracted:
    """Read an RFC 5322 message; attachments are named in the metadata and not read.

    Raises:
        RefusedError: `corrupt` when it has no header that says what it is.
    """
    message = BytesParser(_class=EmailMessage, policy=email.policy.default).parsebytes(data)
    headers = {name: value for name in _HEADERS if (value := _header(message, name))}
    if not headers:
        raise RefusedError(ParseReason.CORRUPT, "a message without subject, sender or date")
    concealed = Concealed()
    prefix = "\n".join(f"{name}: {value}" for name, value in headers.items()) + "\n\n"
    text, headings = _body(message, len(prefix), concealed)
    metadata = {name.lower(): value for name, value in headers.items()}
    metadata |= {name.lower(): value for name in _KEPT if (value := _header(message, name))}
    attachments = sum(1 for _ in message.iter_attachments()) if message.is_multipart() else 0
    if attachments:
        metadata["attachments_not_read"] = str(attachments)
    return Extracted(
        text=(prefix + text).rstrip() + "\n",
        title=headers.get("Subject"),
        metadata=metadata,
        headings=headings,
        hidden=concealed.report(),
    )


def _body(message: EmailMessage, offset: int, concealed: Concealed) -> tuple[str, list[Heading]]:
    part = message.get_body(preferencelist=("html", "plain"))
    if not isinstance(part, EmailMessage):
        return "", []
    source = _content(part)
    if part.get_content_type() != "text/html":
        return source.replace("\r\n", "\n").strip("\n"), []
    page = HtmlScan(source, "html body", concealed)
    return page.text, [replace(heading, offset=heading.offset + offset) for heading in page.headings]


def _header(message: EmailMessage, name: str) -> str:
    value = message.get(name)
    return "" if value is None else " ".join(str(value).split())[:_MAX_HEADER]


def _content(part: EmailMessage) -> str:
    """Text of a part; a charset that is unknown or wrong is found out as for a text file."""
    raw = part.get_payload(decode=True)
    if not isinstance(raw, bytes):
        raise RefusedError(ParseReason.CORRUPT, "a text part that is not text")
    return decode(raw, part.get_content_charset()) if raw else ""
