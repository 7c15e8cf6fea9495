from __future__ import annotations

import pytest

from secure_rag_ingestion.parsing.document import HiddenKind
from secure_rag_ingestion.parsing.extracted import Concealed
from secure_rag_ingestion.parsing.hidden.html import HtmlScan

CSS = HiddenKind.CSS_HIDDEN


def scan(source: str) -> tuple[HtmlScan, list[tuple[HiddenKind, str]]]:
    concealed = Concealed()
    page = HtmlScan(source, "body", concealed)
    return page, [(entry.kind, entry.excerpt) for entry in concealed.report()]


def test_text_is_laid_out_as_read() -> None:
    page, hidden = scan(
        "<title>Page</title><h1>Top  one</h1><p>Use the <b>pipe</b>line<br>now.</p><ul><li>a<li>b</ul>"
        "<table><tr><td>1</td><td>2</td></tr></table><pre>x\n  y</pre><blockquote>quoted</blockquote>"
        "<dl><dt>term<dd>meaning</dl><details><summary>more</summary>inside</details><script>no()</script>"
    )
    assert page.text == (
        "Top one\n\nUse the pipeline\nnow.\n\na\nb\n\n1\t2\n\nx\n  y\n\nquoted\n\nterm\nmeaning\n\nmore\ninside"
    )
    assert page.title == "Page"
    assert hidden == []


def test_headings_have_offsets_into_the_text() -> None:
    page, _ = scan("<p>before</p><h2>One <i>two</i></h2><p>x</p><h3></h3><h6>Last</h6>")
    assert [(heading.level, heading.text) for heading in page.headings] == [(2, "One two"), (6, "Last")]
    for heading in page.headings:
        assert page.text.startswith(heading.text, heading.offset)


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("<p style='display:none'>SECRET</p>", CSS),
        ("<p style='DISPLAY : NONE !important'>SECRET</p>", CSS),
        ("<style>.x{display:none}</style><p class=x>SECRET</p>", CSS),
        (
            "<style>/* c */ @media screen and (min-width: 1px){#i > b{display:none}}</style><p id=i><b>SECRET</b></p>",
            CSS,
        ),
        ("<style>@supports(display:grid){.x{display:none}}</style><p class=x>SECRET</p>", CSS),
        ("<style>:root{--d:none}.x{display:var(--d)}</style><p class=x>SECRET</p>", CSS),
        ("<style>p:is(.x){display:none}</style><p class=x>SECRET</p>", CSS),
        ("<style>.a{display:block}.x{display:none}</style><p class='a x'>SECRET</p>", CSS),
        ("<p hidden>SECRET</p>", CSS),
        ("<p style='visibility:hidden'>SECRET</p>", CSS),
        ("<p style='position:absolute;left:-9999px'>SECRET</p>", CSS),
        ("<p style='position:absolute;top:-200em'>SECRET</p>", CSS),
        ("<p style='text-indent:-9999px'>SECRET</p>", CSS),
        ("<p style='transform:translateX(-5000px)'>SECRET</p>", CSS),
        ("<p style='transform:scale(0)'>SECRET</p>", CSS),
        ("<p style='margin-left:-3000px'>SECRET</p>", CSS),
        ("<p style='position:absolute;clip:rect(0,0,0,0)'>SECRET</p>", CSS),
        ("<p style='clip-path:inset(100%)'>SECRET</p>", CSS),
        ("<p style='height:0;overflow:hidden'>SECRET</p>", CSS),
        ("<div style='display:none'><p style='display:block'>SECRET</p></div>", CSS),
        ("<p style='font-size:0'>SECRET</p>", HiddenKind.TINY_TEXT),
        ("<p style='font:1px/1 serif'>SECRET</p>", HiddenKind.TINY_TEXT),
        ("<div style='font-size:1px'><p style='font-size:1em'>SECRET</p></div>", HiddenKind.TINY_TEXT),
        ("<p style='opacity:0'>SECRET</p>", HiddenKind.ZERO_OPACITY),
        ("<div style='opacity:.2'><p style='opacity:10%'>SECRET</p></div>", HiddenKind.ZERO_OPACITY),
        ("<p style='color:rgba(0,0,0,0)'>SECRET</p>", HiddenKind.ZERO_OPACITY),
        ("<p style='color:transparent'>SECRET</p>", HiddenKind.ZERO_OPACITY),
        ("<p style='color:#fff'>SECRET</p>", HiddenKind.WHITE_TEXT),
        ("<p style='color:hsl(0 0% 100%)'>SECRET</p>", HiddenKind.WHITE_TEXT),
        ("<font color=white>SECRET</font>", HiddenKind.WHITE_TEXT),
        ("<p style='background:#222;color:#222'>SECRET</p>", HiddenKind.WHITE_TEXT),
        ("<body bgcolor=black><p>SECRET</p>", HiddenKind.WHITE_TEXT),
        ("<p style='background:url(dark.png);color:snow'>SECRET</p>", HiddenKind.WHITE_TEXT),
    ],
)
def test_concealed_text_is_reported_and_left_out(source: str, kind: HiddenKind) -> None:
    page, hidden = scan(source + "<div style='color:black;background:white;font-size:16px'>VISIBLE</div>")
    assert hidden == [(kind, "SECRET")]
    assert page.text == "VISIBLE"


@pytest.mark.parametrize(
    "source",
    [
        "<!-- a comment -->VISIBLE",
        "<style>@media print{.x{display:none}}</style><p class=x>VISIBLE</p>",
        "<style>@media (max-width:600px){.x{display:none}}</style><p class=x>VISIBLE</p>",
        "<style media=print>.x{display:none}</style><p class=x>VISIBLE</p>",
        "<style>.x:hover{display:none}.x::before{display:none}</style><p class=x>VISIBLE</p>",
        "<style>.x{display:none}.x.open{display:block}</style><p class='x open'>VISIBLE</p>",
        "<style>.x{display:none!important}</style><style>.y{display:none}</style><p>VISIBLE</p>",
        "<p hidden style='display:block'>VISIBLE</p>",
        "<div style='visibility:hidden'><p style='visibility:visible'>VISIBLE</p></div>",
        "<div style='font-size:0'><p style='font-size:14px'>VISIBLE</p></div>",
        "<p style='background:navy;color:#fff'>VISIBLE</p>",
        "<table bgcolor=navy><tr><td><font color=white>VISIBLE</font></table>",
        "<p style='background:linear-gradient(#123,#456);color:#fff'>VISIBLE</p>",
        "<p style='position:absolute;left:20px'>VISIBLE</p>",
        "<p style='overflow:hidden;height:200px'>VISIBLE</p>",
        "<p style='color:#777'>VISIBLE</p>",
        "<p aria-hidden=true>VISIBLE</p>",
        "<template>x</template><noscript>x</noscript><dialog>x</dialog>VISIBLE",
    ],
)
def test_honest_pages_conceal_nothing(source: str) -> None:
    page, hidden = scan(source)
    assert hidden == []
    assert page.text == "VISIBLE"


@pytest.mark.parametrize(
    "sheet", ["}", "{", "a{b", "@media", "@media{", "'", '"\\', "/*", "a{x:'}'}", "::{}", "a,,b{color:red}"]
)
def test_broken_style_sheets_do_no_harm(sheet: str) -> None:
    page, hidden = scan(f"<style>{sheet}</style><p>VISIBLE</p>")
    assert page.text == "VISIBLE"
    assert hidden == []


def test_deep_nesting_is_walked_without_recursion() -> None:
    page, _ = scan("<div>" * 3000 + "VISIBLE")
    assert page.text == "VISIBLE"
