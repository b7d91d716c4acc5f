"""Tokenizers of other models: WordPiece and SentencePiece vocabularies as they are found."""

import json
import pickle
import re
from pathlib import Path

import pytest
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from diptych.checkpoints.bundle import Bundle, read
from diptych.checkpoints.writing import write
from diptych.errors import ConfigError, TokenizerError
from diptych.models.clip import create_model
from diptych.text.pretrained import PretrainedTokenizer, canonical
from diptych.zoo import MODELS
from tests.models.twins import twin as small_twin

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "一", "只", "猫", "cat", "##s", "a", "e", ",", "the"]


@pytest.fixture
def word_piece(tmp_path: Path) -> PretrainedTokenizer:
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    return PretrainedTokenizer.from_files(tmp_path, family="word_piece", context_length=6)


def unigram() -> str:
    tokenizer = tokenizers.Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=60, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>")
    tokenizer.train_from_iterator(["a photo of a cat", "two dogs and a cat", "cats of two kinds"] * 20, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return tokenizer.to_str()


def test_word_piece_is_berts(word_piece: PretrainedTokenizer) -> None:
    ids = {word: i for i, word in enumerate(WORDS)}
    assert word_piece.encode("一只猫, CATS") == [
        ids[t] for t in ("[CLS]", "一", "只", "猫", ",", "cat", "##s", "[SEP]")
    ]
    assert word_piece.encode("á zebra")[1:-1] == [ids["a"], ids["[UNK]"]]
    tokens = word_piece(["一只猫, cats", "cat"])
    assert tokens.truncated == 1
    assert tokens.ids_BL[0].tolist() == [ids[t] for t in ("[CLS]", "一", "只", "猫", ",", "[SEP]")]
    assert tokens.ids_BL[1].tolist() == [ids["[CLS]"], ids["cat"], ids["[SEP]"], 0, 0, 0]
    assert tokens.lengths_B.tolist() == [6, 3]
    assert word_piece.decode(tokens.ids_BL[1]) == "cat"


def test_siglips_texts_are_canonical() -> None:
    assert canonical(" A  photo_of\tAT&T's, café! ") == "a photo of atts café"
    tokenizer = PretrainedTokenizer(unigram(), family="sentence_piece", context_length=64)
    assert tokenizer.encode("A photo of a cat!") == tokenizer.encode("a photo of a cat")
    assert tokenizer.encode("")[-1] == tokenizer.end_id == 1
    assert tokenizer.pad_id == 0
    assert tokenizer.decode(tokenizer.encode("Two cats!")) == "two cats"


def test_what_is_written_is_read_and_pickled(word_piece: PretrainedTokenizer, tmp_path: Path) -> None:
    for tokenizer in (word_piece, PretrainedTokenizer(unigram(), family="sentence_piece", context_length=9)):
        folder = tmp_path / tokenizer.family
        folder.mkdir()
        for name, content in tokenizer.files().items():
            (folder / name).write_bytes(content)
        again = PretrainedTokenizer.from_files(folder, family=tokenizer.family, context_length=tokenizer.context_length)
        assert again == tokenizer == pickle.loads(pickle.dumps(tokenizer))
        assert hash(again) == hash(tokenizer)
        assert again.encode("a cat") == tokenizer.encode("a cat")


@pytest.mark.parametrize(
    ("said", "given", "expected"),
    [
        (None, None, 0),  # the vocabulary's own
        (None, 1, 1),
        ("</s>", None, 1),
        ("</s>", 0, 1),  # the folder knows best
        ({"content": "</s>", "lstrip": False}, None, 1),
        ("<pad>", 1, 0),
    ],
)
def test_what_pads_is_told_by_the_folder_then_by_the_caller(
    said: object, given: int | None, expected: int, tmp_path: Path
) -> None:
    (tmp_path / "tokenizer.json").write_text(unigram(), encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"pad_token": said}))
    options = {"family": "sentence_piece", "context_length": 9}
    tokenizer = PretrainedTokenizer.from_files(tmp_path, pad_id=given, **options)
    assert tokenizer.pad_id == expected
    assert tokenizer(["a cat", "a"]).ids_BL[1, -1] == expected
    assert pickle.loads(pickle.dumps(tokenizer)).pad_id == expected
    for name, content in tokenizer.files().items():
        (tmp_path / name).write_bytes(content)
    assert PretrainedTokenizer.from_files(tmp_path, **options) == tokenizer
    other = PretrainedTokenizer(tokenizer.content, pad_id=1 - expected, **options)
    assert other != tokenizer


def test_a_model_is_written_with_the_padding_it_was_trained_with(tmp_path: Path) -> None:
    tokenizer = PretrainedTokenizer(unigram(), family="sentence_piece", context_length=9)
    spec = small_twin(MODELS["ViT-B/16-SigLIP"])
    spec = spec.with_vocabulary(tokenizer.vocabulary_size, 9, tokenizer="sentence_piece", padding_id=1)
    write(Bundle(spec, create_model(spec, seed=0).state_dict(), tokenizer), tmp_path / "a")
    again = read(tmp_path / "a")
    assert (again.spec, again.tokenizer) == (spec, tokenizer.padded_with("</s>"))


def test_padding_that_the_vocabulary_has_not_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(unigram(), encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text('{"pad_token": "[PAD]"}')
    with pytest.raises(TokenizerError, match=r"tokenizer_config\.json pads with '\[PAD\]', which the vocabulary"):
        PretrainedTokenizer.from_files(tmp_path, family="sentence_piece", context_length=9)


def test_what_is_no_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match=r"holds no tokenizer; expected one of tokenizer\.json"):
        PretrainedTokenizer.from_files(tmp_path, family="word_piece", context_length=9)
    with pytest.raises(TokenizerError, match=r"tokenizer\.json cannot be read"):
        PretrainedTokenizer("{}", family="sentence_piece", context_length=9)
    (tmp_path / "vocab.txt").write_text("a\nb\n")
    with pytest.raises(TokenizerError, match=r"no vocabulary of BERT: it has no \[CLS\], \[PAD\], \[SEP\], \[UNK\]"):
        PretrainedTokenizer.from_files(tmp_path, family="word_piece", context_length=9)
    bare = tokenizers.Tokenizer(models.WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]")).to_str()
    with pytest.raises(TokenizerError, match="no end token"):
        PretrainedTokenizer(bare, family="sentence_piece", context_length=9)
    with pytest.raises(ConfigError, match="context_length"):
        PretrainedTokenizer(unigram(), family="sentence_piece", context_length=1)


def test_ids_outside_and_texts_that_are_none(word_piece: PretrainedTokenizer) -> None:
    with pytest.raises(TokenizerError, match="there is no token 99"):
        word_piece.decode([1, 99])
    with pytest.raises(TokenizerError, match="must be a string"):
        word_piece.encode(3)


def test_their_own_truncation_and_padding_are_ours(word_piece: PretrainedTokenizer) -> None:
    """A tokenizer.json may ask for a length of its own."""
    data = json.loads(word_piece.content)
    data["truncation"] = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
    short = PretrainedTokenizer(json.dumps(data), family="word_piece", context_length=50)
    assert len(short.encode("一只猫, cats")) == 8


def words(folder: Path, tokens: list[str], *, ends: str = "\n", **config: object) -> PretrainedTokenizer:
    (folder / "vocab.txt").write_bytes(ends.join([*tokens, ""]).encode())
    if config:
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return PretrainedTokenizer.from_files(folder, family="word_piece", context_length=9)


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_a_line_of_a_vocabulary_is_a_token_whatever_is_in_it(ends: str, tmp_path: Path) -> None:
    tokenizer = words(tmp_path, [*WORDS, "\u2028", "\x0b", "dog"], ends=ends)
    assert tokenizer.vocabulary_size == len(WORDS) + 3
    assert tokenizer.encode("dog")[1:-1] == [len(WORDS) + 2]
    with pytest.raises(TokenizerError, match=r"vocab\.txt has 'cat' twice"):
        words(tmp_path, [*WORDS, "cat"])


def test_whether_case_counts_is_as_the_folder_says(tmp_path: Path) -> None:
    cased = [*WORDS, "Cat"]
    assert words(tmp_path, cased).encode("Cat")[1:-1] == [WORDS.index("cat")]
    berts = [*cased, *(f"[unused{i}]" for i in range(28_996 - len(cased)))]
    assert words(tmp_path, berts).encode("Cat")[1:-1] == [cased.index("Cat")]
    assert words(tmp_path, cased, do_lower_case=False).encode("Cat")[1:-1] == [cased.index("Cat")]
    assert words(tmp_path, berts, do_lower_case=True).encode("Cat")[1:-1] == [WORDS.index("cat")]
    with pytest.raises(TokenizerError, match="do_lower_case is 'no', but must be true or false"):
        words(tmp_path, cased, do_lower_case="no")
    (tmp_path / "tokenizer.json").write_text(words(tmp_path, cased, do_lower_case=False).content)
    with pytest.raises(TokenizerError, match="disagree about lowercase"):
        words(tmp_path, cased, do_lower_case=True)


def level(vocabulary: dict[str, int], **changes: object) -> PretrainedTokenizer:
    bare = tokenizers.Tokenizer(models.WordLevel({"a": 0, "[SEP]": 1, "[UNK]": 2}, unk_token="[UNK]")).to_str()
    data = json.loads(bare) | changes
    data["model"]["vocab"] = vocabulary
    return PretrainedTokenizer(json.dumps(data), family="word_piece", context_length=9)


def around(*ids: int) -> dict[str, object]:
    special = {"x": {"id": "x", "ids": list(ids), "tokens": ["x"] * len(ids)}}
    single = [{"SpecialToken": {"id": "x", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    return {"type": "TemplateProcessing", "single": single, "pair": [], "special_tokens": special}


def replaced(content: str, times: int) -> dict[str, object]:
    one = {"type": "Replace", "pattern": {"String": "a"}, "content": content}
    return {"type": "Sequence", "normalizers": [one] * times}


def added(content: str) -> dict[str, object]:
    switches = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
    return {"id": 3, "content": content} | switches


SOUND = {"a": 0, "[SEP]": 1, "[UNK]": 2}


@pytest.mark.parametrize(
    ("vocabulary", "changes", "told"),
    [
        ({"a": 0, "[SEP]": 1}, {}, "cannot encode"),
        (SOUND, {"post_processor": around(99)}, "makes the id 99, but its vocabulary ends at 2"),
        (SOUND, {"post_processor": around(*[1] * 10**5)}, "100,000 tokens around a text"),
        (SOUND | {"a": 4_000_000_000}, {}, "4,000,000,001 ids"),
        (SOUND, {"normalizer": replaced("a" * 1000, 4)}, "more than 64 times longer"),
        (SOUND, {"normalizer": replaced("aa", 7)}, "more than 64 times longer"),
        (SOUND, {"normalizer": {"type": "Replace", "pattern": {"String": "a"}}}, "malformed"),
        (SOUND, {"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}] * 300}}, "301 steps"),
        (SOUND, {"added_tokens": [added("x")] * 10_001}, "adds 10,001 tokens"),
        (SOUND, {"added_tokens": [added("x" * 513)]}, "a token of 513 letters"),
        (SOUND | {"x" * 513: 3}, {}, "a token of 513 letters"),
    ],
)
def test_what_would_fail_at_the_first_text_is_told_on_reading(
    vocabulary: dict[str, int], changes: dict[str, object], told: str
) -> None:
    with pytest.raises(TokenizerError, match=told):
        level(vocabulary, **changes)


def test_gaps_in_a_vocabulary_count_as_ids() -> None:
    assert level(SOUND | {"a": 10}).vocabulary_size == 11
    assert level(SOUND, normalizer=replaced("\u2581", 9)).vocabulary_size == 3


@pytest.mark.parametrize("family", ["word_piece", "sentence_piece"])
def test_half_of_a_surrogate_pair_is_a_letter_like_any_unknown_one(family: str) -> None:
    content = level(SOUND).content if family == "word_piece" else unigram()
    tokenizer = PretrainedTokenizer(content, family=family, context_length=9)
    assert tokenizer.encode("a \ud800 cat") == tokenizer.encode("a \ufffd cat")


def split(pattern: str) -> dict[str, object]:
    step = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    return {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [step]}}


@pytest.mark.parametrize(
    "pattern", ["(a+)+b", "(a|aa)+$", r"(\w*)*!", "a+a+a+b", r"(.)\1+", "(?<=a{0,99})b", "a" * 300, 5]
)
def test_an_expression_that_may_take_for_ever_is_refused(pattern: object) -> None:
    with pytest.raises(TokenizerError, match="may take for ever"):
        level(SOUND, **split(pattern))


@pytest.mark.parametrize(
    "pattern",
    [" {2,}", r"\s+", r"[ \t\r\n]+", "^ $", r"\p{Punct}+", r"\p{L}+|\p{N}", "[" + re.escape("!#[]^\\") + "]", ""],
)
def test_expressions_of_real_vocabularies_are_read(pattern: str) -> None:
    assert level(SOUND, **split(pattern)).vocabulary_size == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"pre_tokenizer": {"type": "FixedLength", "length": 0}},
        {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}},
        {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAAAA=="}},
        {"post_processor": {**around(1), "special_tokens": {}}},
    ],
)
def test_where_the_library_itself_trips_it_is_an_error_of_ours(
    changes: dict[str, object], capfd: pytest.CaptureFixture[str]
) -> None:
    """Its own code panics, which Python sees as no Exception."""
    with pytest.raises(TokenizerError, match="cannot"):
        level(SOUND, **changes)
    assert "panicked" in capfd.readouterr().err


def test_pieces_that_would_fill_the_memory_are_refused() -> None:
    data = json.loads(unigram())
    data["model"]["vocab"] += [[f"{i:040}", -1.0] for i in range(1000)]
    with pytest.raises(TokenizerError, match="more than 16 letters on average"):
        PretrainedTokenizer(json.dumps(data), family="sentence_piece", context_length=9)
