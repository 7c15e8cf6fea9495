"""Colours of DrawingML (ECMA-376, 20.1.2.3), shared by the office formats."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from secure_rag_ingestion.parsing.hidden.colours import WHITE, Rgb, adjusted, css_colour, hex_rgb

A = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_SLOTS = (
    "dk1",
    "lt1",
    "dk2",
    "lt2",
    "accent1",
    "accent2",
    "accent3",
    "accent4",
    "accent5",
    "accent6",
    "hlink",
    "folHlink",
)
_MAP = {"bg1": "lt1", "tx1": "dk1", "bg2": "lt2", "tx2": "dk2"}
_OFFICE = dict(
    zip(
        _SLOTS,
        (
            "000000",
            "FFFFFF",
            "44546A",
            "E7E6E6",
            "4472C4",
            "ED7D31",
            "A5A5A5",
            "FFC000",
            "5B9BD5",
            "70AD47",
            "0563C1",
            "954F72",
        ),
        strict=True,
    )
)


class Theme:
    """Colours by their slot, with the map from background and text roles to slots."""

    def __init__(self, root: Element | None = None, roles: dict[str, str] | None = None) -> None:
        self._roles = {**_MAP, **(roles or {})}
        self._slots: dict[str, Rgb] = {}
        scheme = None if root is None else root.find(f".//{A}clrScheme")
        for slot in _SLOTS:
            element = None if scheme is None else scheme.find(A + slot)
            own = None if element is None else next((plain_colour(child) for child in element), None)
            self._slots[slot] = own or hex_rgb(_OFFICE[slot]) or WHITE

    def with_roles(self, roles: dict[str, str]) -> Theme:
        """The same slots under another colour map."""
        theme = Theme()
        theme._slots = self._slots
        theme._roles = {**self._roles, **roles}
        return theme

    def slot(self, name: str) -> Rgb | None:
        """Colour of a slot (`accent1`) or a role (`bg1`)."""
        return self._slots.get(self._roles.get(name, name))

    def numbered(self, index: int) -> Rgb | None:
        """Colour by the number that spreadsheets use, where 0 and 1, and 2 and 3, stand in reverse."""
        order = (1, 0, 3, 2, *range(4, len(_SLOTS)))
        return self._slots[_SLOTS[order[index]]] if 0 <= index < len(order) else None

    def solid(self, properties: Element | None) -> tuple[Rgb, float] | None:
        """Colour and alpha of the solid fill among the children of an element, if there is one."""
        fill = None if properties is None else properties.find(A + "solidFill")
        return None if fill is None or len(fill) == 0 else self.colour(fill[0])

    def colour(self, element: Element) -> tuple[Rgb, float] | None:
        """Read one colour element with its changes, as (RGB, alpha)."""
        value = self.slot(element.get("val", "")) if element.tag == A + "schemeClr" else plain_colour(element)
        if value is None:
            return None
        alpha = 1.0
        for change in element:
            amount = _thousandths(change.get("val"))
            if change.tag == A + "lumMod":
                value = adjusted(value, factor=amount)
            elif change.tag == A + "lumOff":
                value = adjusted(value, offset=amount)
            elif change.tag == A + "shade":
                value = adjusted(value, factor=amount)
            elif change.tag == A + "tint":
                value = adjusted(value, factor=amount, offset=1 - amount)
            elif change.tag == A + "alpha":
                alpha = amount
        return value, alpha


def plain_colour(element: Element) -> Rgb | None:
    """Colour of an `srgbClr`, `sysClr` or `prstClr` element."""
    if element.tag == A + "srgbClr":
        return hex_rgb(element.get("val"))
    if element.tag == A + "sysClr":
        return hex_rgb(element.get("lastClr")) or (WHITE if element.get("val") == "window" else None)
    if element.tag == A + "prstClr":
        named = css_colour(element.get("val", ""))
        return named[0] if named else None
    return None


def _thousandths(value: str | None) -> float:
    """Read a percentage in thousandths of a percent, or with a percent sign."""
    try:
        if value is None:
            return 1.0
        return float(value[:-1]) / 100 if value.endswith("%") else int(value) / 100_000
    except ValueError:
        return 1.0
