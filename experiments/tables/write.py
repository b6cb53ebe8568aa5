"""Writing the tables' files."""

from __future__ import annotations

from pathlib import Path

from datamodules.files import write_atomically
from experiments import ROOT
from experiments.records.files import read_records
from experiments.tables.comparisons import read_comparisons
from experiments.tables.published import read_published
from experiments.tables.render import Section, summary, to_csv, to_html, to_latex, to_markdown
from experiments.tables.table import tables

README_START = "<!-- table: written by `python experiments/run.py --table results=results/reference` -->"
README_END = "<!-- end of the table -->"
RENDERERS = {"table.md": to_markdown, "table.csv": to_csv, "table.html": to_html, "table.tex": to_latex}


def write_tables(results: Path, records: list[dict] | None = None) -> list[Path]:
    """Regenerates the tables (`RENDERERS`) in `results` from its records; returns their paths.

    The tables of `results/reference` are also those of the README. `records` are those of `results` where they have
    been read before.
    """
    records = read_records(results) if records is None else records
    sections = tables(records, read_published(), read_comparisons(results))
    results.mkdir(parents=True, exist_ok=True)
    texts = {results / name: render(sections) for name, render in RENDERERS.items()}
    for path, text in texts.items():
        write_atomically(path, text)
    if results.resolve() == ROOT / "results" / "reference":
        readme = ROOT / "README.md"
        write_atomically(readme, fill_readme(readme.read_text(encoding="utf-8"), sections))
        return [*texts, readme]
    return list(texts)


def fill_readme(readme: str, sections: list[Section]) -> str:
    """The text of a README with the summary of the first section between its two markers."""
    before, start, rest = readme.partition(README_START)
    _, end, after = rest.partition(README_END)
    assert start and end, f"the README lacks {README_START} or {README_END}"
    return f"{before}{start}\n{summary(sections[0])}\n{end}{after}"
