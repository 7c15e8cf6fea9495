"""The committed contract. `python -m tests.contract.api.contract` writes it anew; the difference is for review."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from secure_rag_api import openapi
from tests.unit.api.world import World

PATH = Path(__file__).resolve().parents[3] / "api" / "openapi.json"


def rendered() -> str:
    return json.dumps(openapi.document(World().app()), indent=2, ensure_ascii=False, sort_keys=True) + "\n"


def committed() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(PATH.read_text(encoding="utf-8"))
    return found


if __name__ == "__main__":
    PATH.write_text(rendered(), encoding="utf-8")
