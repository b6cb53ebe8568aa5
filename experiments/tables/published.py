"""The literature's numbers, in sections of their own."""

from __future__ import annotations

from experiments import ROOT
from experiments.settings.plain_yaml import read_yaml
from experiments.tables.render import Section
from experiments.tables.wording import DASH


def read_published() -> list[dict]:
    """The literature's numbers in percent, each with data set, split, protocol and pretraining."""
    return read_yaml(ROOT / "results" / "published.yaml")["entries"]


def literature_section(dataset: str, entries: list[dict]) -> Section:
    """The published numbers on one data set: theirs, under their protocols, not ours."""
    hits = {"clip_hit1": "Clip Hit@1", "video_hit1": "Video Hit@1", "video_hit5": "Video Hit@5"}
    rows = []
    for entry in entries:
        metrics = entry["metrics"]
        other = [f"{key} {value}" for key, value in metrics.items() if key not in hits]
        row = [entry["system"], *(str(metrics.get(key, DASH)) for key in hits), entry["split"], entry["pretraining"]]
        rows.append([*row, entry["protocol"], entry["paper"], "; ".join([entry["note"], *other]).strip("; ")])
    columns = ["System", *hits.values(), "Split", "Pretraining", "Protocol", "Paper", "Note"]
    facts = ["Percent, as printed by the papers. No run of this suite; each row has its own protocol and pretraining."]
    return Section(f"The literature's numbers on {dataset}", facts, columns, rows)


def cited(entry: dict, notes: list[str]) -> str:
    """A published Video Hit@1 with the number of the note that says how it was measured; adds that note to `notes`."""
    split = {"1": "split 1", "mean of 3": "mean of 3 splits"}.get(entry["split"], entry["split"])
    terms = [split, entry["protocol"], f"pretraining: {entry['pretraining']}", entry["note"]]
    note = f"{entry['paper']}, {entry['system']}: {'; '.join(filter(None, terms))}"
    if note not in notes:
        notes.append(note)
    return f"{entry['metrics']['video_hit1']} [{notes.index(note) + 1}]"
