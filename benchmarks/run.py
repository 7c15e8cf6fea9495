"""`make bench`: every figure in one run; a table and, last, one JSON line."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from benchmarks import access_plan, end_to_end, explanations, freshness, policy, store_search, wide
from benchmarks.world import World, store_world

EXAMPLES = Path(__file__).resolve().parents[1] / "ingestion" / "examples"


def main() -> None:
    """Build the world once and measure everything on it."""
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        figures |= end_to_end.ingest(folder / "acme", EXAMPLES)
        figures |= policy.run()
        figures |= freshness.run(folder / "freshness")
        figures |= wide.run()
        figures |= access_plan.run()
        world = World().build()
        stored = store_world(world, folder / "world")
        answers = end_to_end.run(world, stored)
        figures |= explanations.measure(world, stored)
        # Last, since it adds and re-points documents.
        searches = store_search.measure(world, stored)
        figures |= answers | searches | {"leaks": answers["leaks"] + searches["leaks"]}
    for name, value in figures.items():
        print(f"{name:44} {value:.4g}")
    print(json.dumps({name: round(float(value), 6) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
