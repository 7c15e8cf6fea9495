"""HTML and mail through the sandbox; the forms of concealment themselves are in the unit tests."""

from __future__ import annotations

import hashlib

from secure_rag_ingestion.parsing.model import HiddenKind
from secure_rag_ingestion.parsing.sandbox import SandboxedParser
from tests.controls import control
from tests.integration.parsing import samples
from tests.integration.parsing.concealment import SECRET, only


@control("parsing:hidden-text")
def test_html_and_html_mail_conceal(parser: SandboxedParser) -> None:
    page = f"<style>.x{{display:none}}</style><p>visible</p><p class=x>{SECRET}</p>"
    only(parser.parse("a.html", page.encode()), HiddenKind.CSS_HIDDEN, "body")
    only(parser.parse("a.eml", samples.mail(page, subtype="html")), HiddenKind.CSS_HIDDEN, "html body")


def test_an_excerpt_is_short_and_the_digest_is_of_everything(parser: SandboxedParser) -> None:
    long = "word " * 500
    found = parser.parse("a.html", f"<p>visible</p><p hidden>{long}</p><p hidden>more</p>".encode())
    (entry,) = found.hidden
    assert len(entry.excerpt) == 200
    assert entry.sha256 == hashlib.sha256(f"{long}\nmore".encode()).hexdigest()
