"""SentencePiece vocabularies, in files as those of SigLIP and SigLIP 2 were released: the ids of both peers, padding
included, the embeddings of Transformers, and folders of ours that both open."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import open_clip
import pytest
import tokenizers
import torch
import torch.nn.functional as F
from test_open_clip_parity import TOLERANCE
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors
from torch import Tensor, nn

import diptych
from diptych.checkpoints import open_clip_siglip
from diptych.checkpoints.bundle import Bundle, read
from diptych.checkpoints.convert import convert
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
PLAIN = ["a photo of a cat", "two dogs", "a café", ""]  # what needs no cleaning, which files do not hold


class Generation(NamedTuple):
    """The special pieces of a vocabulary by their ids, and what its released folders pad with."""

    pieces: dict[str, str]
    pad: str
    pad_id: int
    end: str


FIRST = Generation({"pad": "<pad>", "eos": "</s>", "unk": "<unk>"}, "</s>", 1, "</s>")  # T5's layout
SECOND = Generation({"pad": "<pad>", "eos": "<eos>", "bos": "<bos>", "unk": "<unk>"}, "<pad>", 0, "<eos>")  # Gemma's
every_generation = pytest.mark.parametrize("generation", [FIRST, SECOND], ids=["SigLIP", "SigLIP 2"])


def train(folder: Path, generation: Generation) -> Path:
    sentences = ["a photo of a cat", "two dogs and a café", "spaces of kinds 123", "big jumping fox", "lazy vowels"]
    (folder / "texts.txt").write_text("\n".join(sentences * 30))
    ids = {f"{name}_id": i for i, name in enumerate(generation.pieces)}
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "texts.txt"),
        model_prefix=str(folder / "spiece"),
        vocab_size=36,
        character_coverage=1.0,
        minloglevel=2,
        **({"bos_id": -1} | ids),
        **{f"{name}_piece": piece for name, piece in generation.pieces.items()},
    )
    return folder / "spiece.model"


def as_sentence_piece(folder: Path, generation: Generation) -> None:
    """``spiece.model`` and ``tokenizer_config.json``; of SigLIP as its tokenizer's defaults have it."""
    (folder / "pieces").mkdir()
    path = train(folder / "pieces", generation)
    special = {} if generation is FIRST else {"pad_token": "<pad>", "eos_token": "<eos>"}
    transformers.SiglipTokenizer(vocab_file=str(path), **special).save_pretrained(folder)


def as_json(folder: Path, generation: Generation) -> None:
    """``tokenizer.json`` and ``tokenizer_config.json``, as timm's and SigLIP 2's repositories have them."""
    (folder / "pieces").mkdir()
    path = train(folder / "pieces", generation)
    pieces = sentencepiece.SentencePieceProcessor(str(path))
    table = [(pieces.id_to_piece(i), pieces.get_score(i)) for i in range(36)]
    tokenizer = tokenizers.Tokenizer(models.Unigram(table, unk_id=pieces.unk_id()))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {generation.end}", special_tokens=[(generation.end, 1)]
    )
    tokenizer.add_special_tokens(list(generation.pieces.values()))
    tokenizer.save(str(folder / "tokenizer.json"))
    told = {"pad_token": generation.pad, "eos_token": generation.end, "unk_token": "<unk>", "model_max_length": 64}
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **told}))


every_form = pytest.mark.parametrize("form", [as_sentence_piece, as_json])


def released(folder: Path, generation: Generation, form: Any) -> nn.Module:
    """A small SigLIP in a folder as Google's; config.json says 1 of both generations."""
    small = {"hidden_size": 64, "intermediate_size": 100, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.SiglipConfig(
        text_config=small | {"vocab_size": 36, "projection_size": 64, "max_position_embeddings": 64},
        vision_config=small | {"image_size": 32, "patch_size": 16},
    )
    torch.manual_seed(0)
    model = transformers.SiglipModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    form(folder, generation)
    return model


@torch.no_grad()
def embedded(folder: Path) -> Tensor:
    """Texts through Transformers' own tokenizer and model, as they are in the folder."""
    model = transformers.AutoModel.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    ids = tokenizer(PLAIN, padding="max_length", max_length=64, return_tensors="pt")["input_ids"]
    return F.normalize(model.get_text_features(input_ids=ids).pooler_output, dim=1)


def padded(folder: Path) -> Tensor:
    """Our ids as the text tower takes them."""
    bundle = read(folder)
    assert bundle.tokenizer is not None
    tokens = bundle.tokenizer(PLAIN)
    after_BL = torch.arange(64) >= tokens.lengths_B[:, None]
    return F.pad(tokens.ids_BL, (0, 64 - tokens.ids_BL.shape[1])).masked_fill(after_BL, bundle.spec.text.padding_id)


@every_form
@every_generation
def test_transformers_folders_are_padded_as_there_and_ours_open_there(
    generation: Generation, form: Any, tmp_path: Path
) -> None:
    released(tmp_path / "theirs", generation, form)
    theirs = embedded(tmp_path / "theirs")
    clip = diptych.load(tmp_path / "theirs")
    assert clip.spec.text.padding_id == generation.pad_id
    assert (torch.from_numpy(clip.encode_texts(PLAIN)) - theirs).abs().max() <= TOLERANCE
    convert(read(tmp_path / "theirs"), tmp_path / "ours", "huggingface")
    assert (embedded(tmp_path / "ours") - theirs).abs().max() <= TOLERANCE


@every_form
@every_generation
def test_open_clip_makes_the_same_ids_of_its_folders_and_of_ours(
    generation: Generation, form: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    released(tmp_path, generation, form)
    name = {"hf_tokenizer_name": "timm/ViT-B-16-SigLIP", "tokenizer_kwargs": {"clean": "canonicalize"}}
    (tmp_path / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": {"embed_dim": 64, "vision_cfg": {}, "text_cfg": {"context_length": 64, **name}}})
    )
    theirs = open_clip.get_tokenizer(f"local-dir:{tmp_path}")(PLAIN)
    assert torch.equal(padded(tmp_path), theirs)
    assert theirs[1, -1] == generation.pad_id
    monkeypatch.setattr(open_clip_siglip, "_timm_name", lambda *_: "any")  # timm has no image tower as small
    write(read(tmp_path), tmp_path / "ours", format="open_clip")
    assert torch.equal(open_clip.get_tokenizer(f"local-dir:{tmp_path / 'ours'}")(PLAIN), theirs)


def test_ids_are_those_of_transformers(tmp_path: Path) -> None:
    path = train(tmp_path, FIRST)
    ours = PretrainedTokenizer.from_files(path, family="sentence_piece", context_length=64)
    theirs = transformers.SiglipTokenizer(vocab_file=str(path))
    assert ours.vocabulary_size == 36
    assert ours.end_id == 1
    for text in TEXTS:
        assert ours.encode(text) == theirs(text)["input_ids"], text
    assert ours.decode(ours.encode("Two dogs!")) == "two dogs"


def test_a_bundle_brings_it(tmp_path: Path) -> None:
    path = train(tmp_path, FIRST)
    for pad_id in (0, 1):
        tokenizer = PretrainedTokenizer.from_files(path, family="sentence_piece", context_length=64, pad_id=pad_id)
        spec = twin(MODELS["ViT-B/16-SigLIP"]).with_vocabulary(36, 64, tokenizer="sentence_piece", padding_id=pad_id)
        convert(Bundle(spec, create_model(spec, seed=0).state_dict(), tokenizer), tmp_path / "a", "diptych")
        again = read(tmp_path / "a")
        assert again.tokenizer == tokenizer
        assert again.spec == spec


def test_what_is_no_model_is_told() -> None:
    for content in (b"", b"nonsense", b"\x0a\x0e\x0a\x05<unk>"):
        with pytest.raises(TokenizerError):
            PretrainedTokenizer(content, family="sentence_piece", context_length=64)
