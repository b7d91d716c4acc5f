"""The command line as a newcomer meets it: flags pinned, exit statuses, errors in a line."""

import dataclasses
import errno
import inspect as python_inspect
import json
import os
import re
import shutil
import subprocess
import sys
import warnings as python_warnings
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from cyclopts import App
from PIL import Image

from diptych.checkpoints.bundle import Bundle, read
from diptych.checkpoints.formats import CHINESE_CLIP, OPEN_CLIP
from diptych.checkpoints.writing import write
from diptych.cli.doctor import answer
from diptych.cli.help import add_verb
from diptych.cli.main import app, main
from diptych.models.clip import create_model
from diptych.specs import ModelSpec, PreprocessSpec, TextTransformerSpec, VisionTransformerSpec
from diptych.text.tokenizer import Tokenizer
from diptych.zoo import MODELS

# Positional parameters before the slash, flags after it. Changing this is changing what people have in scripts.
SURFACE = {
    "demo": "/ out seed steps",
    "train": "recipe / data out validation split captions where keywords validation_split resume plan smoke set",
    "recipes": "name / json",
    "tune": "recipe / data validation out vary trials sampler metric lowest stop_early seed split captions where "
    "keywords validation_split set",
    "finetune": "model data / out validation shifted held_out head_only alpha split where validation_split templates "
    "resume set",
    "datasets": "name / json",
    "evaluate": "model sources / also task split captions where language tokenizer activation precision templates "
    "class_names none_of_these ablate_prompts shifted_from mapping distinct_captions shots draws solver start seed out "
    "json",
    "report": "results / out reference source shifted baseline",
    "classify": "model images / labels templates tokenizer activation precision json",
    "inspect": "model / tokenizer activation pairs captions json",
    "convert": "model destination / format tokenizer activation image_size context_length json",
}


@pytest.mark.parametrize("verb", SURFACE)
def test_the_flags_of_a_verb_are_pinned(verb: str) -> None:
    function = getattr(import_module(f"diptych.cli.{verb}"), verb)
    parameters = python_inspect.signature(function).parameters.values()
    positional = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.VAR_POSITIONAL)]
    arguments = app[verb].assemble_argument_collection()
    names = [argument.name for argument in arguments if argument.parse and argument.name.startswith("--")]
    flags = [name.removeprefix("--").replace("-", "_") for name in names]
    assert " ".join([*positional, "/", *flags]) == SURFACE[verb]


@pytest.mark.parametrize("verb", SURFACE)
def test_help_shows_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    shown = capsys.readouterr().out
    assert "Example:" in shown
    assert f"diptych {verb}" in shown


@pytest.mark.parametrize(
    "allocate",
    [lambda: torch.empty(10**15), lambda: np.empty(10**15), lambda: bytearray(10**18)],
    ids=["torch", "numpy", "python"],
)
def test_too_little_memory_ends_in_a_line(
    allocate: Callable[[], object], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("diptych.evaluation.splits.open_source", lambda *_, **__: allocate())
    assert main(["evaluate", "model", "source"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "a smaller batch" in lines[0]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["trian"], 2, "train"),
        (["train", "vit-b-32"], 2, "--data"),
        (["train", "vit-b-31", "--data", "x", "--out", "y"], 2, "did you mean 'vit-b-32'"),
        (
            ["train", "small-drawing", "--data", "x", "--out", "y"],
            2,
            "did you mean 'small-drawings'? valid: rn50, rn101",
        ),
        (["train", "vit-b-32", "--data", "x", "--out", "y", "--set", "batchsize=3"], 2, "did you mean 'batch_size'"),
        (
            ["train", "vit-b-32", "--data", "x", "--out", "y", "--set", "model.text.vocabulary_size=10"],
            2,
            "as many entries as its tokenizer; --set vocabulary=",
        ),
        (["train", "vit-b-32", "--data", "nowhere.tar", "--out", "y"], 1, "nowhere.tar: no such file"),
        (["inspect", "nowhere"], 1, "nowhere"),
        (["inspect", "nowhere", "else"], 2, "error: too many arguments: else; see diptych inspect --help"),
        (["demo", "--steps", "few"], 2, "error: invalid value for --steps"),
        (["tokenizer", "trian"], 2, "error: unknown command"),
        (["classify", "nowhere", "a.jpg", "--labels", "cat"], 2, "two labels or more"),
        (["classify", "nowhere", "a.jpg", "--labels", "cat,dog", "--precision", "fp8"], 2, "fast"),
        (["evaluate", "nowhere", "nothing"], 1, "nothing"),
    ],
)
def test_wrong_use_ends_in_a_line_that_helps(
    arguments: list[str],
    status: int,
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == status
    captured = capsys.readouterr()
    assert message in captured.err + captured.out
    assert "Traceback" not in captured.err
    assert list(tmp_path.iterdir()) == []  # nothing is left behind by a command that could not begin


def test_images_may_follow_the_flags(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = [str(trained / "data" / f"{i}.png") for i in range(3)]
    assert main(["classify", str(trained / "run" / "model"), "--labels", "red,blue", *images]) == 0
    assert [line for line in capsys.readouterr().out.splitlines() if line.endswith(".png")] == images


def test_help_is_the_docstring_laid_out_anew() -> None:
    def verb(*, first: str, second: str) -> None:
        """Do it.

        A paragraph that is broken
        in the source.

        Example:
            diptych verb --first "a value of many words" --second "another value of as many words"

        Parameters
        ----------
        first
            What is first, at
            some length.
        second
            What is second.
        """

    app = App()
    add_verb(app, verb)
    assert "first\n    What is first, at some length.\nsecond\n    What is second." in (verb.__doc__ or "")
    assert app["verb"].help == "Do it.\n\nA paragraph that is broken in the source."
    *_, second, third = (app["verb"].help_epilogue or "").splitlines()
    assert second == '    diptych verb --first "a value of many words" \\'
    assert third == '        --second "another value of as many words"'


@pytest.mark.parametrize("verb", [*SURFACE, "tokenizer train"])
def test_examples_fit_a_terminal(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*verb.split(), "--help"]) == 0
    example = capsys.readouterr().out.rpartition("Example:\n")[2]
    assert max(map(len, example.splitlines())) <= 80
    assert all(line.startswith("    ") for line in example.splitlines())


@pytest.mark.parametrize(("verb", "several"), [("classify", "IMAGES"), ("evaluate", "SOURCES"), ("report", "RESULTS")])
def test_usage_says_what_may_be_several(verb: str, several: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    assert f"{several}..." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("code", "path", "told"),
    [
        (errno.EACCES, "folder/new", "cannot write folder/new: permission denied"),
        (errno.EACCES, "folder/.x.json.10096", "cannot write folder/x.json: permission denied"),
        (errno.EACCES, "folder/.model.new-0a1b2c3d/config.json", "cannot write folder/model/config.json: permission"),
        (errno.EEXIST, "folder/file", "cannot write folder/file: there is a file of that name"),
        (errno.ENOTDIR, "folder/file/new", "cannot open folder/file/new: not a directory"),
        (errno.ENOSPC, None, "cannot write: no space left on device"),
    ],
)
def test_what_the_system_refuses_is_told_without_its_numbers(
    code: int, path: str | None, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code), path)

    monkeypatch.setattr("diptych.evaluation.splits.open_source", refuse)
    assert main(["evaluate", "model", "source"]) == 1
    assert capsys.readouterr().err.startswith(f"error: {told}")


def test_python_m_diptych_is_the_same_program() -> None:
    done = subprocess.run([sys.executable, "-m", "diptych", "inspect", "nowhere"], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model from the test recipe, its data beside it."""
    from tests.training import small

    folder = tmp_path_factory.mktemp("cli")
    small.run(small.make_data(folder / "data"), folder / "run")
    return folder


def test_inspect_tells_what_a_run_made(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(trained / "run" / "model"), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["image"]["kind"] == "modified_resnet"
    assert facts["parameters"]["total"] == facts["parameters"]["image"] + facts["parameters"]["text"] + 1


def test_inspect_reads_as_a_page(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(trained / "run" / "model")]) == 0
    shown = capsys.readouterr().out
    sections = {block.splitlines()[0]: block for block in shown.split("\n\n")}
    assert list(sections) == [
        *("small", "image tower, modified_resnet", "text tower, text_transformer", "known from", "converts to")
    ]
    assert "layers (1, 1, 1, 1)" in sections["image tower, modified_resnet"]
    assert re.search(r"tokenizer +clip_byte_pair: 5\d\d entries", sections["text tower, text_transformer"])
    assert re.search(r"size +width 32, layers 1, heads 2\n", sections["text tower, text_transformer"])
    assert re.search(r"weights +training by the recipe small", sections["known from"])
    assert re.search(r"recipe +small: see --json", sections["known from"])
    assert "warmup_steps" not in shown  # the recipe's fields, among them sizes that the model does not have
    assert len(shown.splitlines()) < 40


def test_inspect_bears_notes_that_others_wrote(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained / "run" / "model", tmp_path / "model")
    path = tmp_path / "model" / "diptych.json"
    description = json.loads(path.read_text())
    description["provenance"] |= {"hashes": "none", "licence": ["a", "b"], "weights_from": {"a": [1]}, "step": None}
    path.write_text(json.dumps(description))
    assert main(["inspect", str(tmp_path / "model")]) == 0


def test_inspect_finds_out_the_activation_by_trying(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vocabulary = read(trained / "run" / "model").spec.text.vocabulary_size
    spec = ModelSpec(
        name="bare",
        embedding=32,
        image=VisionTransformerSpec(image_size=32, patch_size=16, width=64, layers=1, heads=1),
        text=TextTransformerSpec(context_length=16, vocabulary_size=vocabulary, width=64, layers=1, heads=1),
        preprocess=PreprocessSpec(size=32),
    )
    names = OPEN_CLIP.places(spec)
    torch.save(
        {names[name].names[0]: t for name, t in create_model(spec, seed=0).state_dict().items()}, tmp_path / "bare.pt"
    )
    pairs = ["--pairs", str(trained / "data" / "pairs.tsv"), "--captions", "caption"]
    tokenizer = ["--tokenizer", str(trained / "run" / "model")]
    assert main(["inspect", str(tmp_path / "bare.pt"), *pairs, *tokenizer, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert {"found with gelu", "found with quick_gelu"} <= facts.keys()
    assert facts["answer"].startswith("none: no activation finds more")  # its weights are random
    assert main(["inspect", str(trained / "run" / "model"), *pairs]) == 1
    assert "nothing to find out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ((0.5, 0.3, 0.31), "gelu"),
        ((0.5, 0.3, 0.49), "gelu or gelu_tanh: the difference is within chance"),
        ((0.49, 0.48, 0.5), "gelu, quick_gelu or gelu_tanh: the difference"),
        ((0.008, 0.002, 0.002), "none: no activation finds more captions than chance"),
        ((0.0, 0.0, 0.0), "none: no activation"),
    ],
)
def test_what_shares_of_captions_found_say(found: tuple[float, ...], expected: str) -> None:
    assert answer(dict(zip(("gelu", "quick_gelu", "gelu_tanh"), found, strict=True)), 500).startswith(expected)


def test_there_is_no_activation_to_find_where_it_is_known(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = ModelSpec(
        name="mixed",
        embedding=32,
        image=VisionTransformerSpec(image_size=32, patch_size=16, width=64, layers=1, heads=1),
        text=TextTransformerSpec(
            context_length=16, vocabulary_size=600, width=64, layers=1, heads=1, activation="gelu"
        ),
        preprocess=PreprocessSpec(size=32),
    )
    write(Bundle(spec, create_model(spec, seed=0).state_dict()), tmp_path / "mixed")
    pairs = ["--pairs", str(trained / "data" / "pairs.tsv"), "--captions", "caption"]
    assert main(["inspect", str(tmp_path / "mixed"), *pairs]) == 1
    assert "nothing to find out, it is gelu and quick_gelu" in capsys.readouterr().err
    chinese = MODELS["Chinese-CLIP-ViT-B/16"]
    image = dataclasses.replace(chinese.image, image_size=32, layers=1, width=64, heads=1)
    text = dataclasses.replace(chinese.text, vocabulary_size=50, layers=1, width=64, heads=1)
    preprocess = dataclasses.replace(chinese.preprocess, size=32)
    spec = dataclasses.replace(chinese, embedding=32, image=image, text=text, preprocess=preprocess)
    tensors: dict[str, torch.Tensor] = {}
    weights = create_model(spec, seed=0).state_dict()
    for name, place in CHINESE_CLIP.places(spec).items():
        tensors |= place.split(weights[name])
    torch.save(tensors, tmp_path / "clip_cn.pt")
    assert main(["inspect", str(tmp_path / "clip_cn.pt"), *pairs]) == 1
    assert "all models of chinese_clip have it" in capsys.readouterr().err


def test_inspect_counts_operations_and_says_what_a_format_lacks(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(trained / "run" / "model"), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["gigaflops"]["image"] > 0
    assert facts["converts_to"]["open_clip"] == "yes"
    assert "modified_resnet" in facts["converts_to"]["huggingface"]


def test_convert_proves_its_work(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = str(trained / "run" / "model")
    assert main(["convert", model, str(tmp_path / "a"), "--format", "open_clip", "--json"]) == 0
    proof = json.loads(capsys.readouterr().out)
    assert max(proof["images"], proof["texts"]) <= 1e-6
    assert main(["inspect", str(tmp_path / "a")]) == 0
    assert main(["convert", model, str(tmp_path / "b"), "--format", "huggingface"]) == 1
    assert "modified_resnet" in capsys.readouterr().err
    assert not (tmp_path / "b").exists()


def test_convert_may_change_sizes_and_never_its_source(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "model"
    shutil.copytree(trained / "run" / "model", model)
    before = {path.name: path.read_bytes() for path in model.iterdir()}
    weights = next(model.glob("*.safetensors"))
    for source in (model, weights, model / "..", tmp_path / "x" / ".." / "model"):
        assert main(["convert", str(source), str(model), "--format", "open_clip"]) == 1
    assert "would be replaced; give another folder" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in model.iterdir()} == before
    assert main(["convert", str(model), str(tmp_path / "long"), "--format", "open_clip", "--context-length", "24"]) == 0
    assert read(tmp_path / "long").spec.text.context_length == 24


def test_a_blank_caption_of_the_validation_is_told_and_left_out(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = (trained / "data" / "pairs.tsv").read_text().splitlines()
    validation = trained / "data" / "validation.tsv"
    validation.write_text("\n".join([rows[0], "0.png\t", *rows[2:]]) + "\n")
    arguments = ["train", "small-drawings", "--data", str(trained / "data" / "pairs.tsv"), "--out", str(tmp_path)]
    small = ["vocabulary=560", "batch_size=4", "duration=2 steps", "evaluate_every=1", "model.image.stem_width=8"]
    small += ["model.image.heads=8", "data.in_memory=false", "precision=fp32"]
    sets = [part for value in small for part in ("--set", value)]
    assert main([*arguments, "--captions", "caption", "--validation", str(validation), *sets]) == 0
    told = capsys.readouterr()
    assert told.err.count("left out of the validation: 1, such as ") == 1
    assert "0.png has no caption" in told.err
    assert "the model is in" in told.out
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert sum("validation/text_retrieval_recall@1" in line for line in lines) == 2


def test_damaged_weights_are_told_and_not_converted(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "model"
    shutil.copytree(trained / "run" / "model", model)
    assert main(["inspect", str(model), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["weights_as_written"] == "yes"
    weights = next(model.glob("*.safetensors"))
    content = bytearray(weights.read_bytes())
    content[-500] ^= 1
    weights.write_bytes(content)
    assert main(["inspect", str(model), "--json"]) == 0
    assert "damaged" in json.loads(capsys.readouterr().out)["weights_as_written"]
    assert main(["convert", str(model), str(tmp_path / "b"), "--format", "diptych"]) == 1
    assert "damaged" in capsys.readouterr().err
    assert not (tmp_path / "b").exists()


def test_a_vocabulary_of_ones_own_is_learned_and_used(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = tmp_path / "words"
    arguments = [str(trained / "data" / "pairs.tsv"), "--captions", "caption", "--size", "530", "--out", str(words)]
    assert main(["tokenizer", "train", *arguments]) == 0
    assert "530" in capsys.readouterr().out
    learned = Tokenizer.from_files(words)
    assert learned.vocabulary_size == 530
    assert main(["tokenizer", "train", *arguments[:-1], str(tmp_path / "again")]) == 0
    assert main(["tokenizer", "train", *arguments]) == 1
    assert "holds files already (special_tokens_map.json" in capsys.readouterr().err
    assert main(["tokenizer", "train", "--help"]) == 0
    assert "diptych tokenizer train" in capsys.readouterr().out


SENTENCES = ["a red square", "a blue square", "", "a red circle", "ein Würfel"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("captions.txt", "\n".join(SENTENCES)),
        ("captions.csv", "caption\n" + "\n".join(f'"{text}"' for text in SENTENCES)),
        ("captions.tsv", "id\tcaption\n" + "\n".join(f"{i}\t{text}" for i, text in enumerate(SENTENCES))),
        ("captions.jsonl", "\n".join(json.dumps({"captions": [text, text]}) for text in SENTENCES[::2] + SENTENCES)),
    ],
)
def test_a_vocabulary_is_learned_from_words_without_images(
    name: str, content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_text(content + "\n", encoding="utf-8")
    assert main(["tokenizer", "train", str(tmp_path / name), "--out", str(tmp_path / "words")]) == 0
    shown = capsys.readouterr().out
    texts = 4 if name != "captions.jsonl" else 12
    assert re.search(rf"^texts +{texts}$", shown, re.MULTILINE)
    assert re.search(r"^entries +5\d\d of 49,408 asked for; the texts hold no more pairs", shown, re.MULTILINE)
    assert re.search(r"^learned for one text alone +\d+; a smaller --size", shown, re.MULTILINE) or texts == 12
    learned = Tokenizer.from_files(tmp_path / "words")
    assert learned.vocabulary_size < 600
    assert len(learned.encode("ein Würfel")) == 4


def test_columns_and_filters_of_captions_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "captions.csv"
    table.write_text("zh,good\n猫,true\n狗,false\n猫猫,true\n", encoding="utf-8")
    arguments = ["tokenizer", "train", str(table), "--captions", "zh", "--where", "good", "--out"]
    assert main([*arguments, str(tmp_path / "words")]) == 0
    assert re.search(r"^texts +2$", capsys.readouterr().out, re.MULTILINE)
    assert main([*arguments[:3], "--out", str(tmp_path / "b")]) == 1
    assert "no caption column" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "flags", "message"),
    [
        ("\n \n", [], "has no captions"),
        ("a cat\n", ["--size", "100000000000"], "must be from 514"),
        ("a cat\n", ["--size", "99999999999999999999999"], "must be from 514"),
        ("a cat\n", ["--captions", "txt"], "a caption a line"),
        ("a cat\n", ["--out", "photographs"], "holds files already (cat.jpg)"),
        ("a cat\n", ["--out", "captions.txt/words"], "captions.txt"),
    ],
)
def test_a_vocabulary_that_cannot_be_is_refused_before_the_work(
    content: str,
    flags: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("captions.txt").write_text(content)
    Path("photographs").mkdir()
    Path("photographs/cat.jpg").touch()
    out = [] if "--out" in flags else ["--out", "words"]
    assert main(["tokenizer", "train", "captions.txt", *out, *flags]) in (1, 2)
    assert message in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["captions.txt", "cat.jpg", "photographs"]


def test_evaluate_prints_and_writes_the_result(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = trained / "results"
    arguments = ["evaluate", str(trained / "run" / "model"), str(trained / "data" / "pairs.tsv")]
    arguments += ["--captions", "caption", "--out", str(out)]
    assert main(arguments) == 0
    captured = capsys.readouterr()
    assert "chance" in captured.out
    (file,) = out.glob("*.json")
    assert file.name.startswith(f"{trained.name}__pairs__en__retrieval__")
    assert f"the result is in {file}" in captured.err
    result = json.loads(file.read_text())
    assert result["task"] == "zeroshot_retrieval"
    assert 0 <= result["metrics"]["image_retrieval_recall@1"] <= 1
    before = file.stat().st_mtime_ns
    assert main([*arguments, "--json"]) == 0
    again = capsys.readouterr()
    assert f"the result was already in {file}" in again.err
    assert json.loads(again.out) == result
    assert file.stat().st_mtime_ns == before


def test_what_cannot_be_evaluated_does_not_lose_the_rest(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty.tsv").write_text("image\tcaption\n")
    model, data = str(trained / "run" / "model"), str(trained / "data" / "pairs.tsv")
    arguments = ["evaluate", model, str(tmp_path / "empty.tsv"), data, "--also", str(tmp_path / "nowhere"), "--json"]
    assert main(arguments) == 1
    captured = capsys.readouterr()
    assert [json.loads(line)["dataset"] for line in captured.out.splitlines()] == ["pairs"]
    errors = [line for line in captured.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 2
    assert sum("no usable rows" in line for line in errors) == 1  # for both models
    assert sum("nowhere" in line for line in errors) == 1


def test_classify_goes_on_after_a_bad_image(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "broken.png").write_bytes(b"not an image")
    Image.new("RGB", (30, 20), (220, 40, 40)).save(tmp_path / "red.png")
    images = [str(tmp_path / "broken.png"), str(tmp_path / "red.png")]
    model = str(trained / "run" / "model")
    assert main(["classify", model, *images, "--labels", "red,blue", "--templates", "name", "--json"]) == 1
    captured = capsys.readouterr()
    assert "broken.png" in captured.err
    labels = json.loads(captured.out)["labels"]
    assert set(labels) == {"red", "blue"}
    assert sum(labels.values()) == pytest.approx(1, abs=1e-5)


def test_help_says_what_each_verb_does(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(told in shown for told in ("Train a model", "Evaluate a model", "Say what", "Tell what"))


def test_labels_may_be_many_and_twice_and_their_file_must_be_text(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    arguments = ["classify", str(trained / "run" / "model"), str(tmp_path / "a.png"), "--json", "--labels"]
    assert main([*arguments, ",".join([str(i) for i in range(300)] * 2), "--templates", "name"]) == 0
    assert len(json.loads(capsys.readouterr().out)["labels"]) == 300
    (tmp_path / "labels.txt").write_bytes(b"caf\xe9\n")
    assert main([*arguments, str(tmp_path / "labels.txt")]) == 2
    assert "not UTF-8" in capsys.readouterr().err


def test_the_folder_of_a_run_leads_to_its_model(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(trained / "run")]) == 1
    assert str(trained / "run" / "model") in capsys.readouterr().err


def test_a_result_that_cannot_be_written_is_shown_all_the_same(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "replace", refuse)
    data = str(trained / "data" / "pairs.tsv")
    assert main(["evaluate", str(trained / "run" / "model"), data, "--out", str(tmp_path / "x")]) == 1
    captured = capsys.readouterr()
    assert "chance" in captured.out
    assert captured.err.splitlines()[-1] == f"error: cannot write: no space left on device (in {tmp_path / 'x'})"


@pytest.mark.parametrize(
    ("out", "told", "status"),
    [
        ("file", "--out {} is a file, and results go into a folder", 2),
        ("file/x", "cannot open {}: not a directory", 1),
        ("shut", "cannot write {}: permission denied", 1),
        ("shut/x", "cannot write {}: permission denied", 1),
        ("sealed/shut", "cannot write {}: read-only file system", 1),
    ],
)
def test_where_no_result_can_be_written_nothing_is_evaluated(
    out: str,
    told: str,
    status: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "shut").mkdir()
    (tmp_path / "sealed" / "shut").mkdir(parents=True)
    # Root may write anywhere.
    monkeypatch.setattr(os, "access", lambda path, mode: mode == os.R_OK or "shut" not in str(path))
    flags = os.statvfs(tmp_path).f_flag
    sealed = SimpleNamespace(f_flag=flags | os.ST_RDONLY)
    plain = SimpleNamespace(f_flag=flags & ~os.ST_RDONLY)
    monkeypatch.setattr(os, "statvfs", lambda path: sealed if "sealed" in str(path) else plain)
    assert main(["evaluate", "nowhere", "nothing", "--out", str(tmp_path / out)]) == status
    assert told.format(tmp_path / out) in capsys.readouterr().err


def test_what_is_wrong_with_data_is_said_once_for_all_tasks(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for split in ("train", "test"):
        (tmp_path / "pets" / split / "cat").mkdir(parents=True)
        Image.new("RGB", (9, 9), (len(split), 0, 0)).save(tmp_path / "pets" / split / "cat" / "0.png")
    tasks = [word for task in ("zero-shot", "linear-probe", "few-shot") for word in ("--task", task)]
    assert main(["evaluate", str(trained / "run" / "model"), f"pets={tmp_path / 'pets'}", *tasks]) == 1
    said = capsys.readouterr().err
    assert said.count("error: ") == 1
    assert "has 1 classes, but Oxford-IIIT Pets has 37; without 'pets=' before its place it is measured on" in said


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--templates", "", "'' is neither a set of templates nor a file"),
        ("--class-names", ".", "cannot read the class names .: it is no regular file; is it a folder"),
    ],
)
def test_what_is_no_file_is_told_by_its_name(
    option: str, value: str, told: str, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "data" / name).mkdir(parents=True)
        Image.new("RGB", (9, 9)).save(tmp_path / "data" / name / "0.png")
    assert main(["evaluate", str(trained / "run" / "model"), str(tmp_path / "data"), option, value]) in (1, 2)
    assert told in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_is_an_error_in_a_line(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    data = str(trained / "data" / "pairs.tsv")
    assert main(["train", "rn50", "--data", data, "--out", str(tmp_path / "file"), "--set", "batch_size=8"]) == 1
    assert capsys.readouterr().err.startswith("error: ")


def test_control_characters_of_damaged_files_do_not_reach_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.csv").write_text("\x1b[31mred,b\n1,2\n")
    assert main(["train", "rn50", "--data", str(tmp_path / "a.csv"), "--out", str(tmp_path / "out")]) == 1
    shown = capsys.readouterr().err
    assert "\x1b" not in shown
    assert "red" in shown


def test_a_warning_is_a_line(
    trained: Path, capsys: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    python_warnings.simplefilter("always")
    image = str(trained / "data" / "0.png")
    assert main(["classify", str(trained / "run" / "model"), image, "--labels", f"a,{'very ' * 80}long"]) == 0
    assert capsys.readouterr().err.startswith("warning: 1 of 2 texts were cut")


def test_locations_may_not_be_empty(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", ""]) == 1
    assert main(["train", "rn50", "--data", "", "--out", "nowhere"]) == 1
    assert capsys.readouterr().err.count("no location was given") == 2


def test_what_a_result_says_is_not_said_twice(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = tmp_path / "words"
    words.write_text("\n".join(["very " * 80 + "long", "short"]))
    for name in ("0", "1"):
        (tmp_path / "data" / name).mkdir(parents=True)
        shutil.copy(trained / "data" / "0.png", tmp_path / "data" / name)
    model = str(trained / "run" / "model")
    assert main(["evaluate", model, str(tmp_path / "data"), "--class-names", str(words)]) == 0
    shown = capsys.readouterr()
    assert shown.out.count("texts were cut") == 1
    assert "cut" not in shown.err


def test_listing_data_sets_does_not_wait_for_torch():
    program = "import sys; from diptych.cli.main import main; main(['datasets']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True).returncode == 0


def test_data_sets_are_listed_with_a_line_each_and_told_whole(capsys: pytest.CaptureFixture[str]) -> None:
    from diptych.evaluation.datasets import DATASETS

    assert main(["datasets"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1 : len(DATASETS) + 1]] == list(DATASETS)
    assert main(["datasets", "vtab/pcam"]) == 0
    assert "train 294,912, test 32,768" in capsys.readouterr().out
    assert main(["datasets", "pcam", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["pcam"]["sizes"]["paper"] == {"train": 294_912, "test": 32_768}
    assert main(["datasets", "pcm"]) == 2
    assert "did you mean 'pcam'" in capsys.readouterr().err


def test_recipes_are_listed_with_a_line_each_and_told_whole(capsys: pytest.CaptureFixture[str]) -> None:
    from diptych.training.recipes import RECIPES, summary

    assert main(["recipes"]) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [line.split()[0] for line in lines] == list(RECIPES)
    assert all(line.endswith(summary(name)) for line, name in zip(lines, RECIPES, strict=True))
    assert main(["recipes", "vit-b-32"]) == 0
    shown = capsys.readouterr().out
    assert "diptych train vit-b-32" in shown
    assert '"learning_rate": 0.0005' in shown
    assert main(["recipes", "vit-b-32", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["batch_size"] == 32_768
    assert main(["recipes", "vit-b-31"]) == 2
    assert "did you mean 'vit-b-32'" in capsys.readouterr().err


def test_a_recipe_is_tried_in_seconds(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = str(trained / "data" / "pairs.tsv")
    arguments = ["train", "vit-l-14", "--data", data, "--validation", data, "--out", str(tmp_path / "run")]
    assert main([*arguments, "--smoke", "--set", "optimizer.learning_rate=1e-3"]) == 0
    assert "the model is in" in capsys.readouterr().out
    recipe = json.loads((tmp_path / "run" / "recipe.json").read_text())
    assert (recipe["name"], recipe["duration"]) == ("ViT-L/14, smoke", "2 steps")
    assert recipe["optimizer"]["learning_rate"] == 1e-3


def test_tune_tells_why_trials_failed_under_a_table_that_can_be_read(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = str(trained / "data" / "pairs.tsv"), tmp_path / "tune"
    arguments = ["tune", "small-photographs", "--data", data, "--out", str(out), "--vary", "batch_size=4000,5000"]
    assert main([*arguments, "--validation", data, "--sampler", "grid"]) == 1
    shown = capsys.readouterr().out
    table, _, reasons = shown.partition("\n\n")
    assert max(map(len, table.splitlines())) < 80
    assert [line.partition(",")[0] for line in reasons.splitlines()] == [
        f"- trial {number} failed: batch_size is {number + 4}" for number in (0, 1)
    ]
    assert (out / "trials.md").read_text() == shown
    assert not (out / "trials.svg").exists()  # there is nothing to draw
    other = tmp_path / "other.tsv"
    other.write_text(f"image\tcaption\n{trained / 'data' / '0.png'}\ta card\n")
    assert main([*arguments, "--validation", str(other), "--sampler", "grid"]) == 1
    assert "holds another search; they differ in judged_by" in capsys.readouterr().err


def test_a_recipe_with_a_head_is_not_judged_by_its_towers(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = str(trained / "data" / "pairs.tsv")
    arguments = ["train", "vit-b-32", "--data", data, "--out", str(tmp_path / "run")]
    head = 'head={"classes": ["a", "b"], "templates": ["{}"]}'
    assert main([*arguments, "--set", head, "--validation", data]) == 2
    assert "diptych finetune trains and judges classifiers" in capsys.readouterr().err


def test_the_option_for_the_split_of_a_validation_source_is_named(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, held_out = str(trained / "data" / "pairs.tsv"), tmp_path / "held-out"
    for split in ("train", "val"):
        (held_out / split / "a").mkdir(parents=True)
    arguments = ["train", "small-drawings", "--data", data, "--out", str(tmp_path / "run"), "--smoke"]
    assert main([*arguments, "--validation", str(held_out)]) == 1
    assert "has the splits train, val; say which with split= (--validation-split)" in capsys.readouterr().err


def test_tune_is_told_of_a_wrong_metric_before_it_trains(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = str(trained / "data" / "pairs.tsv"), tmp_path / "tune"
    arguments = ["tune", "small-photographs", "--data", data, "--validation", data, "--out", str(out)]
    assert main([*arguments, "--vary", "seed=1,2", "--trials", "1", "--metric", "acc1"]) == 2
    told = capsys.readouterr().err
    assert "no evaluation gives 'acc1' (--metric)" in told
    assert "mean_recall" in told
    assert not out.exists()


def test_tune_ranks_its_trials_and_goes_on(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = str(trained / "data" / "pairs.tsv")
    arguments = ["tune", "small-photographs", "--data", data, "--validation", data, "--out", str(tmp_path / "tune")]
    small = ["vocabulary=560", "batch_size=4", "duration=1 steps", "model.image.stem_width=8", "model.image.heads=8"]
    arguments += [part for value in small for part in ("--set", value)]
    arguments += ["--vary", "optimizer.learning_rate=log(1e-4,1e-3)", "--vary", "loss.label_smoothing=0,0.1"]
    assert main([*arguments, "--trials", "1"]) == 0
    assert main([*arguments, "--trials", "2"]) == 0
    table = capsys.readouterr().out.splitlines()[-4:]
    assert table[0].startswith("| trial | validation/mean_recall | optimizer.learning_rate | loss.label_smoothing |")
    metrics = [float(line.split("|")[2]) for line in table[2:]]
    assert metrics == sorted(metrics, reverse=True)
    assert (tmp_path / "tune" / "trials.md").read_text().splitlines() == table
    figure = (tmp_path / "tune" / "trials.svg").read_text()
    assert figure.count("learning_rate") == 1
    assert "best" in figure
    assert len((tmp_path / "tune" / "trials.jsonl").read_text().splitlines()) == 4
    assert main([*arguments, "--trials", "2", "--seed", "3"]) == 1
    assert "another search" in capsys.readouterr().err
    assert main([*arguments, "--vary", "optimizer.rate=1,2", "--trials", "2"]) == 2
