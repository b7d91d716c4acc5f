"""SentencePiece models by their own library: the ids of Transformers' SigLIP tokenizer, and bundles that hold them."""

from pathlib import Path

import pytest

from diptych.checkpoints.bundle import Bundle, read
from diptych.checkpoints.writing import write
from diptych.errors import TokenizerError
from diptych.models.clip import create_model
from diptych.text.pretrained import PretrainedTokenizer
from diptych.zoo import MODELS
from tests.models.twins import twin

sentencepiece = pytest.importorskip("sentencepiece")
transformers = pytest.importorskip("transformers")
pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]

# Without underscores: SigLIP's own code and OpenCLIP read them as spaces, as we do, Transformers drops them.
TEXTS = [
    "A photo of a cat!",
    "two Dogs, and a cat's café",
    "",
    "  spaces   here ",
    "AT&T's -- 42%",
    "日本 123",
    "x" * 90,
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pieces")
    (folder / "texts.txt").write_text(
        "\n".join(
            ["a photo of a cat", "two dogs and a café", "spaces of kinds 123", "big jumping fox", "quick lazy vowels"]
            * 30
        )
    )
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "texts.txt"),
        model_prefix=str(folder / "spiece"),
        vocab_size=36,
        character_coverage=1.0,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        pad_piece="<pad>",
        minloglevel=2,
    )
    return folder / "spiece.model"


def test_ids_are_those_of_transformers(model: Path) -> None:
    ours = PretrainedTokenizer.from_files(model, family="sentence_piece", context_length=64)
    theirs = transformers.SiglipTokenizer(vocab_file=str(model), unk_token="<unk>", pad_token="<pad>", eos_token="</s>")
    assert ours.vocabulary_size == 36
    assert (ours.pad_id, ours.end_id) == (0, 1)
    for text in TEXTS:
        assert ours.encode(text) == theirs(text)["input_ids"], text
    assert ours.decode(ours.encode("Two dogs!")) == "two dogs"


def test_a_bundle_brings_it(model: Path, tmp_path: Path) -> None:
    tokenizer = PretrainedTokenizer.from_files(model.parent, family="sentence_piece", context_length=64)
    spec = twin(MODELS["ViT-B/16-SigLIP"]).with_vocabulary(36, 64, tokenizer="sentence_piece", padding_id=0)
    write(Bundle(spec, create_model(spec, seed=0).state_dict(), tokenizer), tmp_path / "a")
    again = read(tmp_path / "a").tokenizer
    assert again == tokenizer
    assert again.encode(TEXTS[1]) == tokenizer.encode(TEXTS[1])


def test_what_is_no_model_is_told() -> None:
    for content in (b"", b"nonsense", b"\x0a\x0e\x0a\x05<unk>"):
        with pytest.raises(TokenizerError):
            PretrainedTokenizer(content, family="sentence_piece", context_length=64)
