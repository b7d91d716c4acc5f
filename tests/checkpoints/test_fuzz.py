"""Files damaged at random: each is read, or refused with an error of ours; nothing else may come out of a reader.

`pytest -m long tests/checkpoints/test_fuzz.py` tries many more of them.
"""

import contextlib
import copy
import io
import json
import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from openai_layout import openai_model, save_archive
from test_big_vision import arrays
from tokenizers.implementations import BertWordPieceTokenizer
from twins import bundle, renames, twin

from diptych.checkpoints.bundle import Bundle, build, read
from diptych.checkpoints.writing import FormatName, write
from diptych.encoder.clip import Clip
from diptych.errors import DiptychError
from diptych.models.clip import create_model
from diptych.specs import ModelSpec
from diptych.text.pretrained import AnyTokenizer, PretrainedTokenizer
from diptych.text.tokenizer import Tokenizer
from diptych.zoo import MODELS
from tests.models.twins import twin as small_twin
from tests.text.test_pretrained import WORDS, unigram

CAPTIONS = ["a cat on a mat", "two dogs", "a photo of a red bus"] * 4


class Edit(NamedTuple):
    """Bytes put in place of others, ``back`` from the end or ``front`` from the beginning, where the structure is."""

    front: bool
    at: int
    removed: int
    inserted: bytes


EDITS = st.lists(
    st.builds(
        Edit,
        st.booleans(),
        st.integers(0, 4096) | st.integers(0, 64),
        st.integers(0, 8) | st.just(1 << 30),
        st.binary(max_size=8) | st.sampled_from([b"\xff" * 8, bytes(8), b"(" * 500, b"[" * 500, b'{"a":' * 500]),
    ),
    min_size=1,
    max_size=4,
)
LEAVES = st.one_of(
    *(st.none(), st.booleans(), st.floats(), st.text(max_size=8), st.integers(-2, 70)),
    st.sampled_from(
        [2**31, 2**63, -(2**63), 10**30, 1e308, [], {}, [[]], [1], {"kind": "x"}, "gelu", "siglip", "bert"]
    ),
)
CHANGES = st.lists(
    st.tuples(st.integers(0, 10_000), st.sampled_from(["set", "drop", "swap"]), LEAVES), min_size=1, max_size=3
)


def damaged(content: bytes, edits: list[Edit]) -> bytes:
    for edit in edits:
        at = min(edit.at, len(content)) if edit.front else max(0, len(content) - edit.at)
        content = content[:at] + edit.inserted + content[at + edit.removed :]
    return content


def changed(value: Any, changes: list[tuple[int, str, Any]]) -> Any:
    """JSON in which some values are others, are gone, or have changed places with another."""
    for number, kind, leaf in changes:
        places = list(_places(value))
        if not places:
            return leaf
        parent, key = places[number % len(places)]
        if kind == "set":
            parent[key] = copy.deepcopy(leaf)  # later changes may be made to it
        elif kind == "drop":
            del parent[key]
        else:
            other, there = places[(number * 7 + 1) % len(places)]
            parent[key], other[there] = json.loads(json.dumps([other[there], parent[key]]))
    return value


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from _places(value[key])


def repacked(content: bytes, member: str, edits: list[Edit]) -> bytes:
    """The archive with one member damaged and every checksum right, so that the damage is reached."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w") as new:
        for name in old.namelist():
            whole = old.read(name)
            new.writestr(name, damaged(whole, edits) if name.endswith(member) else whole)
    return buffer.getvalue()


def _folder(format: FormatName, spec: ModelSpec, tokenizer: AnyTokenizer) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        sized = spec.with_vocabulary(tokenizer.vocabulary_size, tokenizer.context_length, tokenizer=tokenizer.family)
        write(Bundle(sized, create_model(sized, seed=0).state_dict(), tokenizer), path, format=format)

    return make


def _byte_pair() -> Tokenizer:
    return Tokenizer.train(CAPTIONS, vocabulary_size=530, context_length=16)


def _sentence_piece() -> PretrainedTokenizer:
    return PretrainedTokenizer(unigram(), family="sentence_piece", context_length=64)


def _word_piece() -> PretrainedTokenizer:
    words = BertWordPieceTokenizer({token: i for i, token in enumerate(WORDS)}, lowercase=True)
    return PretrainedTokenizer(words.to_str(), family="word_piece", context_length=16)


def _state_dict(*, zipped: bool) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        names = renames(BUNDLE.spec)
        content = {"epoch": 3, "state_dict": {f"module.{names[name]}": t for name, t in BUNDLE.weights.items()}}
        torch.save(content, path, _use_new_zipfile_serialization=zipped)

    return make


BUNDLE = bundle("ViT-B/32")
SIGLIP = small_twin(MODELS["ViT-B/16-SigLIP"])
CHINESE = small_twin(MODELS["Chinese-CLIP-ViT-B/16"])
FOLDERS = {
    "diptych": _folder("diptych", twin("RN50"), _byte_pair()),
    "open_clip": _folder("open_clip", twin("ViT-B/32"), _byte_pair()),
    "transformers_clip": _folder("huggingface", twin("ViT-B/32"), _byte_pair()),
    "transformers_siglip": _folder("huggingface", SIGLIP, _sentence_piece()),
    "transformers_chinese": _folder("huggingface", CHINESE, _word_piece()),
}
FILES = {
    "state_dict.pt": _state_dict(zipped=True),
    "old_state_dict.pt": _state_dict(zipped=False),
    "archive.pt": lambda path: save_archive(openai_model(BUNDLE.spec, BUNDLE.weights), path),
    "arrays.npz": lambda path: np.savez(path, **arrays()[1]),
}
ZIPPED = {"state_dict.pt": "data.pkl", "archive.pt": "data.pkl", "arrays.npz": "embedding.npy"}
IMAGE = np.zeros((40, 50, 3), np.uint8)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of each, all of which are read as they are."""
    folder = tmp_path_factory.mktemp("sound")
    for name, make in (FOLDERS | FILES).items():
        make(folder / name)
        use(folder / name)
    return folder


def use(path: Path) -> None:
    """What people do with a model."""
    whole = read(path, activation=None if path.is_dir() else "gelu_tanh" if path.suffix == ".npz" else "quick_gelu")
    clip = Clip(build(whole), whole.tokenizer)
    clip.encode_images([IMAGE])
    if whole.tokenizer is not None:
        clip.encode_texts(["a cat on a mat", ""])


@contextlib.contextmanager
def copied(sound: Path, name: str) -> Iterator[Path]:
    """What may be damaged, at a path that no earlier one had: weights are mapped, and a map sees its file change."""
    with tempfile.TemporaryDirectory(dir=sound.parent) as folder:
        path = Path(folder) / name
        shutil.copytree(sound / name, path) if (sound / name).is_dir() else shutil.copy(sound / name, path)
        yield path


def survives(path: Path) -> None:
    """Read or refused, in either case without a warning."""
    with warnings.catch_warnings(), contextlib.suppress(DiptychError):
        warnings.simplefilter("error")
        use(path)


def fuzz(examples: int, *strategies: st.SearchStrategy[Any]) -> Callable[[Callable[..., None]], Callable[[], None]]:
    """Calls a check with this many draws: few ones are the same at every run, many are others."""
    few = examples < 1000
    chosen = settings(max_examples=examples, deadline=None, database=None, derandomize=few)
    return lambda check: chosen(given(*strategies)(check))


often = pytest.mark.parametrize("examples", [25, pytest.param(5000, marks=pytest.mark.long)])


@often
@pytest.mark.parametrize("name", [*FOLDERS, *FILES])
def test_damaged_bytes(sound: Path, name: str, examples: int) -> None:
    @fuzz(examples, st.integers(0, 20), EDITS)
    def check(which: int, edits: list[Edit]) -> None:
        with copied(sound, name) as path:
            files = sorted(path.iterdir()) if path.is_dir() else [path]
            file = files[which % len(files)]
            file.write_bytes(damaged(file.read_bytes(), edits))
            survives(path)

    check()


@often
@pytest.mark.parametrize("name", FOLDERS)
def test_damaged_json(sound: Path, name: str, examples: int) -> None:
    @fuzz(examples, st.integers(0, 20), CHANGES)
    def check(which: int, changes: list[tuple[int, str, Any]]) -> None:
        with copied(sound, name) as path:
            files = sorted(path.glob("*.json"))
            file = files[which % len(files)]
            file.write_text(
                json.dumps(changed(json.loads(file.read_text(encoding="utf-8")), changes)), encoding="utf-8"
            )
            survives(path)

    check()


@often
@pytest.mark.parametrize("name", ZIPPED)
def test_damaged_members_of_sound_archives(sound: Path, name: str, examples: int) -> None:
    @fuzz(examples, EDITS)
    def check(edits: list[Edit]) -> None:
        with copied(sound, name) as path:
            path.write_bytes(repacked(path.read_bytes(), ZIPPED[name], edits))
            survives(path)

    check()
