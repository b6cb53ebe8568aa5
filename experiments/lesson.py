# %% [markdown]
"""
# Time in video networks: a lesson to run

How can a network use time? This lesson goes from pixels to a trained network. Each part has one picture, a few lines of
code, and one question to think about. The code uses the same functions as the experiments of this repository.

Nothing is downloaded. All videos are made here, as real H.264 files. The whole lesson takes about a minute.

Read it as a notebook (`jupyter lab experiments/lesson.ipynb`), or run it as a script (`python experiments/lesson.py`)
and close each picture to go on.
"""

# %%
import io
import logging
import math
import tempfile
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import lightning
import matplotlib.pyplot as plt
import numpy as np
import torch

from datamodules.clips import clip_indices, test_starts
from datamodules.datasets.rendering import render, write_video
from datamodules.datasets.scenes import make_scene
from datamodules.decode.frames import iter_frames
from datamodules.flow import FlowConfig, FlowEstimator, quantise
from experiments import ROOT
from experiments.layer_report.contents import Own, layers_of
from experiments.layer_report.sizes import sizes_as_text, sizes_of
from experiments.records.files import read_records
from experiments.settings.compose import compose
from experiments.tables.table import tables
from experiments.tables.text import aligned
from experiments.tracking.charts import confusion_matrix
from experiments.training.build import make_data, make_model
from vidfusion.classifier import VideoClassifier
from vidfusion.layer_table import layer_table
from vidfusion.metrics import hits_at_k

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
warnings.filterwarnings("ignore")
plt.rcParams |= {
    "figure.dpi": 64,
    "image.interpolation": "nearest",
    "font.size": 10,
    "axes.titlesize": 10,
    "figure.constrained_layout.use": True,
}
PLACE = tempfile.TemporaryDirectory()  # removed at the end
FOLDER = Path(PLACE.name)


def video(family: str, name: str, group: int = 1, size: int = 64) -> np.ndarray:
    """Make a video file of 96 frames of a class of moving shapes, and decode it: uint8 (T, H, W, 3)."""
    path = FOLDER / f"{name}-{group}.mp4"
    write_video(path, render(make_scene(0, family, name, group, 1, size)), fps=25)
    return np.stack(list(iter_frames(path)))


def network(*words: str, classes: int = 101) -> VideoClassifier:
    """The network that `key=value` words describe, with random weights."""
    return make_model(compose(words), [f"class {number}" for number in range(classes)]).eval()


def strip(axes: plt.Axes, frames: np.ndarray, title: str) -> None:
    """Draw frames (n, H, W, 3) side by side."""
    axes.imshow(np.concatenate(list(np.pad(frames, ((0, 0), (0, 0), (0, 3), (0, 0)), constant_values=255)), axis=1))
    axes.set(title=title, xticks=[], yticks=[])


# %% [markdown]
"""
## 1. A video is a tensor

A video is a row of images. So it is a tensor with four axes: frames, colours, height and width, T x 3 x H x W. Each
number is one byte. Pictures and files have the colours last, T x H x W x 3. Networks with 3-D convolutions have them
first, 3 x T x H x W. The numbers are the same.

Cut the tensor at one image row and keep all frames. That gives an image of x and time. What stands still is a vertical
line in it. What moves is a slanted line, and the slant is its velocity.
"""

# %%
left, right = video("motion", "MotionLeft"), video("motion", "MotionRight")
print("one video:", left.shape, left.dtype, f"{left.nbytes:,} bytes as a tensor,", end=" ")
print(f"{(FOLDER / 'MotionLeft-1.mp4').stat().st_size:,} bytes as a file")
(titles, rows), *_ = sizes_as_text(sizes_of(compose(["strategy=c3d"])))
print("\n".join(aligned(titles, [row for row in rows if "minute" in row[0] or "lecture" in row[0]])))

figure, axes = plt.subplots(2, 2, figsize=(7, 3.2), width_ratios=[5, 1.8])
for row, (name, frames) in zip(axes, {"MotionLeft": left, "MotionRight": right}.items(), strict=True):
    brightest = frames.sum((0, 2, 3), dtype=int).argmax()
    strip(row[0], frames[:30:6], f"{name}: frames 0, 6, 12, 18, 24")
    row[1].imshow(frames[:40, brightest], aspect="auto")
    row[1].set(title=f"image row {brightest} over time", xlabel="x (pixels)", ylabel="frame")
plt.show()

# %% [markdown]
"""
One minute of plain video is gigabytes. No network takes that in one piece. The file is ten times smaller than the
tensor, because it is compressed. A network needs the pixels.

**Think.** Look at single frames of the two videos. Can you tell *left* from *right*? What can you tell?
"""

# %% [markdown]
"""
## 2. Clips

Networks are trained on *clips*: a few frames of the video. A test takes several clips of each video, and the video's
score is the mean over its clips. Each paper has its own clip. Here are the first three test clips of each, for a video
of 96 frames. (`conv3d_lstm` has one, which spans the video.) A dot is a frame that the network sees.
"""

# %%
presets = {name: [f"strategy={name}"] for name in ("single_frame", "early_fusion", "late_fusion", "c3d", "conv3d_lstm")}
presets["16 frames at 5 per second"] = ["strategy=c3d", "clip=lecture"]
clips = {}
for name, words in presets.items():
    spec = compose(words).sampling
    starts = test_starts(spec, 96, 25.0, np.random.default_rng(0))
    clips[name] = clip_indices(spec, 96, 25.0, starts).rgb[:3]

figure, axis = plt.subplots(figsize=(9, 3))
for place, frames in enumerate(clips.values()):
    for number, clip in enumerate(frames):
        height = place + 0.22 * (number - (len(frames) - 1) / 2)
        axis.plot(clip, np.full(len(clip), height), f"C{number}.", markersize=4)
axis.set(yticks=range(len(clips)), yticklabels=clips, xlabel="frame of the video", xlim=(-1, 96))
axis.invert_yaxis()
plt.show()

# %% [markdown]
"""
The lecture's clip has 16 frames at 5 frames per second. That is 3.2 seconds, and more than half of this video.

**Think.** A class is *first left, then right*, with a pause of a second between. Which of these clips can show it?
"""

# %% [markdown]
"""
## 3. Where does time come in? Three toy networks

Take a clip of 20 frames of 64 x 64 pixels and two convolutions with a pooling between them.

- **Late fusion**: each frame goes through the same 2-D network. The results meet at the end.
- **Early fusion**: the 20 frames are one image of 60 channels. The first convolution takes in all of time.
- **3-D convolution**: the kernels are small in time, too. Time comes in slowly.

The *receptive field* of a layer is what one number of its output sees of the clip: T x H x W. A layer with kernel k
widens it by (k - 1) x jump. The jump is the product of all strides before the layer.
"""

# %%
TOYS = {"late fusion": "lecture_late", "early fusion": "lecture_early", "3-D convolution": "lecture_3d"}
for name, strategy in TOYS.items():
    print(f"\n{name}")
    rows = []
    for layer in layer_table(network(f"strategy={strategy}"))[:-1]:
        kernel, output, field = (
            "x".join(map(str, sizes or ())) for sizes in (layer.kernel, layer.output, layer.clipped)
        )
        rows.append([layer.kind, kernel, output, field, f"{layer.parameters:,}"])
    print("\n".join(aligned(["layer", "kernel", "output CxTxHxW", "sees TxHxW", "parameters"], rows)))

CNNS = ("single_frame", "late_fusion", "early_fusion", "slow_fusion", "c3d")
figure, axes = plt.subplots(1, len(CNNS), figsize=(9, 2.8), sharey=True)
for axis, strategy in zip(axes, CNNS, strict=True):
    layers = layers_of(compose([f"strategy={strategy}", "model.size=published"]), Own(num_classes=101))["layers"]
    layers = [layer for layer in layers if layer["kind"] in ("conv", "linear")]
    colours = ["C0" if layer["kind"] == "conv" else "C1" for layer in layers]
    axis.bar(range(1, len(layers) + 1), [layer["clipped"][0] for layer in layers], color=colours)
    axis.set(title=strategy, xlabel="layer", xticks=range(1, len(layers) + 1, 2))
axes[0].set_ylabel("frames of the clip it sees")
plt.show()

# %% [markdown]
"""
The picture shows the networks as the papers have them (blue: convolutions, orange: fully connected layers). Single
frame never sees time. Late fusion sees its two frames at the very end. Early fusion sees all at once. Slow fusion and
C3D see more with each layer.

**Think.** The toy late fusion sees all 20 frames after its average pooling. Play the clip backwards. Does its output
change?
"""

# %% [markdown]
"""
## 4. Why early fusion does not know a motion at another time

A convolution uses the same weights at each place that it slides over. A 2-D convolution slides over x and y. Early
fusion's first layer is 2-D: it has weights of its own for frame 0, for frame 1, and so on. A 3-D convolution slides
over time, too.

The test: a square appears for two frames and jumps to the right. Let it happen at frame 4, and then at frame 12. What
does the first layer answer at the place of the square? The weights are random. Training does not matter here.
"""


# %%
def jump(time: int) -> torch.Tensor:
    """A clip (1, 3, 20, 64, 64): a bright square at frame `time`, 6 pixels further right in the next, then gone."""
    clip = torch.zeros(1, 3, 20, 64, 64)
    clip[:, :, time, 28:36, 26:34] = clip[:, :, time + 1, 28:36, 32:40] = 1
    return clip


def first_layer(model: VideoClassifier, clip: torch.Tensor) -> torch.Tensor:
    """The first convolution's answers where the square is: (12 filters, times)."""
    kept = []
    with torch.no_grad(), model.trunk[0].register_forward_hook(lambda *seen: kept.append(seen[-1].clone())):
        model(clip)
    return kept[0][0, :, :, 32, 32]


def change(one: torch.Tensor, other: torch.Tensor) -> float:
    """How far apart two outcomes are, as a share of the first one's length."""
    return float((one - other).norm() / one.norm())


early, cube = network("strategy=lecture_early"), network("strategy=lecture_3d")
answers = {name: [first_layer(model, jump(t)) for t in (4, 12)] for name, model in (("early", early), ("3-D", cube))}
print(f"early fusion: the answer changes by {change(*answers['early']):.0%}")
before, after = answers["3-D"]
print(f"3-D convolution: 8 frames later, the answer changes by {change(before[:, 1:11], after[:, 9:19]):.0%}")

figure, axes = plt.subplots(1, 2, figsize=(9, 2.8))
for number, time in enumerate((4, 12)):
    axes[0].bar(
        np.arange(1, 13) + 0.4 * number - 0.2, answers["early"][number][:, 0], 0.4, label=f"jump at frame {time}"
    )
    axes[1].plot(answers["3-D"][number][0], "o-", label=f"jump at frame {time}")
axes[0].set(title="early fusion: one answer per filter", xlabel="filter", xticks=range(1, 13), ylim=(-0.4, 0.5))
axes[1].set(
    title="3-D convolution: filter 1 has an answer at each time", xlabel="frame", xticks=range(0, 20, 2), ylim=(-0.8, 1)
)
axes[0].legend(loc="upper left", ncols=2)
axes[1].legend(loc="upper center", ncols=2)
plt.show()

# %% [markdown]
"""
The 3-D convolution gives the same answer eight frames later: it is *shift invariant* in time. (Exactly: equivariant.
The answer moves along. The mean over time at the network's end then makes it invariant.) Early fusion gives another
answer. It must learn each motion anew for each time.

Does it matter after training? The data set `shift` has jumps early in the training videos and late in the test videos.
There are two classes, so guessing gives 50 %. These are the records in `results/reference`:
"""

# %%
sections = tables(read_records(ROOT / "results" / "reference")[0], [])
for row in (row for section in sections for row in section.csv if "shift/within_hit1" in row):
    print(f"{row['strategy']:14} training {row['train/clip_hit1']:4.0%}   test {row['test/video_hit1']:4.0%}")

# %% [markdown]
"""
**Think.** The toy's pooling takes 4 frames to one. Move the jump by 4 frames, and all of its layers move along. What
happens if you move it by 2?
"""

# %% [markdown]
"""
## 5. Optical flow

*Optical flow* says for each pixel how far it moves from one frame to the next: x and y, in pixels. It is computed from
two neighbouring frames, by a method without learning. (Here it is DIS, which takes about a millisecond a frame.)
"""

# %%
estimate = FlowEstimator(FlowConfig())
turning = video("motion", "MotionClockwise", group=3, size=128)
fields = [estimate(frame) for frame in turning[:11]][1:]  # the first frame has none before it
fastest = np.linalg.norm(fields[0], axis=2).max()
print(f"{len(fields)} fields of {fields[0].shape}; the fastest pixel moves by {fastest:.1f} pixels")

corner = np.s_[48:, :80]  # where the shape is
figure, axes = plt.subplots(1, 4, figsize=(7.6, 2.2))
axes[0].imshow(turning[0][corner])
axes[0].set_title("frame 0")
axes[1].imshow(turning[1][corner])
axes[1].set_title("frame 1")
y, x = np.mgrid[2:80:4, 2:80:4]
axes[2].imshow(turning[0][corner], alpha=0.4)
axes[2].quiver(x, y, *fields[0][corner][y, x].T.swapaxes(1, 2), angles="xy", scale_units="xy", scale=0.25, width=0.01)
axes[2].set_title("flow (arrows x 4)")
axes[3].imshow(fields[0][corner][..., 0], cmap="RdBu", vmin=-2, vmax=2)
axes[3].set_title("x: blue is right, red left")
for axis in axes:
    axis.set(xticks=[], yticks=[])
plt.show()

# %% [markdown]
"""
The shape turns clockwise. Its upper part moves right, and its lower part moves left. The flow shows it without any
training. The shape's colour and texture are gone.

**Think.** The whole image moves when the camera pans. What does that do to the flow? What would you subtract?
"""

# %% [markdown]
"""
## 6. Two streams

Two-stream networks split the work. The *spatial* stream sees one frame. The *temporal* stream sees a stack of L flow
fields, taken as one image of 2L channels. Each has its own loss. The answer is the mean of their probabilities.

Motion is the *input* of the temporal stream. So it needs no convolution over time. A field's mean is subtracted from
it, so that a pan of the camera counts less.
"""

# %%
model = network("strategy=two_stream", "sampling.resize=[128,128]", "sampling.crop=128", classes=6)
flow = np.stack(fields)  # (10, 128, 128, 2)
batch = {
    "rgb": turning[None, :1],
    "flow": quantise(flow, bound=model.clip.flow_bound)[None],
    "flow_mean": flow.mean((1, 2))[None],
}
with torch.no_grad():
    inputs = model.inputs({name: torch.tensor(values) for name, values in batch.items()})
    scores = model.probabilities(model(**inputs))
print({name: tuple(values.shape) for name, values in inputs.items()})
print("untrained probabilities of the spatial stream, the temporal stream, and their mean:")
print(scores[0].numpy().round(2))

table = {row["strategy"]: row for row in max((section.csv for section in sections), key=len)}
FAMILIES = ("appearance", "motion", "fine", "order")


def bars(axis: plt.Axes, names: list[str], families: tuple[str, ...] = FAMILIES) -> None:
    """Draw Hit@1 within families of classes, of some rows of the reference table."""
    for number, name in enumerate(names):
        place = np.arange(len(families)) + 0.8 / len(names) * (number - (len(names) - 1) / 2)
        heights = [100 * table[name][f"{family}/within_hit1"] for family in families]
        axis.bar(place, heights, 0.75 / len(names), label=name)
    for place, family in enumerate(families):
        axis.hlines(100 * table["chance"][f"{family}/within_hit1"], place - 0.45, place + 0.45, "k", "--")
    axis.set(xticks=range(len(families)), xticklabels=families, ylabel="Hit@1 (%)", ylim=(0, 105))
    axis.legend(loc="upper left", bbox_to_anchor=(1, 1), title="dashed: chance")


figure, axis = plt.subplots(figsize=(9, 2.6))
bars(axis, ["two_stream_spatial", "two_stream_temporal", "two_stream"])
plt.show()

# %% [markdown]
"""
The bars are from `results/reference`. The test videos have four families of classes. In *appearance* the shape is the
class. In *motion* and *fine* the way it moves is the class. In *order* two motions come one after the other, and the
class is which one comes first. The two streams know different things, and the mean knows both.

**Think.** Both streams fail at *order*. The temporal stream sees 10 fields. Would 20 fields help?
"""

# %% [markdown]
"""
## 7. What a recurrent network adds

Look at *order*. In one pair of its classes, a shape moves left, rests, and moves right, or the other way round. A short
clip sees *left*, *rest* or *right*. A video's score is the mean over its clips, and a mean does not know which clip
came first.

A recurrent network reads windows of the video in their order, and remembers. Here a mean and an LSTM get the features
of six windows, in their order and in the opposite order. Features and weights are random: only the wiring matters.
"""

# %%
ordered = {name: video("order", name, group=5) for name in ("OrderLeftThenRight", "OrderRightThenLeft")}
windows = torch.randn(6, 48)  # they stand for what a network has seen in six windows
reader = network("strategy=conv3d_lstm").lstm
for name, way in {"mean": lambda seen: seen.mean(0), "LSTM": lambda seen: reader(seen[None])[0][0, -1]}.items():
    forward, backward = way(windows), way(windows.flip(0))
    print(f"{name}: in the opposite order the outcome changes by {change(forward, backward):.0%}")

figure, axes = plt.subplots(1, 3, figsize=(8.5, 2.6), width_ratios=[1, 1, 2.5])
for axis, (name, frames) in zip(axes, ordered.items(), strict=False):
    axis.imshow(frames[:, frames.sum((0, 2, 3), dtype=int).argmax()], aspect="auto")
    axis.set(title=name, xlabel="x (pixels)", ylabel="frame")
bars(axes[2], ["slow_fusion", "cnn_lstm_rgb", "cnn_lstm_flow", "conv3d_lstm"], ("motion", "order"))
plt.show()

# %% [markdown]
"""
The slices of x and time show the two motions one after the other. (The shape has a twin half the picture's width away,
so that its place does not tell what it has done.) An LSTM on flow, or on short windows, knows the order. An LSTM on
single frames (`cnn_lstm_rgb`) guesses. Its features show places, and the places are alike in both classes.

**Think.** Why does `slow_fusion` know *motion* and not *order*, although both are about time?
"""

# %% [markdown]
"""
## 8. Train two networks

Now train. The six classes of *motion* are one shape that moves left, right, up or down, or turns one way or the other.
One network sees a single frame, the other one 10 frames by early fusion. Both are small, and there are 300 videos.
"""


# %%
SMALL = [f"data.root={FOLDER}/data", f"data.stores={FOLDER}/stores", "data.families=[motion]", "data.clips.motion=2"]
SMALL += ["data.size=32", "data.frames=24", "training.warmup=10", "sampling.test_clips=2", "training.steps=120"]
QUIET = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
QUIET |= {"enable_model_summary": False, "limit_val_batches": 0, "use_distributed_sampler": False}


class Losses(lightning.Callback):
    """Keeps the loss of each step."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def on_train_batch_end(self, trainer: object, model: object, outputs: dict, *_: object) -> None:
        """Keep one."""
        self.values.append(float(outputs["loss"]))


def video_hit1(model: VideoClassifier) -> float:
    """The share of test videos whose best class is right, after a test."""
    votes = model.test_votes.videos()
    return float(hits_at_k(votes.scores[:, -1], votes.target, 1).float().mean())


models, hits, losses = {}, {}, {}
for strategy in ("single_frame", "early_fusion"):
    run = compose([f"strategy={strategy}", *SMALL])
    data = make_data(run)
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):  # its progress
        data.prepare_data()  # makes the videos and decodes each once
    data.setup()
    model = models[strategy] = make_model(run, data.lists.classes)
    losses[strategy] = Losses()
    trainer = lightning.Trainer(max_steps=run.training.steps, callbacks=[losses[strategy]], **QUIET)
    trainer.fit(model, data)
    trainer.test(model, data, verbose=False)
    hits[strategy] = video_hit1(model)
    print(f"{strategy}: Video Hit@1 {hits[strategy]:.0%}, guessing: {1 / len(data.lists.classes):.0%}")

figure, axes = plt.subplots(1, 2, figsize=(8, 2.4), width_ratios=[2, 1])
for name, kept in losses.items():
    axes[0].plot(kept.values, label=name)
axes[0].axhline(math.log(6), color="k", linestyle="--", label="guessing: ln 6")
axes[0].set(title="training", xlabel="step", ylabel="cross-entropy")
axes[0].legend()
axes[1].bar(list(hits), [100 * value for value in hits.values()], color=["C0", "C1"])
axes[1].axhline(100 / 6, color="k", linestyle="--")
axes[1].set(title="test: Video Hit@1 (%)", ylim=(0, 100))
plt.show()

# %% [markdown]
"""
The single frame guesses on the test videos: each frame is equally likely in each class. Its training loss falls a
little all the same, because it learns the training videos by heart. That is *overfitting*. Ten frames are enough to
tell the motions.

**Think.** Section 4 says that early fusion knows no motion at another time. Why does it work here all the same?
"""

# %% [markdown]
"""
## 9. Does it use time?

A network that is good on videos need not use time. Ask it: play the test clips otherwise, and change nothing else.
Backwards, *left* becomes *right*. Shuffled, the frames are the same and their order is lost. Frozen, one frame stands
still.
"""

# %%
model, figure = models["early_fusion"], plt.figure(figsize=(9, 2.9))
SIGNS = {"Left": "←", "Right": "→", "Up": "↑", "Down": "↓", "Clockwise": "↻", "CounterClockwise": "↺"}
names = [SIGNS[name.removeprefix("Motion")] for name in data.lists.classes]
for number, time in enumerate(("forward", "reversed", "shuffled", "frozen"), start=1):
    data = make_data(compose(["strategy=early_fusion", *SMALL, f"sampling.test_time={time}"]))
    data.prepare_data()
    data.setup()
    lightning.Trainer(**QUIET).test(model, data, verbose=False)
    votes, hit = model.test_votes.videos(), video_hit1(model)
    print(f"{time}: Video Hit@1 {hit:.0%}")
    axis = figure.add_subplot(1, 4, number)
    axis.imshow(confusion_matrix(votes.scores[:, -1].numpy(), votes.target.numpy()), cmap="Blues")
    axis.set(title=f"{time}: {hit:.0%}", xticks=range(6), yticks=range(6), xlabel="answer", ylabel="true class")
    axis.set(xticklabels=names, yticklabels=names)
    axis.tick_params(labelsize=13)
plt.show()

# %% [markdown]
"""
Each row is a true class, each column an answer, and dark cells hold many videos. Played backwards, *left* is answered
with *right*, *up* with *down*, and one way round with the other. The network has learnt motion. (Shuffled clips
still have some pairs of frames in their order.)

The same question to any trained network: `python experiments/run.py --test CHECKPOINT --time reversed`.

**Think.** What would a single-frame network say to reversed clips? And what if its accuracy does not change at all on
*your* data?
"""

# %% [markdown]
"""
## 10. The table

All networks, trained longer and on all four families. The numbers are Hit@1 within a family of classes, in percent,
from `results/reference`.
"""

# %%
names = list(table)
values = np.array([[100 * table[name][f"{family}/within_hit1"] for family in FAMILIES] for name in names])
figure, axis = plt.subplots(figsize=(5.5, 4.2))
axis.imshow(values, cmap="Blues", vmin=0, vmax=160, aspect="auto")
for (place, column), value in np.ndenumerate(values):
    axis.text(column, place, f"{value:.0f}", ha="center", va="center")
axis.set(xticks=range(4), xticklabels=FAMILIES, yticks=range(len(names)), yticklabels=names)
plt.show()

# %% [markdown]
"""
- **appearance**: one frame is enough. More frames do not help.
- **motion**: a network must see more than one frame, or flow.
- **fine**: the frames must be neighbours. After 15 frames the shape is where it was. Flow shows best how it moves.
- **order**: a network must see the whole video in its order.

Which fusion is best? That depends on what the classes ask for. On many real data sets, appearance tells most of the
classes. Then one frame is hard to beat.

**Think.** Take a data set of your own. In which family are its classes? How would you find out with these networks?

Go on with `python experiments/run.py --sweep fusion`, the README, and one strategy on one page:
`vidfusion/strategies/slow_fusion.py`.
"""

# %%
PLACE.cleanup()
