"""The literature's numbers: those that results are read against, and how each was measured."""

import math

import pytest

from experiments.tables.published import read_published

PUBLISHED = read_published()
FIELDS = {"system", "paper", "dataset", "split", "protocol", "pretraining", "metrics", "note"}
GROUPS = ("map_human_object", "map_body_motion", "map_human_human", "map_instruments", "map_sports", "map")

KARPATHY, C3D, TWO_STREAM = "Karpathy et al., CVPR 2014", "Tran et al., ICCV 2015", "Simonyan & Zisserman, NIPS 2014"
LRCN, SNIPPETS = "Donahue et al., arXiv 1411.4389v4", "Ng et al., CVPR 2015"
SCRATCH, IMAGENET = "none", "ImageNet"

# Karpathy et al., table 1, and Tran et al., table 2: clip Hit@1, video Hit@1, video Hit@5
SPORTS1M = [
    (KARPATHY, "feature_histograms", SCRATCH, None, 55.3, None),
    (KARPATHY, "single_frame", SCRATCH, 41.1, 59.3, 77.7),
    (KARPATHY, "single_frame_multires", SCRATCH, 42.4, 60.0, 78.5),
    (KARPATHY, "single_frame_fovea", SCRATCH, 30.0, 49.9, 72.8),
    (KARPATHY, "single_frame_context", SCRATCH, 38.1, 56.0, 77.2),
    (KARPATHY, "early_fusion", SCRATCH, 38.9, 57.7, 76.8),
    (KARPATHY, "late_fusion", SCRATCH, 40.7, 59.3, 78.7),
    (KARPATHY, "slow_fusion", SCRATCH, 41.9, 60.9, 80.2),
    (KARPATHY, "cnn_average", SCRATCH, 41.4, 63.9, 82.4),
    (C3D, "c3d", SCRATCH, 44.9, 60.0, 84.4),
    (C3D, "c3d", "I380K", 46.1, 61.1, 85.2),
    (SNIPPETS, "snippets_lstm_two_stream", IMAGENET, None, 73.1, None),
]


def test_sports1m_is_the_papers_tables_and_no_more():
    found = sorted(
        (entry["paper"], entry["system"], entry["pretraining"], tuple(sorted(entry["metrics"].items())))
        for entry in PUBLISHED
        if entry["dataset"] == "sports1m"
    )
    names = ("clip_hit1", "video_hit1", "video_hit5")
    assert found == sorted(
        (*row, tuple((name, value) for name, value in zip(names, values, strict=True) if value is not None))
        for *row, clip1, video1, video5 in SPORTS1M
        for values in [(clip1, video1, video5)]
    )
    assert {entry["split"] for entry in PUBLISHED if entry["dataset"] == "sports1m"} == {"test"}


@pytest.mark.parametrize(
    ("system", "ucf101", "hmdb51"),
    [
        ("idt", 85.9, 57.2),
        ("idt_hybrid_encodings", 87.9, 61.1),
        ("idt_stacked_fisher_vectors", None, 66.8),
        ("hmax", None, 22.8),
        ("slow_fusion", 65.4, None),
        ("two_stream_spatial", 73.0, 40.5),
        ("two_stream_multi_task_temporal", 83.7, 54.6),
        ("two_stream_multi_task", 86.9, 58.0),
        ("two_stream_multi_task_svm", 88.0, 59.4),
        ("c3d_svm_3_nets_idt", 90.4, None),
        ("cnn_lstm", 68.2, None),
    ],
)
def test_means_of_three_splits_are_the_papers(system, ucf101, hmdb51):
    for dataset, expected in (("ucf101", ucf101), ("hmdb51", hmdb51)):
        place = (system, dataset, "mean of 3")
        same = [entry for entry in PUBLISHED if (entry["system"], entry["dataset"], entry["split"]) == place]
        found = {entry["metrics"]["video_hit1"] for entry in same}
        assert expected in found if expected else not found


@pytest.mark.parametrize("entry", PUBLISHED, ids=lambda entry: f"{entry['dataset']}-{entry['system']}")
def test_every_entry_says_all_of_how_it_was_measured(entry):
    assert entry.keys() == FIELDS
    assert all(isinstance(entry[name], str) for name in FIELDS - {"metrics"})
    assert all(entry[name] for name in FIELDS - {"note"})
    assert entry["metrics"].keys() <= {"clip_hit1", "video_hit1", "video_hit5", *GROUPS}
    for value in entry["metrics"].values():
        assert math.isfinite(value) and 1 < value < 100  # percent, not shares
        assert round(value, 2) == value
    assert entry["metrics"]["video_hit1"] < entry["metrics"].get("video_hit5", 100)
    same = [other for other in PUBLISHED if all(other[name] == entry[name] for name in FIELDS - {"metrics", "paper"})]
    assert same == [entry], "two numbers for one system under the same terms"
