import io
import json
import os
import signal
from pathlib import Path

import pytest

from diptych.errors import TrainingError
from diptych.training.interrupt import Interrupt
from diptych.training.watch import Watch
from tests.training import small

RECIPE = small.recipe(Path("pairs.tsv"))
METRICS = {"loss": 1.5, "logit_scale": 14.3, "samples_per_second": 100.0}


def write(folder: Path, first_step: int, last_step: int, stream: io.StringIO | None = None) -> None:
    watch = Watch(folder, RECIPE, first_step=first_step, steps=10, stream=stream or io.StringIO())
    for step in range(first_step + 1, last_step + 1):
        watch.step(step, METRICS)
    watch.close()


def steps_in(folder: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_resuming_drops_the_lines_of_steps_to_be_repeated_and_a_torn_one(tmp_path: Path) -> None:
    write(tmp_path, 0, 7)
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 8, "lo')
    write(tmp_path, 5, 10)
    assert steps_in(tmp_path) == list(range(1, 11))


def test_metrics_of_another_run_are_not_continued(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text("not a line of metrics\n")
    with pytest.raises(TrainingError, match=r"metrics\.jsonl"):
        Watch(tmp_path, RECIPE, first_step=5, steps=10, stream=io.StringIO())


def test_in_a_pipe_progress_is_plain_lines_with_the_time_left(tmp_path: Path) -> None:
    stream = io.StringIO()
    write(tmp_path, 0, 10, stream)
    lines = stream.getvalue().splitlines()
    assert lines[0].startswith("step 1/10  loss 1.500  scale 14.3  100 samples/s  0:00 left")
    assert lines[-1].startswith("step 10/10")
    assert "\r" not in stream.getvalue()


def test_on_a_terminal_progress_is_one_bar_that_messages_do_not_tear(tmp_path: Path) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    watch = Watch(tmp_path, RECIPE, first_step=2, steps=10, stream=stream)
    watch.bar.mininterval = 0
    for step in range(3, 11):
        watch.step(step, METRICS)
    watch.evaluation(10, {"recall": 0.5})
    watch.close()
    written = stream.getvalue()
    assert "10/10" in written
    assert "loss 1.500  scale 14.3  100 samples/s" in written
    assert [line.split("\r")[-1] for line in written.splitlines() if "recall" in line] == ["step 10: recall 0.5"]
    assert written.count("\n") == 2  # after the message and after the bar


def test_tensorboard_gets_the_same_numbers(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    write(tmp_path, 0, 4)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(step, 1.5) for step in range(1, 5)]


def test_tensorboard_reads_as_one_run_after_a_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.summary.writer import event_file_writer

    # Files of one second and process are read in the order of their numbers as texts, in which 10 is before 9.
    monkeypatch.setattr(event_file_writer, "_global_uid", event_file_writer.AtomicCounter(0))
    write(tmp_path, 0, 7)
    write(tmp_path, 5, 10)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("loss")] == list(range(1, 11))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_asks_and_handlers_come_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with Interrupt() as interrupt:
        assert not interrupt.asked
        os.kill(os.getpid(), number)
        assert interrupt.asked
        with interrupt.saving():
            os.kill(os.getpid(), number)  # a checkpoint is not cut off
    assert signal.getsignal(number) is before


def test_a_second_ctrl_c_leaves_at_once_but_not_while_saving(capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGINT)
    with Interrupt() as interrupt:
        os.kill(os.getpid(), signal.SIGINT)
        with interrupt.saving():
            os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
    told = capsys.readouterr().err.splitlines()
    assert [line.split()[0] for line in told] == ["stopping", "saving;"]
