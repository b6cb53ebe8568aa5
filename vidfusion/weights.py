"""Pre-trained weights in (`model.weights=PATH`): finds out a file's layout, maps it onto a network and loads it.

Layouts: `vidfusion`, a state dict of the same network or a run's `last.ckpt`; and PORTS, the public PyTorch ports of
the C3D that was trained on Sports-1M. These hold one network (Tran et al. 2015, figure 3), but each was trained on an
input of its own, which the network must be given again:

- The original, in Caffe: BGR pixels 0-255 less a mean volume (3x16x128x171), and last 7x7 maps pooled in the windows
  {0,1} {2,3} {4,5} {6}. The released file was trained on I380K, then on Sports-1M (facebookarchive/C3D, issue 84).
- `c3d-pytorch` (DavideA/c3d-pytorch, `C3D_model.py`) is that file, by way of Keras (its issue 2), with padding before
  the last pool: windows {0} {1,2} {3,4} {5,6}. Its `predict.py` feeds RGB less nothing and was tested by eye only;
  Caffe's weights need BGR less the mean (its issues 1 and 4). A volume is no setting of ours: here it is the volume's
  mean per channel (issue 1). Caffe's windows, `ceil`, suit these weights too.
- `mmaction2` (open-mmlab/mmaction2, `backbones/c3d.py`, `configs/_base_/models/c3d_sports1m_pretrained.py`) pads alike.
  It was fine-tuned on UCF101 in RGB less 104, 117 and 128 in this order, which is not Caffe's input.
- `mmaction2-backbone` is the Sports-1M file that this fine-tuning began with: the same input, no softmax layer.

All read 16 consecutive frames, resized to 128x171 and cropped to 112x112.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from vidfusion.classifier import VideoClassifier
from vidfusion.nets.blocks import Classifier

SHOWN = 10  # keys of each kind that a message lists


@dataclass(frozen=True)
class Port:
    """A public port of C3D.

    `layers` names, in the network's order, of its convolutions and of fc6 and fc7; `head` that of its softmax layer, if
    it has one. `pool5` the settings that suit its weights, the port's own first; `channel_order`, and `mean` and `std`
    in that order, for pixels 0-255.
    """

    layers: tuple[str, ...]
    head: str
    pool5: tuple[str, ...]
    channel_order: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def names(self, model: VideoClassifier) -> dict[str, str]:
        """The keys of our state dict by the file's, as far as `model` has such layers."""
        heads, ours = softmax_layers(model), model.state_dict().keys()
        layers = [name for name, layer in model.named_modules() if isinstance(layer, nn.Conv3d | nn.Linear)]
        pairs = [*zip(self.layers, [name for name in layers if name not in heads], strict=False)]
        pairs += [(self.head, heads[0])] if self.head else []
        names = {f"{theirs}.{kind}": f"{name}.{kind}" for theirs, name in pairs for kind in ("weight", "bias")}
        return {theirs: name for theirs, name in names.items() if name in ours}

    def missing_words(self, model: VideoClassifier) -> list[str]:
        """What to add to the command so that `model` gets the input that the weights were trained on."""
        pool5 = getattr(model.config, "pool5", None)
        mean, std = (x if isinstance(x, Sequence) else (x,) * 3 for x in (model.net.mean, model.net.std))
        words = [f"model.pool5={self.pool5[0]}"] if pool5 not in self.pool5 else []
        words += [f"model.channel_order={self.channel_order}"] * (self.channel_order != model.config.channel_order)
        for name, found, wanted in (("mean", mean, self.mean), ("std", std, self.std)):
            words += [f"model.{name}=[{','.join(f'{x:g}' for x in wanted)}]"] if tuple(found) != wanted else []
        return words


_LAYERS = ("conv1a", "conv2a", "conv3a", "conv3b", "conv4a", "conv4b", "conv5a", "conv5b", "fc6", "fc7")
_BACKBONE = Port(
    layers=tuple(f"{name}.conv" if name.startswith("conv") else name for name in _LAYERS),
    head="",
    pool5=("padded",),
    channel_order="rgb",
    mean=(104.0, 117.0, 128.0),
)
PORTS = {
    "c3d-pytorch": Port(
        layers=("conv1", "conv2", *_LAYERS[2:]),
        head="fc8",
        pool5=("padded", "ceil"),
        channel_order="bgr",
        mean=(90.25, 97.66, 101.41),
    ),
    "mmaction2": replace(
        _BACKBONE, layers=tuple(f"backbone.{name}" for name in _BACKBONE.layers), head="cls_head.fc_cls"
    ),
    "mmaction2-backbone": _BACKBONE,
}


@dataclass(frozen=True)
class WeightsReport:
    """What was loaded, as plain data for a run's record.

    layout:        `vidfusion` or one of PORTS
    loaded:        number of tensors loaded
    new_head:      tensors of softmax layers that stay as initialised, since the file has none for these classes
    other_streams: streams that stay as initialised, since the file holds another one only
    """

    layout: str
    loaded: int
    new_head: list[str] = field(default_factory=list)
    other_streams: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        parts = [f"{self.layout} layout, {self.loaded} tensors loaded"]
        parts += [f"new head ({', '.join(self.new_head)})"] if self.new_head else []
        parts += [f"{stream} stream as initialised" for stream in self.other_streams]
        return "; ".join(parts)


def softmax_layers(model: VideoClassifier) -> list[str]:
    """Names of the layers whose outputs are the classes, one in each stream."""
    return [name for name, layer in model.named_modules() if isinstance(layer, Classifier)]


def load_weights(model: VideoClassifier, path: Path) -> WeightsReport:
    """Loads the weights in a file into `model` and says what it did.

    A softmax layer is loaded if its shape fits and, where both are known, its classes are the same in the same order;
    otherwise it stays as initialised. So does a stream of which the file holds nothing, as when only the spatial
    network was pre-trained (Simonyan & Zisserman 2014, section 5). Everything else must be there and fit.

    Raises ValueError for a file that cannot be read as plain tensors, for any other mismatch, and for a port's weights
    if `model` is not set to their input; nothing is loaded then.
    """
    state, provenance = _read(path)
    # A network of one data set has no use for the classifier of a second one.
    state = {key: tensor for key, tensor in state.items() if hasattr(model, "second") or not key.startswith("second.")}
    layout, names = _layout(model, state, path)
    found = {names[key]: tensor for key, tensor in state.items() if key in names}
    other_streams = [stream for stream in model.streams if not any(name.startswith(f"{stream}.") for name in found)]
    wanted = {name: x for name, x in model.state_dict().items() if name.split(".")[0] not in other_streams}
    new_head = _new_head(model, provenance, wanted, found)
    found, wanted = ({name: x for name, x in some.items() if name not in new_head} for some in (found, wanted))

    start = f"model.weights={path} ({layout} layout)"
    words = PORTS[layout].missing_words(model) if layout in PORTS else _other_input(model, provenance)
    if problems := _problems(state, names, wanted, found):
        remedy = "choose the network that was saved, with the same model.size and sampling"
        if layout in PORTS:
            remedy = f"these are weights of {' '.join(['strategy=c3d model.size=published', *words])}"
        raise ValueError(f"{start} does not fit {type(model).__name__}: {problems}; {remedy}")
    if words:
        raise ValueError(f"{start} needs the input that its weights were trained on: add {' '.join(words)}")
    model.load_state_dict(found, strict=False)
    return WeightsReport(layout, len(found), new_head, other_streams)


def _layout(model: VideoClassifier, state: dict[str, Tensor], path: Path) -> tuple[str, dict[str, str]]:
    """The layout that knows most of a file's keys, and our keys by the file's."""
    layouts = {"vidfusion": {name: name for name in model.state_dict()}}
    layouts |= {name: port.names(model) for name, port in PORTS.items()}
    layout = max(layouts, key=lambda name: len(layouts[name].keys() & state.keys()))
    if not layouts[layout].keys() & state.keys():
        raise ValueError(
            f"model.weights={path}: no known layout has such keys; {_listed('found', list(state))}; known: vidfusion "
            f"(of a {type(model).__name__}), {', '.join(PORTS)}"
        )
    return layout, layouts[layout]


def _new_head(
    model: VideoClassifier, provenance: dict, wanted: dict[str, Tensor], found: dict[str, Tensor]
) -> list[str]:
    """The tensors of softmax layers that are not loaded: of other classes, another shape, or not there."""
    classes = [provenance.get("classes"), model.provenance.get("classes")]
    same = None in classes or classes[0] == classes[1]
    new = []
    for layer in softmax_layers(model):
        tensors = [name for name in wanted if name.rpartition(".")[0] == layer]
        if not (same and all(name in found and found[name].shape == wanted[name].shape for name in tensors)):
            new += tensors
    return new


def _problems(
    state: dict[str, Tensor], names: dict[str, str], wanted: dict[str, Tensor], found: dict[str, Tensor]
) -> str:
    """Tensors that are missing, unexpected or wrongly shaped; "" if all is well. `names`: ours by the file's."""
    keys = {ours: key if key == ours else f"{key} (our {ours})" for key, ours in names.items()}
    missing = [f"{keys.get(name, name)} {list(x.shape)}" for name, x in wanted.items() if name not in found]
    unexpected = [f"{key} {list(x.shape)}" for key, x in state.items() if key not in names]
    wrong = [
        f"{keys[name]} {list(x.shape)} instead of {list(wanted[name].shape)}"
        for name, x in found.items()
        if x.shape != wanted[name].shape
    ]
    lists = {"missing": missing, "unexpected": unexpected, "wrongly shaped": wrong}
    return "; ".join(_listed(kind, items) for kind, items in lists.items() if items)


def _listed(kind: str, items: list[str]) -> str:
    """How many keys of a kind there are, and the first ones."""
    more = f" and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return f"{len(items)} {kind}: {', '.join(items[:SHOWN])}{more}"


def _other_input(model: VideoClassifier, provenance: dict) -> list[str]:
    """What to add to the command so that `model` gets the input that a run's checkpoint was trained on."""
    trained = provenance.get("config", {}).get("model", {})
    given = {name: getattr(model.config, name, None) for name in ("pool5", "channel_order", "mean", "std")}
    return [f"model.{name}={trained[name]}" for name in given if name in trained and trained[name] != given[name]]


def oversized(path: Path) -> str:
    """What a file would need more memory for than its own size, in words; "" if nothing. Reads only its directory."""
    if not zipfile.is_zipfile(path):
        return ""  # the older format, whose parts are read as they are
    try:
        with zipfile.ZipFile(path) as archive:
            declared = sum(part.file_size for part in archive.infolist())
    except (zipfile.BadZipFile, NotImplementedError):
        return ""  # torch.load says what is wrong
    size = path.stat().st_size
    return f"declares {declared:,} bytes in a file of {size:,}" if declared > size else ""


def unfounded(state: dict[str, Tensor]) -> str:
    """The first tensor that is not plain numbers, each stored in the file, in words; "" if there is none."""
    for name, tensor in state.items():
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
            return f"{name!r} is no dense tensor"
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            return f"{name!r} claims {tensor.numel():,} numbers, more than it stores"
    return ""


def _read(path: Path) -> tuple[dict[str, Tensor], dict]:
    """The state dict in a file, and where it comes from if it is a run's checkpoint. Runs no code that it brings."""
    start, expected = f"model.weights={path}", "expected a state dict (tensors by name)"
    if path.is_file() and (found := oversized(path)):
        raise ValueError(f"{start}: {found}; expected a file that torch.save wrote")
    try:
        content = torch.load(path, weights_only=True, map_location="cpu")
    except OSError as error:
        raise ValueError(f"{start}: cannot be read ({error.strerror}); expected a file of weights") from None
    except Exception as error:  # torch.load raises a kind of its own for every way in which a file can be wrong
        asked = re.search(r"GLOBAL ([\w.]+)", str(error))
        raise ValueError(
            f"{start}: not a file of tensors alone{f' (it asks for {asked[1]})' if asked else ''}, or damaged. Nothing "
            "else is opened (weights_only=True), since a pickle can run any code while it is read. If you trust where "
            "it comes from, save its state dict to a file of its own and give that"
        ) from None
    state = content.get("state_dict", content) if isinstance(content, dict) else content
    if not isinstance(state, dict) or not state:
        raise ValueError(f"{start}: holds {'no tensor' if state == {} else type(state).__name__}, {expected}")
    for name, value in state.items():
        if not (isinstance(name, str) and isinstance(value, Tensor)):
            raise ValueError(
                f"{start}: {name!r} in it is {type(value).__name__}, {expected}, or one under 'state_dict'"
            )
    if found := unfounded(state):
        raise ValueError(f"{start}: {found}; {expected}")
    match content:
        case {"vidfusion": {"provenance": dict(provenance)}}:
            return state, provenance
    return state, {}
