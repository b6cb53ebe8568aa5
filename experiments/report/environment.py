"""How templates become HTML: all text is shown as it is, and is never markup."""

from __future__ import annotations

import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from datamodules.text import printable

TEMPLATES = Path(__file__).parent / "templates"


def shown(value: object) -> object:
    """A value as a template writes it: text without what a browser would obey or could not show."""
    return printable(" ".join(value.split())) if isinstance(value, str) and not isinstance(value, Markup) else value


def breakable(text: str) -> Markup:
    """A name that may be broken into lines within it, after `_` and before capital letters."""
    return Markup("<wbr>").join(re.split(r"(?<=_)|(?<=[a-z])(?=[A-Z])", str(shown(text))))


PAGE = Environment(
    loader=FileSystemLoader(TEMPLATES),
    autoescape=True,
    undefined=StrictUndefined,
    finalize=shown,
    trim_blocks=True,
    lstrip_blocks=True,
)
PAGE.filters["breakable"] = breakable
