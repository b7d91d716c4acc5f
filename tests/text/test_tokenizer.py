import csv
import gzip
import json
import multiprocessing
import os
import pickle
import random
import signal
import subprocess
import sys
import time
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from slow_bpe import SlowTokenizer

from diptych.errors import ConfigError, TokenizerError
from diptych.text.cleaning import clean
from diptych.text.tokenizer import Tokenizer

ROOT = Path(__file__).resolve().parents[2]
ODD = (
    "",
    "   \t\n ",
    "A Photo of a CAT",
    "it's we'll I'VE they're I'm he'd don't",
    "it'\u017f",
    "&amp;lt;b&amp;gt; &eacute; &#8217; &nope; AT&T",
    "e&#769; ",
    "caf\u00c3\u00a9 \u00e2\u0080\u0099 schÃ¶n",
    "\uff26\uff35\uff2c\uff2c \ufb01ne \u2028 new\u00a0line",
    "ΟΔΟΣ Σ ΑΣ. Σ İstanbul DŽ ß ẞ",
    "日本語の説明 한국어 हिन्दी العربية עברית ไทย",
    "😀👩\u200d👩\u200d👧🏽 🇩🇪 ‼️ 1️⃣",
    "½ ² Ⅷ ١٢٣ 1234567890",
    "a\u0345b \u0345",
    "\x00\x07\x1b[31mred\x1b[0m\x7f",
    "\ud800 lone",
    "\ufeffbom\u200bzero",
    "<|endoftext|> a<|startoftext|>b !!<|endoftext|> <|ENDOFTEXT|>",
    "</w> < / w >",
    "!" * 300,
    "z" * 3000,
)


@pytest.fixture(scope="module")
def released(shared_data: Path) -> Tokenizer:
    return Tokenizer.from_merges(shared_data / "reference" / "bpe_simple_vocab_16e6.txt.gz")


@pytest.fixture(scope="module")
def slow(shared_data: Path) -> SlowTokenizer:
    return SlowTokenizer.released(shared_data / "reference" / "bpe_simple_vocab_16e6.txt.gz")


@pytest.fixture(scope="module")
def small() -> Tokenizer:
    return Tokenizer.train(["a red cat", "a red dog", "cats and dogs"] * 3, vocabulary_size=540, context_length=12)


def test_every_reference_caption(shared_data: Path, released: Tokenizer) -> None:
    with (shared_data / "reference" / "token_ids.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, delimiter="\t"))[1:]
    assert len(rows) == 4980
    assert (released.vocabulary_size, released.start_id, released.end_id) == (49408, 49406, 49407)
    assert [caption for caption, ids in rows if released.encode(caption) != [int(i) for i in ids.split()]] == []
    # decoded text means the same: its ids are the ids it came from
    for caption, ids in rows[:500]:
        text = released.decode([int(i) for i in ids.split()])
        assert released.encode(text) == [int(i) for i in ids.split()]
        assert "".join(text.split()) == "".join(clean(caption).split())


@pytest.mark.parametrize("text", ODD)
def test_odd_text_follows_the_released_rules(released: Tokenizer, slow: SlowTokenizer, text: str) -> None:
    assert released.encode(text) == slow.encode(text)


# Code points that this Python's table and the tokenizer's both know.
known = st.characters().filter(lambda c: unicodedata.category(c) != "Cn")
pieces = st.one_of(
    st.text(known, max_size=8),
    st.sampled_from(
        ["&amp;", "&#x3a3;", "&lt;", "'", "'s ", " ", "Σ", "\u0301", "<|endoftext|>", "\u00e2\u0080\u0099", "ﬁ"]
    ),
    st.text("abcABC '0!&;", max_size=8),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(pieces, max_size=6).map("".join))
def test_any_text_follows_the_released_rules(released: Tokenizer, slow: SlowTokenizer, text: str) -> None:
    assert released.encode(text) == slow.encode(text)


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(max_codepoint=127), max_size=40))
def test_the_short_way_through_cleaning_changes_nothing(text: str) -> None:
    assert clean(text) == clean(text + "\u4e00").removesuffix("\u4e00").rstrip()


def test_batches_are_padded_to_their_longest(small: Tokenizer) -> None:
    tokens = small(["a red cat", "", "dogs"])
    assert tokens.ids_BL.dtype == torch.int64
    assert tokens.ids_BL.shape == (3, int(tokens.lengths_B.max()))
    for text, ids, length in zip(["a red cat", "", "dogs"], tokens.ids_BL, tokens.lengths_B, strict=True):
        assert ids[:length].tolist() == small.encode(text)
        assert not ids[length:].any()
    assert tokens.truncated == 0
    assert small("dogs").ids_BL.tolist() == [small.encode("dogs")]
    assert small([]).ids_BL.shape == (0, 0)


def test_truncation_keeps_the_end_token_and_is_counted(small: Tokenizer) -> None:
    long = "red " * 40
    tokens = small([long, "a cat", long])
    assert tokens.truncated == 2
    assert tokens.ids_BL.shape == (3, 12)
    assert tokens.ids_BL[0].tolist() == [*small.encode(long)[:11], small.end_id]
    exactly = small.decode(small.encode(long)[:11])
    assert len(small.encode(exactly)) == 12
    assert small(exactly).truncated == 0


def test_a_text_ends_at_the_first_end_token(small: Tokenizer) -> None:
    tokens = small("red <|endoftext|> cat")
    assert tokens.lengths_B.tolist() == [tokens.ids_BL[0].argmax() + 1]
    assert int(tokens.lengths_B) < len(small.encode("red <|endoftext|> cat"))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 525), max_size=30))
def test_decoding_takes_any_ids(small: Tokenizer, ids: list[int]) -> None:
    assert isinstance(small.decode(ids), str)


def test_decoding_is_readable(released: Tokenizer, small: Tokenizer) -> None:
    assert released.decode(released(["Schöner Café, 日本 😀", "a " * 30]).ids_BL[0]) == "schöner café , 日本 😀"
    with pytest.raises(TokenizerError, match=f"no token {small.vocabulary_size}"):
        small.decode([small.vocabulary_size])


def test_training_learns_whole_words_and_is_reproducible(small: Tokenizer) -> None:
    assert len(small.encode("a red cat")) == 5
    assert small.end_id == small.vocabulary_size - 1
    texts = ["a red cat", "a red dog", "cats and dogs"] * 3
    assert Tokenizer.train(reversed(texts), vocabulary_size=540, context_length=12) == small
    assert Tokenizer.train(texts, vocabulary_size=520).vocabulary_size == 520
    assert Tokenizer.train([], vocabulary_size=520).vocabulary_size == 514
    assert Tokenizer.train(["日本 &amp; ΣΑΣ 😀"] * 5, vocabulary_size=600).decode([0, 1, 2]) == '!"#'


def test_a_trained_vocabulary_agrees_with_the_slow_rules() -> None:
    texts = [*(text for text in ODD if len(text) < 200), "the quick brown fox", "les chats et les chiens"] * 3
    trained = Tokenizer.train(texts, vocabulary_size=700)
    merges = [tuple(merge) for merge in json.loads(trained.to_json())["model"]["merges"]]
    reference = SlowTokenizer(merges)
    assert [trained.encode(text) for text in texts] == [reference.encode(text) for text in texts]


def test_no_room_for_a_vocabulary() -> None:
    with pytest.raises(ConfigError, match="514"):
        Tokenizer.train(["a"], vocabulary_size=513)
    with pytest.raises(ConfigError, match="context_length"):
        Tokenizer([], context_length=1)


@pytest.mark.parametrize("text", [None, b"a cat", 3])
def test_what_is_no_text(small: Tokenizer, text: object) -> None:
    with pytest.raises(TokenizerError, match="must be a string"):
        small(["a", text])


def test_there_and_back_again(small: Tokenizer, tmp_path: Path) -> None:
    for name, content in small.files().items():
        (tmp_path / name).write_bytes(content)
    again = Tokenizer.from_files(tmp_path)
    assert (again, again.context_length, again.fingerprint) == (small, 12, small.fingerprint)
    assert Tokenizer.from_files(tmp_path, context_length=20) != small
    assert Tokenizer.from_json(small.to_json(), context_length=12) == small
    assert hash(again) == hash(small)
    assert json.loads(small.files()["tokenizer_config.json"])["pad_token"] == "!"


def test_files_are_written_into_a_folder_of_nothing_else(small: Tokenizer, tmp_path: Path) -> None:
    """Beside weights, other ids would mean other texts."""
    small.save(tmp_path / "new")
    small.save(tmp_path / "new")
    (tmp_path / "new" / "open_clip_model.safetensors").touch()
    before = (tmp_path / "new" / "tokenizer.json").read_bytes()
    with pytest.raises(TokenizerError, match=r"holds other files \(open_clip_model\.safetensors\)"):
        Tokenizer.train(["other words"], vocabulary_size=530).save(tmp_path / "new")
    assert (tmp_path / "new" / "tokenizer.json").read_bytes() == before


def test_a_full_disk_leaves_no_half_of_a_file(
    small: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes) -> None:
        path.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(TokenizerError, match="No space left"):
        small.save(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_sizes_are_checked_before_anything_is_read() -> None:
    def unread() -> Iterator[str]:
        raise AssertionError
        yield

    for size in (513, 10**11, 10**23):
        with pytest.raises(ConfigError, match="must be from 514"):
            Tokenizer.train(unread(), vocabulary_size=size)
    with pytest.raises(ConfigError, match="context_length"):
        Tokenizer.train(unread(), vocabulary_size=514, context_length=0)


def test_a_word_without_end_does_not_keep_learning(small: Tokenizer) -> None:
    """Quadratic in its length, a word of a million letters would take hours."""
    letters = "".join(random.Random(0).choices("abcdefgh", k=1_000_000))
    begin = time.monotonic()
    learned = Tokenizer.train([letters, "a red cat"], vocabulary_size=1000)
    assert time.monotonic() - begin < 30
    assert learned == Tokenizer.train([letters[:5000], "a red cat"], vocabulary_size=1000)


_LEARNER = """
import random
from diptych.text.tokenizer import Tokenizer
letters = "".join(random.choices("abcdefghij", k=4_000_000))
def texts():
    for i in range(1000):
        yield letters[4000 * i : 4000 * (i + 1)]
    print("learning", flush=True)
Tokenizer.train(texts(), vocabulary_size=100_000)
"""


def test_pairs_of_equal_frequency_are_merged_in_an_order_of_their_own() -> None:
    letters = "abcdefghijklmnopqrstuvwxyz"
    texts = [f"{a}{b} {a}{b}{a}" for a in letters for b in letters if a != b]
    first = Tokenizer.train(texts, vocabulary_size=900)
    assert all(Tokenizer.train(order, vocabulary_size=900) == first for order in (texts, texts[::-1]))


def test_learning_can_be_interrupted() -> None:
    with subprocess.Popen([sys.executable, "-c", _LEARNER], stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"learning\n"
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        try:
            assert process.wait(timeout=10) == -signal.SIGINT
        finally:
            process.kill()


def test_a_folder_with_a_merges_file(released: Tokenizer, shared_data: Path, tmp_path: Path) -> None:
    text = gzip.decompress((shared_data / "reference" / "bpe_simple_vocab_16e6.txt.gz").read_bytes()).decode()
    lines = text.split("\n")[: 1 + 48894]
    (tmp_path / "merges.txt").write_text("\n".join(["#version: 0.2", *lines[1:]]), encoding="utf-8")
    assert Tokenizer.from_files(tmp_path) == released
    with pytest.raises(TokenizerError, match=r"neither tokenizer\.json nor merges\.txt"):
        Tokenizer.from_files(tmp_path / "nowhere")


def test_ids_beside_merges_must_be_theirs(small: Tokenizer, tmp_path: Path) -> None:
    data = json.loads(small.to_json())["model"]
    lines = ["#version: 0.2", *(merge if isinstance(merge, str) else " ".join(merge) for merge in data["merges"]), ""]
    (tmp_path / "merges.txt").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "vocab.json").write_text(json.dumps(data["vocab"]))
    assert Tokenizer.from_files(tmp_path, context_length=small.context_length) == small
    (tmp_path / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(sorted(data["vocab"]))}))
    with pytest.raises(TokenizerError, match=r"vocab\.json gives"):
        Tokenizer.from_files(tmp_path)
    (tmp_path / "vocab.json").write_text("[]")
    with pytest.raises(TokenizerError, match=r"vocab\.json holds list"):
        Tokenizer.from_files(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with a name")
def test_a_pipe_is_no_file_of_merges(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "merges.txt")
    with pytest.raises(TokenizerError, match="no regular file"):
        Tokenizer.from_merges(tmp_path / "merges.txt")


HEADER = b'"bpe_simple_vocab_16e6.txt#version: 0.2\n'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", None),
        (HEADER, None),
        (b"i n\nt h\n", "line 1"),
        (HEADER + b"i n\nth\n", "line 3"),
        (HEADER + b"i n x\n", "line 2"),
        (HEADER + b"i n\nin g\n \n", "line 4"),
        (HEADER + b"in g\n", "merge 1 joins 'in'"),
        (HEADER + b"i n\ni n\n", "merge 2 makes 'in'"),
        (HEADER + b"i</w> n\n", "end of a word"),
        (HEADER + b"\xff\xfe", "not UTF-8"),
        (HEADER + b"a" * 10_000, "longer than"),
        (gzip.compress(HEADER + b"i n\n" * 99, mtime=0)[:-20], "cannot read"),
        (b"\x1f\x8bnot gzip at all", "cannot read"),
        (gzip.compress(b"\0" * 50_000_000, mtime=0), "longer than"),
    ],
)
def test_hostile_merges(tmp_path: Path, content: bytes, message: str | None) -> None:
    path = tmp_path / "merges.txt"
    path.write_bytes(content)
    if message is None:
        assert Tokenizer.from_merges(path).vocabulary_size == 514
    else:
        with pytest.raises(TokenizerError, match=message):
            Tokenizer.from_merges(path)


def test_merges_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match="nothing"):
        Tokenizer.from_merges(tmp_path / "nothing.txt")
    with pytest.raises(TokenizerError, match="cannot read"):
        Tokenizer.from_merges(tmp_path)


def swapped(vocabulary: dict[str, int]) -> dict[str, int]:
    start, end = "<|startoftext|>", "<|endoftext|>"
    return vocabulary | {start: vocabulary[end], end: vocabulary[start]}


def backwards(processor: dict) -> dict:
    return processor | {"single": processor["single"][::-1]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: [], "not an object"),
        (lambda data: data | {"model": {"type": "WordPiece"}}, "no byte-pair encoding"),
        (lambda data: data | {"model": data["model"] | {"end_of_word_suffix": None}}, "no byte-pair encoding"),
        (lambda data: data | {"model": data["model"] | {"merges": None}}, "no list of merges"),
        (lambda data: data | {"model": data["model"] | {"merges": [["a"]]}}, "merge 1"),
        (lambda data: data | {"model": data["model"] | {"merges": ["a b c"]}}, "merge 1"),
        (lambda data: data | {"model": data["model"] | {"merges": data["model"]["merges"][:-1]}}, "tokens, but"),
        (lambda data: data | {"model": data["model"] | {"vocab": []}}, "tokens, but"),
        (lambda data: data | {"model": data["model"] | {"vocab": data["model"]["vocab"] | {"a": 7}}}, "the id 7"),
        (lambda data: data | {"model": data["model"] | {"vocab": swapped(data["model"]["vocab"])}}, "the id"),
        (lambda data: data | {"normalizer": None}, "does not lower-case"),
        (lambda data: data | {"normalizer": {"type": "NFC"}}, "does not lower-case"),
        (lambda data: data | {"normalizer": [1]}, "malformed"),
        (lambda data: data | {"post_processor": backwards(data["post_processor"])}, "around a text; start and end are"),
        (lambda data: data | {"post_processor": {"type": "BertProcessing", "cls": ["a", 3], "sep": ["b", 4]}}, "3, 4"),
    ],
)
def test_hostile_json(small: Tokenizer, change: object, message: str) -> None:
    with pytest.raises(TokenizerError, match=message):
        Tokenizer.from_json(json.dumps(change(json.loads(small.to_json()))))


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "\0"])
def test_what_is_no_json(text: str) -> None:
    with pytest.raises(TokenizerError, match="not JSON"):
        Tokenizer.from_json(text)


def test_merges_as_strings_and_other_names_of_special_tokens(small: Tokenizer) -> None:
    data = json.loads(small.to_json())
    data["model"]["merges"] = [" ".join(merge) for merge in data["model"]["merges"]]
    vocabulary = data["model"]["vocab"]
    for old, new in (("<|startoftext|>", "<start_of_text>"), ("<|endoftext|>", "<end_of_text>")):
        vocabulary[new] = vocabulary.pop(old)
    assert Tokenizer.from_json(json.dumps(data), context_length=12) == small


def test_pickles_are_small_and_equal(released: Tokenizer, small: Tokenizer) -> None:
    assert pickle.loads(pickle.dumps(small)) == small
    assert len(pickle.dumps(released)) < 600_000
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(small.encode, ("a red cat",)) == small.encode("a red cat")


def test_forks_are_silent() -> None:
    program = """
import os
from diptych.text.tokenizer import Tokenizer
tokenizer = Tokenizer.train(["a red cat", "dogs"] * 50, vocabulary_size=530)
tokenizer(["a red cat"] * 50)
child = os.fork()
if not child:
    tokenizer(["a red cat"] * 50)
    Tokenizer.train(["a red cat", "dogs"] * 50, vocabulary_size=530)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert "TOKENIZERS_PARALLELISM" not in os.environ
"""
    environment = {k: v for k, v in os.environ.items() if k != "TOKENIZERS_PARALLELISM"}
    environment["PYTHONPATH"] = str(Path(__file__).resolve().parents[2])
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_written_files_open_in_openclip(
    shared_data: Path, released: Tokenizer, small: Tokenizer, tmp_path: Path
) -> None:
    """Through the same library that OpenCLIP and Transformers use, with OpenCLIP's cleaning before it."""
    import html

    import ftfy
    from tokenizers import Tokenizer as Library

    for tokenizer in (released, small):
        library = Library.from_str(tokenizer.to_json())
        for text in ODD:
            if "<|" in text:
                continue  # special tokens' names in a text: OpenCLIP takes them for text
            cleaned = " ".join(html.unescape(html.unescape(ftfy.fix_text(text))).split())
            assert library.encode(cleaned).ids == tokenizer.encode(text)
        assert library.decode(tokenizer.encode("A red cat")) == "a red cat"
