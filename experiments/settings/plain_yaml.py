"""YAML files of plain data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

# LibYAML's reader, where PyYAML has it: a tenth of the time of the one in Python. Both make plain data only.
Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_yaml(path: Path) -> Any:
    """What a file holds. Raises OSError, yaml.YAMLError and UnicodeDecodeError."""
    return yaml.load(path.read_text(encoding="utf-8"), Loader)
