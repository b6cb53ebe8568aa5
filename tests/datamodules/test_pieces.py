"""Clips of videos that are stored in pieces: 3 of 5 frames each."""

from dataclasses import replace

import numpy as np

from datamodules.store.tracks import Sample
from tests.datamodules.numbered import EARLY, FLOW, FRAMES, TEST, TRAIN, built, cut_out, epoch, opened, seen, views


def sampled(root, folder, spec, **settings):
    return built(root, folder, spec, clips_per_video=3, **settings)


def piece_starts(path):
    return Sample(3, 0.16).pieces(path, FRAMES[path], 25.0)[0].tolist()


def test_training_clips_lie_in_the_stored_pieces(root, tmp_path):
    spec = replace(EARLY, flow_frames=4)
    data, whole = sampled(root, tmp_path, spec, batch_size=4), opened(root, replace(FLOW, flow_frames=4))
    assert [track.name for track in data.tracks] == [
        "rgb-36x64-3x0.16s-seed0", "flow-36x64-dis-medium-b20-3x0.16s-seed0"
    ]  # fmt: skip
    firsts = {}
    for number in range(30):
        for batch in epoch(data.train_dataloader(), number):
            for rgb, flow, mean in zip(batch["rgb"], batch["flow"], batch["flow_mean"], strict=True):
                path, frames, window = seen(rgb)
                first = frames[0]
                assert frames == [first, first + 1, first + 2, first + 3]
                firsts.setdefault(path, set()).add(first)
                fields, means = (array[first : first + 4] for array in whole.store.flow(path))  # of the file's frames
                fields, means = cut_out(fields, means, window)
                assert np.array_equal(flow, fields) and np.allclose(mean, means)
    # 4 frames with the 4 fields from them take all 5 frames of a piece.
    assert firsts == {path: set(piece_starts(path)) for path in TRAIN}


def test_test_clips_are_spread_over_the_stored_pieces(root, tmp_path):
    data = sampled(root, tmp_path, replace(EARLY, test_clips="all", test_step=1))
    expected, centers = [], []
    for path in TEST:
        if FRAMES[path] < 5:  # one piece as a whole, of 3 frames: the clip begins again
            expected.append((path, [0, 1, 2, 0]))
            centers.append(1.5 / 25)
            continue
        for piece, place in [(p, s) for p in range(3) for s in (0, 1)]:
            first = piece_starts(path)[piece] + place
            expected.append((path, [first, first + 1, first + 2, first + 3]))
            centers.append((5 * piece + place + 1.5) / 25)  # within what is stored
    batches = list(data.test_dataloader())
    assert [seen(view)[:2] for view in views(batches)] == expected
    assert np.allclose([float(center) for center in views(batches, "center")], centers)
    assert (data.test_views.num_clips, data.test_views.padded_clips) == (len(expected), 1)
