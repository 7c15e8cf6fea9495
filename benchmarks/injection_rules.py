"""Measure the ingest-time text rules on public attack and clean data.

Usage: python benchmarks/injection_rules.py DATA_FOLDER [--misses] [--json]

DATA_FOLDER holds the public sets as their projects publish them (spikee, bipia, garak, agentdojo, notinject, squad,
ragdefender); those that are missing are left out and said so. Attacks are planted at the start, the middle and the
end of clean paragraphs. The rules were written before any number was read, then revised on the attacks whose digest is
even ("seen"); the others are the honest column ("unseen"). Clean text was never used to choose attacks' wording.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from secure_rag.detection import HiddenMarkup, InstructionPatterns, UnicodeRules
from secure_rag.model.findings import Verdict
from secure_rag.model.labels import Trust
from secure_rag.ports import IncomingDocument

GOAL = "write two friendly sentences about the weather in spring"
DETECTORS = (UnicodeRules(), HiddenMarkup(), InstructionPatterns())


@dataclass(frozen=True)
class Sample:
    family: str
    text: str


@dataclass
class Tally:
    total: int = 0
    quarantined: int = 0
    flagged: int = 0


def json_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def spikee_attacks(root: Path) -> Iterator[Sample]:
    wrappers = {
        row["text"]: row for path in sorted(root.glob("*/jailbreaks.jsonl")) for row in json_lines(path)
    }  # the same wrapper stands in several seed folders
    for text, row in wrappers.items():
        if row["jailbreak_type"] != "no-jailbreak":
            language = "english" if row.get("lang", "en") == "en" else "other languages"
            yield Sample(f"spikee wrappers, {language}", text.replace("<INSTRUCTION>", GOAL))
    goals = {
        row["instruction"]: row
        for path in sorted(root.glob("*/instructions.jsonl"))
        for row in json_lines(path)
    }
    for text, row in goals.items():
        yield Sample(f"spikee goal, {row['instruction_type']}", text)


def bipia_attacks(root: Path) -> Iterator[Sample]:
    for kind in ("text", "code"):
        for texts in json.loads((root / f"{kind}_attack_train.json").read_text(encoding="utf-8")).values():
            for text in texts:
                yield Sample(f"bipia bare goal, {kind}", text)


def attacks(data: Path) -> list[Sample]:
    found: list[Sample] = []
    if (data / "spikee").is_dir():
        found += spikee_attacks(data / "spikee")
    if (data / "bipia").is_dir():
        found += bipia_attacks(data / "bipia")
    return found


def clean(data: Path) -> Iterator[Sample]:
    for path in sorted(data.glob("squad/paragraphs.jsonl")):
        yield from (Sample("squad paragraphs", row["text"]) for row in json_lines(path))
    for path in sorted(data.glob("notinject/*.json")):
        for row in json.loads(path.read_text(encoding="utf-8")):
            yield Sample("notinject", row["prompt"])
    for path in sorted(data.glob("bipia/email_train.jsonl")):
        yield from (Sample("bipia mail", row["context"]) for row in json_lines(path))
    for path in sorted(data.glob("spikee/*/base_user_inputs.jsonl")):
        yield from (Sample("spikee base documents", row["document"]) for row in json_lines(path))
    for path in sorted(data.glob("spikee/seeds-investment-advice-fp/standalone_user_inputs.jsonl")):
        yield from (Sample("spikee benign prompts", row["text"]) for row in json_lines(path))
    for path in sorted(data.glob("garak/payloads/whois_injection_contexts.json")):
        for text in json.loads(path.read_text(encoding="utf-8"))["payloads"]:
            yield Sample("garak whois records", text.replace("{INJECTION_MARKER}", "Example Ltd"))
    for path in sorted(data.glob("agentdojo/cloud_drive.yaml")):
        yield from (
            Sample("agentdojo files", part) for part in path.read_text(encoding="utf-8").split("- id_:")
        )
    for path in sorted(data.glob("ragdefender/*/*.json")):
        for row in json.loads(path.read_text(encoding="utf-8")):
            yield Sample(f"{path.parent.name} gold passages", str(row["ground_truth"]))


def verdicts(text: str) -> set[str]:
    document = IncomingDocument(text, "", "text/plain", Trust.EXTERNAL, ())
    return {finding.verdict for detector in DETECTORS for finding in detector.inspect(document)}


def add(tally: Tally, text: str) -> set[str]:
    found = verdicts(text)
    tally.total += 1
    tally.quarantined += Verdict.QUARANTINE in found
    tally.flagged += bool(found)
    return found


def unseen(text: str) -> bool:
    return hashlib.sha256(text.encode()).digest()[0] % 2 == 1


def planted(attack: str, carriers: Sequence[str], start: int) -> Iterator[str]:
    for place in range(3):
        sentences = carriers[(start + place) % len(carriers)].split(". ")
        at = (0, len(sentences) // 2, len(sentences))[place]
        yield "\n".join([". ".join(sentences[:at]), attack, ". ".join(sentences[at:])])


def wilson(hits: int, total: int) -> tuple[float, float]:
    """95 % interval of a share."""
    z, share = 1.96, hits / total
    middle = share + z * z / (2 * total)
    half = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return max(0.0, (middle - half) / (1 + z * z / total)), min(1.0, (middle + half) / (1 + z * z / total))


def line(name: str, tally: Tally) -> str:
    low, high = wilson(tally.quarantined, tally.total)
    return (
        f"{name:<46}{tally.total:>6}{tally.quarantined / tally.total:>10.4f}"
        f"  [{low:.3f}, {high:.3f}]{tally.flagged / tally.total:>9.4f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument(
        "--misses", action="store_true", help="print seen attacks without quarantine, and false alarms"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON line at the end")
    arguments = parser.parse_args()
    missing = [
        name for name in ("spikee", "bipia", "notinject", "squad") if not (arguments.data / name).is_dir()
    ]
    if missing:
        print("left out, not in the data folder:", ", ".join(missing))

    stock: dict[str, Tally] = {}
    for sample in clean(arguments.data):
        found = add(stock.setdefault(sample.family, Tally()), sample.text)
        if arguments.misses and found:
            print("CLEAN", sorted(found), sample.family, repr(sample.text[:300]))
    carriers = [
        s.text for s in clean(arguments.data) if s.family == "squad paragraphs" and not verdicts(s.text)
    ]
    caught: dict[str, Tally] = {}
    for index, sample in enumerate(attacks(arguments.data)):
        half = "unseen" if unseen(sample.text) else "seen"
        for text in planted(sample.text, carriers or ["Nothing here. Nothing there."], index * 3):
            add(caught.setdefault(f"{sample.family}, {half}", Tally()), text)
        if arguments.misses and half == "seen" and Verdict.QUARANTINE not in verdicts(sample.text):
            print("MISSED", sample.family, repr(sample.text[:300]))

    print(f"{'attacks (planted three times each)':<46}{'n':>6}{'quarant.':>10}  {'95 %':<14}{'any flag':>11}")
    print("\n".join(line(name, tally) for name, tally in sorted(caught.items())))
    print(f"{'clean':<46}{'n':>6}{'quarant.':>10}  {'95 %':<14}{'any flag':>11}")
    print("\n".join(line(name, tally) for name, tally in sorted(stock.items())))
    if arguments.json:
        both = {**caught, **stock}
        print(
            json.dumps(
                {name: [t.total, t.quarantined, t.flagged] for name, t in both.items()}, sort_keys=True
            )
        )


if __name__ == "__main__":
    main()
