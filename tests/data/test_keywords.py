import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from making import jpeg, tar, tokenize

from diptych.data.keywords import KEYWORD_DRAWS, MOST, joined
from diptych.data.loader import Loader
from diptych.data.memory import InMemory
from diptych.data.order import uniforms
from diptych.data.sources import captions_of, open_source
from diptych.data.visits import Visits
from diptych.errors import DataError
from diptych.specs import PreprocessSpec

WORDS = ("pet", "animal", "fur", "whiskers", "tail", "cat")


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    about = json.dumps({"tags": list(WORDS)}).encode()
    samples = {f"s{i}": {"jpg": jpeg(i), "txt": b"cat", "json": about} for i in range(40)}
    return tar(tmp_path_factory.mktemp("shards") / "a.tar", samples)


@given(
    keywords=st.lists(st.sampled_from("abcdefgh"), unique=True, max_size=8).map(tuple),
    draws=st.lists(st.floats(0, 1, exclude_max=True), min_size=KEYWORD_DRAWS, max_size=KEYWORD_DRAWS),
)
def test_a_caption_is_joined_by_at_most_four_different_keywords(keywords, draws):
    parts = joined("the caption", keywords, np.array(draws)).split(", ")
    assert parts.count("the caption") == 1
    assert len(set(parts)) == len(parts) <= MOST + 1
    assert set(parts) <= {"the caption", *keywords}


def test_half_of_the_captions_stay_alone_and_a_quarter_come_first():
    texts = [joined("cat", WORDS[:5], uniforms(0, i, count=KEYWORD_DRAWS)).split(", ") for i in range(8000)]
    assert abs(np.mean([len(text) == 1 for text in texts]) - 0.5) < 0.02
    companions = [text for text in texts if len(text) > 1]
    # A quarter of all begin with the caption by rule; of the quarter in any order, one in n + 1 does by chance.
    expected = 0.5 + 0.5 * np.mean([1 / (count + 1) for count in (1, 2, 3, 4)])
    assert abs(np.mean([text[0] == "cat" for text in companions]) - expected) < 0.03
    used = Counter(word for text in companions for word in text if word != "cat")
    assert max(used.values()) < 1.15 * min(used.values())


def test_keywords_are_read_beside_captions_and_kept_in_memory(shards):
    source = open_source(shards, keywords=["json.tags"])
    for opened in (source, InMemory(source, side=16)):
        sample = opened.read(3)
        assert sample.captions == ("cat",)
        assert sample.keywords == WORDS[:5]  # "cat" is the caption already
        assert captions_of(opened, 3) == ("cat", *WORDS[:5])
    assert open_source(shards).read(3).keywords == ()


def test_the_loader_adds_keywords_and_still_knows_equal_captions(shards):
    source = open_source(shards, keywords=["json.tags"])
    batches = {}
    for workers in (0, 2):
        options = {"batch_size": 40, "tokenizer": tokenize, "visits": Visits(captions_per_image=2), "workers": workers}
        with Loader(source, PreprocessSpec(size=16), **options) as loader:
            batches[workers] = next(loader.batches(0, 1))
    texts = batches[0].captions
    assert texts == batches[2].captions
    assert 20 < sum(text == "cat" for text in texts) < 60
    assert len(set(texts)) > 20
    assert len(set(batches[0].text_ids_M.tolist())) == 1
    expected = tokenize(texts)
    assert batches[0].tokens.ids_BL.equal(expected.ids_BL)


def test_without_keywords_captions_are_drawn_as_before(shards):
    with Loader(open_source(shards), PreprocessSpec(size=16), batch_size=40, workers=0) as loader:
        assert set(next(loader.batches(0, 1)).captions) == {"cat"}


def test_a_field_that_is_not_there_is_named(shards):
    with pytest.raises(DataError, match=r"no json\.keywords.*json\.tags"):
        open_source(shards, keywords=["json.keywords"])


def test_rows_with_keywords_in_a_table(tmp_path):
    (tmp_path / "a.jpg").write_bytes(jpeg(0))
    table = tmp_path / "pairs.jsonl"
    table.write_text(json.dumps({"image": "a.jpg", "caption": "cat", "tags": ["pet", "fur"]}) + "\n")
    assert open_source(table, keywords=["tags"]).read(0).keywords == ("pet", "fur")
