"""Words are taken as they are given, by every command in the same way."""

import dataclasses
import re
from dataclasses import dataclass, field
from typing import Any, Literal, Optional, Union

import pytest

from experiments.settings.compose import compose
from experiments.settings.words import read_words, take_words


@dataclass
class Inner:
    root: str = "data"


@dataclass
class Settings:
    """A field of every type that settings have."""

    text: str = ""
    name: Optional[str] = None  # noqa: UP045
    mode: Literal["on", "off"] = "off"
    whole: int = 1
    number: float = 1.0
    rate: Optional[float] = None  # noqa: UP045
    flag: bool = False
    clips: Union[int, str] = 10  # noqa: UP007
    texts: list[str] = field(default_factory=list)
    sizes: Optional[list[int]] = None  # noqa: UP045
    counts: dict[str, int] = field(default_factory=lambda: {"a": 1})
    free: dict[str, Any] = field(default_factory=dict)
    inner: Inner = field(default_factory=Inner)


@pytest.mark.parametrize(
    ("word", "value"),
    [
        *((f"text={text}", text) for text in (
            "2024_05_01", "007", "12:30:45", "on", "1e3", "null", "~", "None", "a: b #1", "[a]", "{a}", "'a'", " a ",
            "", "a=b", "- a", "!x", "*a", "true",
        )),
        ("name=null", None), ("name=None", "None"), ("name=007", "007"), ("mode=on", "on"),
        ("whole=010", 10), ("whole=-3", -3), ("number=1e-3", 0.001), ("number=7", 7.0), ("rate=null", None),
        ("flag=true", True), ("flag=False", False), ("clips=all", "all"), ("clips=020", 20),
        ("texts=[motion, order]", ["motion", "order"]), ("texts=['motion', 'order']", ["motion", "order"]),
        ("texts=[007,on,null,'a, b']", ["007", "on", "null", "a, b"]), ("texts=[]", []),
        ("sizes=[128, 171]", [128, 171]), ("sizes=null", None),
        ("counts.a=3", {"a": 3}), ("counts.b=2", {"a": 1, "b": 2}), ("free.seed=1", {"seed": 1}),
        ("inner.root=/x/my data #1", Inner("/x/my data #1")),
    ],
)  # fmt: skip
def test_a_word_means_what_it_says(word, value):
    name = word.partition("=")[0].partition(".")[0]
    assert getattr(read_words(Settings(), [word]), name) == value


def test_a_tilde_is_the_home_folder_in_paths_only(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    read = read_words(Settings(), ["inner.root=~/my videos", "text=~/x"])
    assert (read.inner.root, read.text) == ("/home/me/my videos", "~/x")


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("whole=1:30", "whole=1:30: expected a whole number"),
        ("whole=1.5", "whole=1.5: expected a whole number"),
        ("rate=fast", "rate=fast: expected a number or null"),
        ("flag=maybe", "flag=maybe: expected true or false"),
        ("flag=2", "flag=2: expected true or false"),
        ("mode=On", "mode=On: expected one of ['on', 'off']"),
        ("texts=motion", "texts=motion: expected a list such as [a,b]"),
        ("sizes=[1,", "sizes=[1,: expected a list such as [a,b] or null"),
        ("inner.root=", "inner.root=: expected a file or folder"),
        ("inner=x", "inner: a group of settings; give them one by one, such as inner.root="),
        ("whole.x=1", "whole.x: whole is a single value"),
        ("txet=1", "txet: no such setting. Did you mean text"),
        ("text=${oc.env:HOME}", "text=${oc.env:HOME}: expected the value itself"),
        ("text=???", "text=???: expected the value itself"),
        ("texts=[???]", "texts=[???]: expected a list"),
        ("text", "'text': expected key=value"),
        ("=1", "'=1': expected key=value"),
    ],
)
def test_a_wrong_word_is_named_in_one_line(word, message):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        read_words(Settings(), [word])
    assert "\n" not in str(caught.value)


def test_a_command_takes_its_own_words_and_leaves_the_others():
    own, others = take_words(Settings(), ["whole=4", "whole=5", "training.steps=3", "text=a=b"])
    assert own == dataclasses.replace(Settings(), whole=5, text="a=b") and others == ["training.steps=3"]
    with pytest.raises(ValueError, match=r"whol: no such setting\. Did you mean whole\?"):
        take_words(Settings(), ["whol=5"])


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("training.lr=1e-3", "training.lr=0.001"),
        ("trainer.compile=True", "trainer.compile=true"),  # as Python, and so W&B's agent, writes it
        ("data.families=['motion', 'order']", "data.families=[motion,order]"),
        ("sampling.resize=[40, 40]", "sampling.resize=[40,40]"),
        ("results=~/my results", "results=~/my results"),
    ],
)
def test_a_value_has_one_spelling(written, kept):
    (word,) = compose(["strategy=c3d", written]).overrides
    assert word == kept
