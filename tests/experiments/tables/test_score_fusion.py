"""The SVM that fuses streams, against a general solver of the problem that Crammer & Singer state."""

import numpy as np
import pytest
from scipy.optimize import minimize

from experiments.records.record import Ensemble
from experiments.tables.derive import derive
from tests.factories import labelled, random_scores, record_of, save_run, softmax

STREAMS = ["two_stream_spatial", "two_stream_temporal"]
LABELS = np.arange(40) % 6


def make_streams(results, held_out):
    """Random scores of two streams, of the test videos and of those that were held out; returns the run's id."""
    scores = [random_scores(stream, LABELS) for stream in STREAMS]
    known = [random_scores(f"{stream} held out", held_out) for stream in STREAMS]
    record = record_of("two_stream", rows=STREAMS)
    save_run(results, record, np.stack(scores), LABELS, held_out=(np.stack(known), held_out))
    return record.id


def fused(results, run_id, **settings):
    """The record of an SVM on both streams, and what it saved."""
    record = derive(results, Ensemble("mine", [(run_id, stream) for stream in STREAMS], "svm", **settings))
    with np.load(results / "runs" / record.id / "scores.npz") as saved:
        return record, saved["scores"][:, 0]


def features(names, labels):
    """Video scores of both streams, L2-normalised, side by side, and a constant for the bias."""
    parts = [random_scores(name, labels).astype(np.float64).mean(1) for name in names]
    parts = [part / np.sqrt((part**2).sum(1, keepdims=True)) for part in parts]
    return np.concatenate([*parts, np.ones((len(labels), 1))], axis=1)


def crammer_singer(known, labels, num_classes, cost):
    """Weights (classes, features) of least |W|^2 / 2 + C sum of slacks, by a general solver for smooth problems."""
    samples, size = known.shape
    wrong = ~np.eye(num_classes, dtype=bool)[labels]

    def weights(x):
        return x[: num_classes * size].reshape(num_classes, size)

    def margins(x):
        scores = known @ weights(x).T
        return (scores[np.arange(samples), labels][:, None] - scores - 1 + x[num_classes * size :, None])[wrong]

    def margins_jacobian(_):
        jacobian = np.zeros((samples, num_classes, num_classes * size + samples))
        for sample in range(samples):
            for label in range(num_classes):
                own = slice(labels[sample] * size, (labels[sample] + 1) * size)
                other = slice(label * size, (label + 1) * size)
                jacobian[sample, label, own] += known[sample]
                jacobian[sample, label, other] -= known[sample]
                jacobian[sample, label, num_classes * size + sample] = 1
        return jacobian[wrong]

    start = np.concatenate([np.zeros(num_classes * size), np.full(samples, 1.0)])
    gradient = np.concatenate([np.zeros(num_classes * size), np.full(samples, cost)])
    mask = np.concatenate([np.ones(num_classes * size), np.zeros(samples)])
    solved = minimize(
        lambda x: 0.5 * (mask * x) @ x + gradient @ x,
        start,
        jac=lambda x: mask * x + gradient,
        method="SLSQP",
        bounds=[(None, None)] * (num_classes * size) + [(0, None)] * samples,
        constraints={"type": "ineq", "fun": margins, "jac": margins_jacobian},
        options={"maxiter": 500, "ftol": 1e-12},
    )
    assert solved.success
    return weights(solved.x)


@pytest.mark.parametrize(("num_classes", "num_videos", "two_labels"), [(2, 20, False), (3, 12, True)])
def test_svm_is_that_of_crammer_and_singer(tmp_path, num_classes, num_videos, two_labels):
    """Classes that were not held out are never chosen. A held-out video of two labels is a sample of each."""
    labels = np.arange(num_videos) % num_classes
    target = labelled(labels)
    target[0, 1] |= two_labels
    record, saved = fused(tmp_path, make_streams(tmp_path, target))
    sample, label = np.nonzero(target)
    known = features([f"{stream} held out" for stream in STREAMS], target)[sample]
    weights = crammer_singer(known, label, num_classes, cost=1.0)
    expected = softmax(features(STREAMS, LABELS) @ weights.T)
    assert (saved[:, num_classes:] == 0).all()
    assert np.allclose(saved[:, :num_classes], expected, atol=2e-3)
    assert record.ensemble.fit == {"videos": num_videos, "classes": num_classes, "scores": "softmax of decision values"}
    metrics = record.rows[0].metrics
    assert metrics["test/video_hit1"] == pytest.approx(np.mean(saved.argmax(1) == LABELS))
    assert metrics["test/clip_hit1"] is None and record.ensemble.level == "video"


def test_svm_never_sees_labels_of_the_test_and_leaves_out_what_has_no_score(tmp_path):
    run_id = make_streams(tmp_path, np.arange(30) % 6)
    before, scores = fused(tmp_path, run_id)
    path = tmp_path / "runs" / run_id / "scores.npz"
    saved = dict(np.load(path))
    order = np.random.default_rng(0).permutation(len(LABELS))
    other = saved["target"].reshape(len(LABELS), 3, 6)[order].reshape(-1, 6)
    np.savez(path, **saved | {"target": other})
    after, again = fused(tmp_path, run_id)
    assert np.array_equal(again, scores) and after.rows[0].metrics != before.rows[0].metrics

    saved["scores"][saved["video"] == 5] = np.nan
    np.savez(path, **saved)
    held = tmp_path / "runs" / run_id / "validation.npz"
    validation = dict(np.load(held))
    validation["scores"][validation["video"] == 2] = np.nan
    np.savez(held, **validation)
    record, found = fused(tmp_path, run_id)
    assert np.isnan(found).any(1).nonzero()[0].tolist() == [5]
    assert record.ensemble.fit["videos"] == 29


def test_clips_that_do_not_say_when_they_are_are_not_fused(tmp_path):
    run_id = make_streams(tmp_path, LABELS)
    path = tmp_path / "runs" / run_id / "scores.npz"
    with np.load(path) as saved:
        fields = dict(saved)
    fields["center"][3] = np.nan
    np.savez(path, **fields)
    record = derive(tmp_path, Ensemble("mine", [(run_id, stream) for stream in STREAMS], "mean"))
    assert "a member does not say when its clips are" in record.ensemble.text
    assert record.rows[0].metrics["test/clip_hit1"] is None and record.rows[0].metrics["test/video_hit1"] is not None


def test_one_class_cannot_be_fitted(tmp_path):
    with pytest.raises(ValueError, match="have 1 classes, an SVM needs 2"):
        fused(tmp_path, make_streams(tmp_path, np.zeros(9, int)))
