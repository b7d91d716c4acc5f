"""The cards tell what the run's files say, and stand in nobody's way."""

import json
import re
from pathlib import Path

import pytest

from diptych import load
from diptych.cli.main import main
from diptych.config import override
from diptych.training.accounting import read_accounting
from diptych.training.loop import train
from diptych.training.units import duration, operations, size
from tests.training import small


def test_both_cards_tell_what_the_run_was(tmp_path: Path) -> None:
    data = small.make_data(tmp_path / "data")
    (tmp_path / "data" / "5.png").write_bytes(b"no image")
    run = train(small.recipe(data, steps=12), tmp_path / "run", evaluators={"test": lambda _: {"recall@1": 0.125}})
    card = (run.folder / "model" / "README.md").read_text()
    front = re.match(r"---\n(.*?)\n---\n", card, re.DOTALL)
    assert front
    fields = dict(line.split(": ", 1) for line in front[1].splitlines())
    assert fields["pipeline_tag"] == "zero-shot-image-classification"
    assert fields["license"] == "unknown"
    told = read_accounting(run.folder)
    count = sum(parameter.numel() for parameter in run.clip.model.image.parameters())
    for fact in (f"{count:,} parameters", f"| samples seen | {told['samples']:,} |", operations(told["flops"])):
        assert fact in card
    assert "| test/recall@1 | 0.125 | not known |" in card
    assert "surveillance" in card
    described = (run.folder / "data-card.md").read_text()
    assert "| samples | 24 |" in described
    assert "| captions from | caption |" in described
    assert "1, each replaced by another:" in described
    assert "5.png" in described
    assert "| short side of images | 40 px (median); from 40 to 40 px |" in described


def test_a_finished_model_with_a_card_is_read_and_written_again(tmp_path: Path) -> None:
    data = small.make_data(tmp_path / "data")
    run = train(small.recipe(data, steps=2), tmp_path / "run")
    again = train(small.recipe(data, steps=2), tmp_path / "run", resume=True)
    assert again.finished
    assert sorted(path.name for path in (run.folder / "model").iterdir()).count("README.md") == 1
    assert load(run.folder / "model").model.spec == run.clip.model.spec


def test_a_card_that_cannot_be_written_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("diptych.training.loop.write_data_card", refuse)
    assert train(small.recipe(small.make_data(tmp_path / "data"), steps=1), tmp_path / "run").finished
    assert "the cards of the run were not written: no space left" in capsys.readouterr().err


def test_the_card_of_a_run_that_began_from_weights_says_so(tmp_path: Path) -> None:
    data = small.make_data(tmp_path / "data")
    base = str(train(small.recipe(data, steps=1), tmp_path / "base").folder / "model")
    plain = (Path(base) / "README.md").read_text()
    assert "begun from" not in plain
    assert "EMA" not in plain
    assert "| optimiser | AdamW |" in plain
    values = ["start.weights=" + base, f"vocabulary={load(base).spec.text.vocabulary_size}", "ema=0.9"]
    values += ["image_tower.learns=adapters of rank 4", "text_tower.learns=nothing", "optimizer.algorithm=muon"]
    run = train(override(small.recipe(data, steps=1), values), tmp_path / "run")
    card = (run.folder / "model" / "README.md").read_text()
    for fact in (
        f"| begun from | both towers of `{base}` |",
        "| learns of the image tower | adapters of rank 4 |",
        "| learns of the text tower | nothing |",
        "| optimiser | Muon |",
        "of decay 0.9 (EMA)",
        f"in one space, begun from both towers of `{base}` and trained by the recipe `small`",
    ):
        assert fact in card


def test_each_source_of_a_mixture_is_told_by_itself(tmp_path: Path) -> None:
    data, other = small.make_data(tmp_path / "data"), small.make_data(tmp_path / "other", images=8)
    other.write_text(other.read_text().replace("image\tcaption", "image\ttitle"))
    recipe = small.recipe(data, steps=1)
    mixture = [{"source": str(other), "captions": ["title"], "weight": [[0, 0.5], [4, 1]]}]
    mixed = override(recipe, ["data.weight=3", "data.mixture=" + json.dumps(mixture)])
    run = train(mixed, tmp_path / "run")
    described = (run.folder / "data-card.md").read_text()
    assert "| source | captions from | weight |" in described
    assert f"| `{data}` | caption | 3 |" in described
    schedule = "0.5 at step 0, 1 at step 4, linear between"
    assert f"| `{other}` | title | {schedule} |" in described
    card = (run.folder / "model" / "README.md").read_text()
    assert f"- `{data}`, captions from caption, weight 3\n" in card
    assert f"- `{other}`, captions from title, weight {schedule}\n\nWhat is known of them" in card


def test_the_command_line_adds_intervals(tmp_path: Path) -> None:
    data = str(small.make_data(tmp_path / "data"))
    changes = ["batch_size=4", "duration=1 steps", "model.image.stem_width=8", "model.image.heads=8", "vocabulary=560"]
    changes += ["optimizer.warmup_steps=0", "precision=fp32"]
    sets = [part for value in changes for part in ("--set", value)]
    arguments = ["train", "small-drawings", "--data", data, "--captions", "caption", "--out", str(tmp_path / "run")]
    assert main([*arguments, "--validation", data, *sets]) == 0
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    [line] = [line for line in card.splitlines() if "validation/text_retrieval_recall@1 |" in line]
    assert re.fullmatch(r"\| \S+ \| [\d.]+ \| 0\.\d{4} to [01]\.\d{4} \|", line)


def test_numbers_as_people_say_them() -> None:
    assert [size(count) for count in (0, 1023, 1536, 200 * 2**20, 5 * 2**40)] == [
        *("0 bytes", "1023 bytes", "1.5 KiB", "200 MiB", "5.0 TiB")
    ]
    assert [operations(count) for count in (12, 8.817e9, 1.23e21)] == ["12 FLOP", "8.82 GFLOP", "1.23 ZFLOP"]
    assert [duration(seconds) for seconds in (0.25, 90, 7200, 10**6)] == ["0.25 s", "1.5 min", "2 hours", "12 days"]
