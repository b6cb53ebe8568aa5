"""`key=value` words: how every command reads its settings."""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
import types
from collections.abc import Iterable, Sequence
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

PATHS = ("results", "root", "stores", "lists", "manifest", "weights")  # last parts of the keys that name files

BOOLEANS = ("true", "false", "yes", "no", "on", "off", "1", "0")

T = TypeVar("T")


def names_file(key: str) -> bool:
    """Whether the setting of a dotted key is a file or folder."""
    return key.rpartition(".")[2] in PATHS


def parse(words: Iterable[str]) -> dict[str, str]:
    """`key=value` words as a dict. Of equal keys the last one counts. Raises ValueError for any other word."""
    pairs = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key or key.startswith("-"):
            raise ValueError(f"{word!r}: expected key=value, such as strategy=c3d or training.steps=500")
        if "${" in value or value == "???":
            raise ValueError(f"{word}: expected the value itself; ${{...}} and ??? stand for others")
        pairs[key] = value
    return pairs


def read_words(settings: T, words: Iterable[str]) -> T:
    """A copy of the dataclass `settings` that has the values of `words`. Raises ValueError for a wrong key or value."""
    config = OmegaConf.structured(settings)
    for key, word in parse(words).items():
        set_word(config, settings, key, word)
    return to_dataclass(config)


def take_words(settings: T, words: Iterable[str]) -> tuple[T, list[str]]:
    """`settings` with the values of the words that name one of its fields, and the other words."""
    pairs = parse(words)
    own = [field.name for field in dataclasses.fields(settings)]
    taken, others = [], []
    for key, value in pairs.items():
        if key not in own and difflib.get_close_matches(key, own, cutoff=0.8):
            raise ValueError(f"{key}: no such setting. {did_you_mean(key, own)}")
        (taken if key in own else others).append(f"{key}={value}")
    return read_words(settings, taken), others


def set_word(config: DictConfig, settings: Any, key: str, word: str) -> None:
    """Set what a dotted key names in `config`, which is `settings` as OmegaConf has it. Raises ValueError."""
    kind = type_of(settings, key)
    try:
        OmegaConf.update(config, key, value_of(kind, key, word))
    except (OmegaConfBaseException, yaml.YAMLError):
        raise ValueError(f"{key}={word}: expected {_expected(kind)}") from None


def to_dataclass(config: DictConfig) -> Any:
    """The dataclass of a configuration. Raises ValueError where a value is missing or makes no sense."""
    try:
        return OmegaConf.to_object(config)
    except OmegaConfBaseException as error:
        raise ValueError(str(error).splitlines()[0]) from None


def type_of(settings: Any, key: str) -> Any:
    """The type of the field that a dotted key names, below a dataclass. Raises ValueError where there is none."""
    parts = key.split(".")
    node, kind = settings, type(settings)
    for depth, part in enumerate(parts):
        above = "".join(f"{name}." for name in parts[:depth])
        if isinstance(node, dict):  # any key will do, such as a family of classes
            return get_args(kind)[1]
        if not dataclasses.is_dataclass(node):
            raise ValueError(f"{key}: {above[:-1]} is a single value")
        known = [field.name for field in dataclasses.fields(node)]
        if part not in known:
            names = [f"{above}{name}" for name in known]
            raise ValueError(f"{key}: no such setting. {did_you_mean(above + part, names)}")
        node, kind = getattr(node, part), get_type_hints(type(node))[part]
    if dataclasses.is_dataclass(node):
        raise ValueError(f"{key}: a group of settings; give them one by one, such as {key}.{next(iter(vars(node)))}=")
    return kind


def value_of(kind: Any, key: str, word: str) -> Any:
    """What a word means to a field of a type, but for numbers, which OmegaConf reads. Raises yaml.YAMLError.

    Text is taken as it stands; only lists and dicts are read as YAML. `null` unsets an optional field. In a path, `~`
    is the user's home folder.
    """
    kinds = _kinds(kind)
    if word == "null" and type(None) in kinds:
        return None
    if names_file(key):
        if not word:
            raise ValueError(f"{key}=: expected a file or folder")
        return os.path.expanduser(word)
    if bool in kinds and word.lower() not in BOOLEANS:
        raise ValueError(f"{key}={word}: expected true or false")
    if int in kinds and str in kinds:  # such as a number of clips, or `all`
        return int(word) if re.fullmatch(r"-?[0-9]+", word) else word
    if kind is Any or any(get_origin(kind) in (list, dict) for kind in kinds):
        return yaml.load(word, yaml.SafeLoader if kind is Any else yaml.BaseLoader)
    return word


def _kinds(kind: Any) -> tuple[Any, ...]:
    """The types that a field can have: several for `int | None`."""
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)


def _expected(kind: Any) -> str:
    """A field's type in words."""
    words = {
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        list: "a list such as [a,b]",
        type(None): "null",
    }
    named = [
        f"one of {list(get_args(one))}" if get_origin(one) is Literal else words.get(get_origin(one) or one)
        for one in _kinds(kind)
    ]
    return " or ".join(filter(None, named)) or "another value"


def spelt(value: Any, word: str) -> str:
    """The one spelling of a value that `word` gave: 0.001 of 1e-3, [a,b] of ['a', 'b']. Text stays as it was."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(value)
    return list_word(value) if OmegaConf.is_list(value) else word


def list_word(values: Iterable[Any]) -> str:
    """The word of a list: [a,b], with quotes around what YAML would else read otherwise."""
    texts = map(str, values)
    quoted = (
        text if re.fullmatch(r"-?\w[\w.+-]*", text) else yaml.safe_dump(text, default_style='"', width=10**9).strip()
        for text in texts
    )
    return f"[{','.join(quoted)}]"


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """The closest known names as a question, or all of them."""
    close = difflib.get_close_matches(name, known, n=2)
    return f"Did you mean {' or '.join(close)}?" if close else f"Known: {', '.join(known)}"
