"""The layers of a network as the lecture tabulates them, and where along them time comes into view.

python experiments/layers.py strategy=c3d model.size=published [key=value ...] [--json | --markdown]
python experiments/layers.py strategy=c3d --clip                how many bytes videos and this clip are

Settings are those of a run (experiments/run.py); neither data nor weights are needed. This command's own:

num_classes=101      classes to tell apart (HMDB51's 51 with dataset=hmdb51)
video_fps=25         frames per second of a video, for receptive fields in seconds
video_frames=180     frames of a test video, for the clips taken from it (180: the mean of UCF101)
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import TYPE_CHECKING

from experiments.layer_report.contents import Own, layers_of
from experiments.layer_report.sizes import sizes_as_text, sizes_of
from experiments.layer_report.wording import layers_as_text
from experiments.tables.text import aligned

# Other imports are inside the functions, so that --help does not pay for them.
if TYPE_CHECKING:
    from experiments.settings.schema import RunConfig

TEXT = ("layer", "kind", "frames seen", "network", "what")  # columns that are not numbers


def main(arguments: list[str]) -> int:
    """Print the table; returns 0, or 1 after one line on standard error."""
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("layers.py", description=__doc__, formatter_class=as_written)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="as JSON, numbers unrounded")
    form.add_argument("--markdown", action="store_true", help="as Markdown")
    parser.add_argument("--clip", action="store_true", help="only the bytes of videos and of the clip")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="settings, such as model.size=published")
    options = parser.parse_intermixed_args(arguments)
    try:
        run, own = _compose(options.settings)
        content = sizes_of(run) if options.clip else layers_of(run, own)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    text = json.dumps(content, indent=1)
    if not options.json:
        parts = sizes_as_text(content) if options.clip else layers_as_text(content)
        grids = (x if isinstance(x, str) else "\n".join(aligned(*x, options.markdown, words=TEXT)) for x in parts)
        text = "\n\n".join(grids)
    try:
        print(text, flush=True)
    except BrokenPipeError:  # the reader has seen enough, such as `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _compose(settings: list[str]) -> tuple[RunConfig, Own]:
    """The run that the words describe, and this command's own settings."""
    from experiments.settings.compose import compose
    from experiments.settings.words import take_words

    own, others = take_words(Own(), settings)
    run = compose(others)
    own.num_classes = own.num_classes or (51 if run.dataset == "hmdb51" else 101)
    return run, own


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
