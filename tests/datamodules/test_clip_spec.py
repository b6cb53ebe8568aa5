"""Which specifications describe a clip, and what is said of those that do not."""

import pytest

from datamodules.clip_spec import ClipSpec, check, snippet
from datamodules.errors import DataError

SIZES = {"resize": [36, 48], "crop": 32}
SEGMENTS = {"span": "segments"}
NAN = float("nan")


@pytest.mark.parametrize("more", [{"crop": 36}, {"crop_scales": [36 / 32, 1, 1 / 32]}, {"frames": 16} | SEGMENTS])
def test_what_just_fits_is_accepted(more):
    check(ClipSpec(**SIZES | {"test_clips": 1} | more))


def test_a_fixed_clip_is_one_snippet():
    spec = ClipSpec(frames=16)
    assert snippet(spec) == (1, spec)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"frames": -1}, "sampling.frames=-1: expected 0 to 1,000,000"),
        ({"frames": 0}, "sampling.frames and sampling.flow_frames are both 0"),
        ({"stride": 2**63}, "sampling.stride=9223372036854775808: expected 1 to 1,000,000"),
        ({"flow_direction": "both"}, "sampling.flow_frames=0: with sampling.flow_direction=both half of them go back"),
        ({"flow_direction": "both", "flow_frames": 5}, "sampling.flow_frames=5: .*expected an even number from 2 on"),
        ({"fps": 0.0}, "sampling.fps=0.0: expected 0.001 to 10,000"),
        ({"fps": NAN}, "sampling.fps=nan: expected 0.001 to 10,000"),
        ({"test_clips": 10**23}, "expected 1 to 1,000,000, or `all`"),
        ({"test_clips": "some"}, "sampling.test_clips=some: expected 1 to 1,000,000, or `all`"),
        ({"resize": None}, r"sampling.resize=None, sampling.crop=32: expected \[height, width\], side"),
        ({"resize": [36]}, r"sampling.resize=\[36\], sampling.crop=32: expected"),
        ({"crop": None}, r"sampling.resize=\[36, 48\], sampling.crop=None: expected"),
        ({"crop": 37}, "sampling.crop=37: expected 1 to 36, the stored frame's smaller side"),
        ({"crop": 0}, "sampling.crop=0: expected 1 to 36"),
        ({"crop_scales": [1.0, 1.25]}, r"crop_scales=\[1.0, 1.25\]: 1.25 times sampling.crop=32 is no side of 1 to"),
        ({"crop_scales": [0.01]}, r"sampling.crop_scales=\[0.01\]: 0.01 times"),
        ({"crop_scales": [[1]]}, r"sampling.crop_scales=\[\[1\]\]: \[1\] times"),
        ({"crop_scales": [NAN]}, r"sampling.crop_scales=\[nan\]: nan times"),
        ({"frames": 4, "flow_frames": 6} | SEGMENTS, "sampling.snippets=4"),
        ({"frames": 5, "snippets": 3} | SEGMENTS, "a number that divides both"),
        ({"frames": 4, "snippets": 2}, "sampling.span=fixed"),
        ({"frames": 4, "test_clips": "all"} | SEGMENTS, "sampling.test_clips=all"),
        ({"frames": 2, "flow_frames": 4, "snippets": 2, "flow_direction": "both"} | SEGMENTS, "flow_direction=both"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_check_names_what_is_wrong(bad, message):
    with pytest.raises(DataError, match=message) as error:
        check(ClipSpec(**SIZES | bad))
    assert "\n" not in str(error.value)
