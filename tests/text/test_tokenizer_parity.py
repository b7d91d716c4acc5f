"""The files of a bundle, opened by OpenCLIP's own tokenizer class through Transformers."""

import csv
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

from diptych.text.tokenizer import Tokenizer

pytestmark = pytest.mark.parity

# Not here: names of special tokens in a text, which OpenCLIP takes for text.
TEXTS = (
    "",
    "wow! !! hey !",
    "&amp;lt; e&#769; ΟΔΟΣ ΑΣ. Σ",
    "😀👩\u200d👩\u200d👧 ‼ 日本",
    "it&#383;'S I'LL",
    "x " * 200,
)


@pytest.fixture(scope="module")
def open_clip_tokenizer() -> ModuleType:
    """OpenCLIP's module alone: the package imports torchvision, its tokenizer does not."""
    pytest.importorskip("transformers")
    pytest.importorskip("regex")
    found = importlib.util.find_spec("open_clip")
    if found is None or found.origin is None:
        pytest.skip("open_clip is not installed")
    location = importlib.util.spec_from_file_location(
        "open_clip_tokenizer", Path(found.origin).with_name("tokenizer.py")
    )
    assert location is not None
    assert location.loader is not None
    module = importlib.util.module_from_spec(location)
    location.loader.exec_module(module)
    return module


def padded(tokenizer: Tokenizer, texts: list[str]) -> Tensor:
    ids_BL = tokenizer(texts).ids_BL
    return torch.nn.functional.pad(ids_BL, (0, tokenizer.context_length - ids_BL.shape[1]))


def opened(module: ModuleType, tokenizer: Tokenizer, folder: Path) -> object:
    for name, content in tokenizer.files().items():
        (folder / name).write_bytes(content)
    return module.HFTokenizer(str(folder), context_length=tokenizer.context_length)


def test_the_released_vocabulary(open_clip_tokenizer: ModuleType, shared_data: Path, tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_merges(shared_data / "reference" / "bpe_simple_vocab_16e6.txt.gz")
    with (shared_data / "reference" / "token_ids.tsv").open(encoding="utf-8", newline="") as file:
        texts = [*(row[0] for row in csv.reader(file, delimiter="\t")), *TEXTS]
    theirs = opened(open_clip_tokenizer, tokenizer, tmp_path)
    assert torch.equal(theirs(texts), padded(tokenizer, texts))
    assert torch.equal(open_clip_tokenizer.SimpleTokenizer()(texts), padded(tokenizer, texts))
    theirs.save_pretrained(str(tmp_path / "saved"))
    assert Tokenizer.from_files(tmp_path / "saved") == tokenizer


def test_a_trained_vocabulary(open_clip_tokenizer: ModuleType, tmp_path: Path) -> None:
    texts = ["a red cat!", "Hello, wide world! ! It's 12 o'clock", *TEXTS]
    tokenizer = Tokenizer.train(texts * 3, vocabulary_size=560, context_length=24)
    theirs = opened(open_clip_tokenizer, tokenizer, tmp_path)
    assert torch.equal(theirs(texts), padded(tokenizer, texts))
    assert len(theirs.tokenizer) == tokenizer.vocabulary_size
