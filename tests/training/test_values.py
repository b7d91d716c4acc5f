"""A value that cannot be is refused before any image is read, by its own name and with what it was."""

from pathlib import Path

import pytest

from diptych.config import override
from diptych.errors import ConfigError
from diptych.training import recipes


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("vocabulary=0", "vocabulary is 0, but must be from 514"),
        ("vocabulary=513", "vocabulary is 513"),
        ("loss.nested=[9999]", "loss.nested asks for 9999 dimensions"),
        ("model.text.context_length=2", "context_length is 2, but must be 3 or more"),
        ("duration=1.5 steps", "'2000 steps', which are whole"),
        ("duration=1e9 epochs", "in plain digits"),
        ("optimizer.weight_decay=-1", r"optimizer\.weight_decay must not be negative, not -1"),
        ("optimizer.beta1=1", r"optimizer\.beta1 must be from 0 to below 1, not 1"),
        ("optimizer.learning_rate=nan", "must be a finite number"),
        ("checkpoints.keep=0", r"checkpoints\.keep must be positive, not 0"),
        ("guard.window=0", r"guard\.window must be positive, not 0"),
        ("data.max_failures=2", r"data\.max_failures must be a share from 0 to 1, not 2"),
        ("trackers=tensorboard", r"must be a JSON list, such as \["),
        ("batch_size=8.5", "must be a whole number"),
    ],
)
def test_it_is_named(value: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        override(recipes.find("small-photographs")("pairs.csv"), [value])


def test_what_can_be_is_not_refused() -> None:
    values = ["vocabulary=514", "duration=0.5 epochs", "model.text.context_length=3", "loss.nested=[8]"]
    assert override(recipes.find("small-photographs")("pairs.csv"), values).vocabulary == 514


def test_windows_and_workers_are_no_more_than_a_run_can_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from diptych.training.loop import train
    from tests.training import small

    changes = ["data.length_window=100000", "data.workers=40"]
    run = train(override(small.recipe(small.make_data(tmp_path), steps=2), changes), tmp_path / "run")
    assert run.finished
    assert "data.workers is 40, of which this batch keeps 3 busy" in capsys.readouterr().err
