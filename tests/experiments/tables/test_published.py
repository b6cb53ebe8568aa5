"""The literature's numbers against the papers' tables, typed here a second time."""

import math

import pytest
import yaml

from experiments.tables.published import read_published

PUBLISHED = read_published()
FIELDS = {"system", "paper", "dataset", "split", "protocol", "pretraining", "metrics", "note"}
GROUPS = ("map_human_object", "map_body_motion", "map_human_human", "map_instruments", "map_sports", "map")

KARPATHY, C3D, TWO_STREAM = "Karpathy et al., CVPR 2014", "Tran et al., ICCV 2015", "Simonyan & Zisserman, NIPS 2014"
LRCN, SNIPPETS = "Donahue et al., arXiv 1411.4389v4", "Ng et al., CVPR 2015"
SCRATCH, IMAGENET, SPATIAL, SPORTS = "none", "ImageNet", "ImageNet (spatial)", "Sports-1M"

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

# Accuracy on UCF101 and HMDB51
ACCURACY = {
    (KARPATHY, "ucf101", "mean of 3"): [
        ("ucf101_baseline", SCRATCH, 43.9),
        ("feature_histograms", SCRATCH, 59.0),
        ("slow_fusion", SCRATCH, 41.3),
        ("slow_fusion_top_layer", SPORTS, 64.1),
        ("slow_fusion", SPORTS, 65.4),
        ("slow_fusion_all_layers", SPORTS, 62.2),
    ],
    (C3D, "ucf101", "mean of 3"): [
        ("c3d_svm", "I380K", 82.3),
        ("c3d_svm_3_nets", "I380K, Sports-1M", 85.2),
        ("c3d_svm_3_nets_idt", "I380K, Sports-1M", 90.4),
        ("c3d_svm_10_dimensions", "not stated", 52.8),
    ],
    (TWO_STREAM, "ucf101", "1"): [
        ("two_stream_spatial", SCRATCH, 52.3),
        ("two_stream_spatial_all_layers", IMAGENET, 70.8),
        ("two_stream_spatial_all_layers", IMAGENET, 72.8),
        ("two_stream_spatial", IMAGENET, 72.7),
        ("two_stream_spatial_dropout_0.9", IMAGENET, 59.9),
        ("two_stream_l1_temporal", SCRATCH, 73.9),
        ("two_stream_l5_temporal", SCRATCH, 80.4),
        ("two_stream_no_mean_temporal", SCRATCH, 79.9),
        ("two_stream_temporal", SCRATCH, 81.0),
        ("two_stream_trajectory_no_mean_temporal", SCRATCH, 79.6),
        ("two_stream_trajectory_temporal", SCRATCH, 80.2),
        ("two_stream_bidirectional_temporal", SCRATCH, 81.2),
        ("two_stream_multi_task_temporal", SCRATCH, 81.5),
        ("slow_fusion", SCRATCH, 56.4),
        ("two_stream_bidirectional", SPATIAL, 85.6),
        ("two_stream", SPATIAL, 85.9),
        ("two_stream_multi_task", SPATIAL, 86.2),
        ("two_stream_multi_task_svm", SPATIAL, 87.0),
    ],
    (TWO_STREAM, "hmdb51", "1"): [
        ("two_stream_temporal", SCRATCH, 46.6),
        ("two_stream_temporal_fine_tuned", "UCF101", 49.0),
        ("two_stream_temporal_78_classes", SCRATCH, 52.8),
        ("two_stream_multi_task_temporal", SCRATCH, 55.4),
    ],
    (TWO_STREAM, "ucf101", "mean of 3"): [
        ("two_stream_spatial", IMAGENET, 73.0),
        ("two_stream_multi_task_temporal", SCRATCH, 83.7),
        ("two_stream_multi_task", SPATIAL, 86.9),
        ("two_stream_multi_task_svm", SPATIAL, 88.0),
    ],
    (TWO_STREAM, "hmdb51", "mean of 3"): [
        ("two_stream_spatial", IMAGENET, 40.5),
        ("two_stream_multi_task_temporal", SCRATCH, 54.6),
        ("two_stream_multi_task", SPATIAL, 58.0),
        ("two_stream_multi_task_svm", SPATIAL, 59.4),
    ],
    (LRCN, "ucf101", "mean of 3"): [
        ("lrcn_single_frame", IMAGENET, 67.37),
        ("lrcn_single_frame_flow", IMAGENET, 74.37),
        ("lrcn_single_frame_two_stream", IMAGENET, 75.46),
        ("lrcn_single_frame_two_stream", IMAGENET, 78.94),
        ("cnn_lstm", IMAGENET, 68.20),
        ("cnn_lstm_flow", IMAGENET, 77.28),
        ("cnn_lstm_two_stream", IMAGENET, 80.90),
        ("cnn_lstm_two_stream", IMAGENET, 82.34),
    ],
    (SNIPPETS, "ucf101", "not stated"): [
        ("snippets_lstm_two_stream", "ImageNet, Sports-1M", 88.6),
        ("snippets_rgb", "ImageNet, Sports-1M", 82.6),
    ],
    ("Wang & Schmid, THUMOS workshop 2013", "ucf101", "mean of 3"): [("idt", SCRATCH, 85.9)],
    ("Wang & Schmid, ICCV 2013", "hmdb51", "mean of 3"): [("idt", SCRATCH, 57.2)],
    ("Peng et al., arXiv 1405.4506", "ucf101", "mean of 3"): [("idt_hybrid_encodings", SCRATCH, 87.9)],
    ("Peng et al., arXiv 1405.4506", "hmdb51", "mean of 3"): [("idt_hybrid_encodings", SCRATCH, 61.1)],
    ("Peng et al., ECCV 2014", "hmdb51", "mean of 3"): [("idt_stacked_fisher_vectors", SCRATCH, 66.8)],
    ("Kuehne et al., ICCV 2011", "hmdb51", "mean of 3"): [("hmax", SCRATCH, 22.8)],
}

# Karpathy et al., table 4: mean average precision by group of UCF101's classes, all of them last
AVERAGE_PRECISION = {
    ("slow_fusion", SCRATCH): (0.26, 0.32, 0.40, 0.42, 0.57, 0.44),
    ("slow_fusion", SPORTS): (0.55, 0.57, 0.68, 0.65, 0.79, 0.68),
    ("slow_fusion_top_layer", SPORTS): (0.52, 0.52, 0.65, 0.46, 0.80, 0.66),
}

# What the papers say of their own test, in words that the entry's protocol must have
PROTOCOLS = {
    (KARPATHY, "sports1m"): ("20 random clips", "4 crops and flips"),
    (KARPATHY, "ucf101"): ("50 clips", "4 crops and flips"),
    (C3D, "sports1m"): ("10 random 16-frame clips",),
    (C3D, "ucf101"): ("fc6", "16-frame clips every 8 frames", "L2-normalised", "linear SVM"),
    (TWO_STREAM, "ucf101"): ("25 frames", "10 crops and flips"),
    (TWO_STREAM, "hmdb51"): ("25 frames", "10 crops and flips"),
    (LRCN, "ucf101"): ("16-frame clips every 8 frames", "10 crops and flips"),
    (SNIPPETS, "sports1m"): ("1 frame per second",),
    (SNIPPETS, "ucf101"): ("1 frame per second",),
}
OTHER_PROTOCOLS = {"ucf101_baseline", "feature_histograms"}  # and the two-stream paper's own slow_fusion


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


@pytest.mark.parametrize(("paper", "dataset", "split"), ACCURACY)
def test_accuracy_is_the_papers_tables_and_no_more(paper, dataset, split):
    place = {"paper": paper, "dataset": dataset, "split": split}
    entries = [entry for entry in PUBLISHED if {key: entry[key] for key in place} == place]
    found = sorted((entry["system"], entry["pretraining"], entry["metrics"]["video_hit1"]) for entry in entries)
    assert found == sorted(ACCURACY[paper, dataset, split])


def test_there_is_nothing_but_these_tables():
    places = {
        (entry["paper"], entry["dataset"], entry["split"]) for entry in PUBLISHED if entry["dataset"] != "sports1m"
    }
    assert places == ACCURACY.keys()
    assert len(PUBLISHED) == len(SPORTS1M) + sum(map(len, ACCURACY.values()))


def test_average_precision_is_the_papers_table():
    found = {}
    for entry in PUBLISHED:
        groups = {name: value / 100 for name, value in entry["metrics"].items() if name.startswith("map")}
        if groups:
            assert (entry["paper"], entry["dataset"], entry["split"]) == (KARPATHY, "ucf101", "mean of 3")
            assert groups.keys() == set(GROUPS)
            found[entry["system"], entry["pretraining"]] = tuple(groups[name] for name in GROUPS)
    assert found.keys() == AVERAGE_PRECISION.keys()
    for row, values in found.items():
        assert values == pytest.approx(AVERAGE_PRECISION[row])


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


@pytest.mark.parametrize(("paper", "dataset"), PROTOCOLS)
def test_protocols_are_the_papers(paper, dataset):
    entries = [entry for entry in PUBLISHED if (entry["paper"], entry["dataset"]) == (paper, dataset)]
    other = OTHER_PROTOCOLS | ({"slow_fusion"} if paper == TWO_STREAM else set())
    usual = [entry for entry in entries if entry["system"] not in other]
    assert usual and all(words in entry["protocol"] for entry in usual for words in PROTOCOLS[paper, dataset])
    for entry in entries:
        if entry["system"] in other:
            assert not any(words in entry["protocol"] for words in PROTOCOLS[paper, dataset])


def test_external_training_data_is_said():
    """Numbers that owe to other videos or images say so, in their pretraining or in their note."""
    for entry in PUBLISHED:
        if "multi_task" in entry["system"]:
            other = {"ucf101": "HMDB51", "hmdb51": "UCF101"}[entry["dataset"]]
            assert f"trained with {other} too" in entry["note"]
        if "fine-tuned" in entry["note"]:
            assert entry["pretraining"] != SCRATCH


def test_no_entry_appears_twice():
    seen = [yaml.safe_dump(entry, sort_keys=True) for entry in PUBLISHED]
    assert len(seen) == len(set(seen))
    terms = [tuple(entry[name] for name in sorted(FIELDS - {"metrics", "paper"})) for entry in PUBLISHED]
    assert len(terms) == len(set(terms)), "two numbers for one system under the same terms"
