"""Writing the tables' files."""

from __future__ import annotations

from pathlib import Path

from datamodules.files import write_atomically
from experiments import ROOT
from experiments.tables.render import Section, summary, to_csv, to_html, to_latex, to_markdown

README_START = "<!-- table: written by `python experiments/run.py --table results=results/reference` -->"
README_END = "<!-- end of the table -->"
RENDERERS = {"table.md": to_markdown, "table.csv": to_csv, "table.html": to_html, "table.tex": to_latex}


def write_tables(results: Path, sections: list[Section]) -> list[Path]:
    """Write the tables (`RENDERERS`) into `results`; returns their paths.

    The tables of `results/reference` are also those of the README.
    """
    results.mkdir(parents=True, exist_ok=True)
    texts = {results / name: render(sections) for name, render in RENDERERS.items()}
    if results.resolve() == ROOT / "results" / "reference":
        readme = ROOT / "README.md"
        texts[readme] = fill_readme(readme.read_text(encoding="utf-8"), sections)
    for path, text in texts.items():
        write_atomically(path, text)
    return list(texts)


def fill_readme(readme: str, sections: list[Section]) -> str:
    """The text of a README with the summary of our largest section between its two markers."""
    before, start, rest = readme.partition(README_START)
    _, end, after = rest.partition(README_END)
    assert start and end, f"the README lacks {README_START} or {README_END}"
    largest = max(sections, key=lambda section: len(section.csv))
    return f"{before}{start}\n{summary(largest)}\n{end}{after}"
