import io
import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from making import jpeg, pairs, tar, tokenize
from PIL import Image

from diptych.data.augment import Augmentation
from diptych.data.loader import Loader
from diptych.data.memory import InMemory
from diptych.data.order import Walk
from diptych.data.sources import Sample, open_source
from diptych.data.visits import Visits
from diptych.errors import DataError, TooManyFailures
from diptych.specs import PreprocessSpec

SPEC = PreprocessSpec(size=16)


class Memory:
    """A source of samples given as a list; exceptions in it are raised."""

    class_names = None
    templates = None
    name = "memory"

    def __init__(self, samples):
        self.samples = samples

    def __len__(self):
        return len(self.samples)

    def read(self, i):
        if isinstance(self.samples[i], Exception):
            raise self.samples[i]
        return self.samples[i]


def good(i: int, captions: int = 3) -> Sample:
    return Sample(jpeg(i), tuple(f"caption {i} {c}" for c in range(captions)), None, f"key{i}")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    for shard in range(3):
        tar(folder / f"{shard}.tar", pairs(shard * 30, shard * 30 + 30))
    return open_source(folder, captions=["json.captions.en"])


def same(a, b) -> bool:
    return (
        torch.equal(a.pixels_BCHW, b.pixels_BCHW)
        and torch.equal(a.tokens.ids_BL, b.tokens.ids_BL)
        and torch.equal(a.tokens.lengths_B, b.tokens.lengths_B)
        and a.captions == b.captions
        and a.keys == b.keys
        and torch.equal(a.image_ids_B, b.image_ids_B)
    )


STRONG = Augmentation(scale=(0.3, 1.0), aspect=1.3, flip=0.5, rotation=10, colour=0.3, hue=0.1, grey=0.2, erase=0.5)


def test_batches_are_the_same_for_any_number_of_workers_and_from_any_step(source):
    options = {"batch_size": 50, "tokenizer": tokenize, "visits": Visits(augmentation=STRONG, seed=5)}
    with Loader(source, SPEC, workers=0, **options) as loader:
        expected = list(loader.batches(0, 5))
    for workers in (1, 3):
        with Loader(source, SPEC, workers=workers, **options) as loader:
            assert all(map(same, loader.batches(0, 5), expected))
            assert same(next(loader.batches(3)), expected[3])
    assert not same(expected[0], expected[1])


def test_a_batch_holds_what_belongs_together(source):
    with Loader(source, SPEC, batch_size=40, tokenizer=tokenize) as loader:
        batch = next(loader.batches(7, 8))
    assert batch.pixels_BCHW.shape == (40, 3, 16, 16)
    assert batch.pixels_BCHW.dtype == torch.float32
    assert (batch.position, batch.epoch) == (280, 3)
    lengths = [len(caption) + 2 for caption in batch.captions]
    assert batch.tokens.lengths_B.tolist() == lengths
    assert batch.tokens.ids_BL.shape == (40, max(lengths))
    for row, (index, key, caption) in enumerate(zip(batch.image_ids_B, batch.keys, batch.captions, strict=True)):
        assert key == f"s{index:05}"
        assert caption in (f"a {index}", f"b {index}")
        assert (batch.tokens.ids_BL[row, lengths[row] :] == 0).all()
    assert len(set(batch.text_ids_M.tolist())) == len(set(batch.captions))


def test_every_epoch_visits_every_sample_once_and_draws_captions_anew(source):
    with Loader(source, SPEC, batch_size=45) as loader:
        batches = list(loader.batches(0, 8))
    captions = []
    for epoch in range(4):
        ids = torch.cat([batch.image_ids_B for batch in batches[2 * epoch : 2 * epoch + 2]])
        assert sorted(ids.tolist()) == list(range(90))
        captions.append({caption for batch in batches[2 * epoch : 2 * epoch + 2] for caption in batch.captions})
    assert batches[0].tokens is None
    assert len(set.union(*captions)) > 140  # of 180
    assert captions[0] != captions[1]


def test_a_source_smaller_than_a_batch_fills_it():
    with Loader(Memory([good(0), good(1), good(2)]), SPEC, batch_size=64, workers=1) as loader:
        batch = next(loader.batches())
    assert batch.image_ids_B.bincount().tolist() in ([21, 21, 22], [21, 22, 21], [22, 21, 21])


def test_parts_make_up_the_steps_of_one_process(source):
    with Loader(source, SPEC, batch_size=24, visits=Visits(augmentation=STRONG)) as whole:
        expected = list(whole.batches(2, 4))
    with Loader(source, SPEC, batch_size=12, visits=Visits(augmentation=STRONG)) as half:
        parts = [list(half.batches(2, 4, part=part, parts=2)) for part in (0, 1)]
    for step in (0, 1):
        assert torch.equal(
            torch.cat([part[step].pixels_BCHW for part in parts]),
            expected[step].pixels_BCHW,
        )
        assert parts[0][step].captions + parts[1][step].captions == expected[step].captions


FAULTS = {
    "truncated": (jpeg(1)[:400], ("a",)),
    "empty image": (b"", ("a",)),
    "no image": (b"not an image at all", ("a",)),
    "missing": (Path("nowhere/at/all.jpg"), ("a",)),
    "empty caption": (jpeg(1), ()),
}


@pytest.mark.parametrize("workers", [0, 2])
def test_bad_samples_are_replaced_counted_and_listed(workers):
    samples = [good(i) for i in range(60)]
    for place, (name, (image, captions)) in enumerate(FAULTS.items()):
        samples[place * 7] = Sample(image, captions, None, name)
    samples[50] = DataError("unreadable.txt is not UTF-8")
    samples[51] = PermissionError("locked.jpg")
    with Loader(Memory(samples), SPEC, batch_size=20, workers=workers, max_failures=0.5) as loader:
        batches = list(loader.batches(0, 6))
    assert all(len(batch.keys) == 20 for batch in batches)
    bad = {0, 7, 14, 21, 28, 50, 51}
    assert set(loader.failures.reasons) == bad
    assert loader.failures.count >= 14  # each in two epochs
    assert not {int(i) for batch in batches for i in batch.image_ids_B} & bad
    report = loader.report()
    assert "7 sample(s) failed" in report
    assert all(name in "".join(loader.failures.reasons.values()) for name in FAULTS)
    with Loader(Memory(samples), SPEC, batch_size=20, workers=0, max_failures=0.5) as again:
        assert all(torch.equal(a.pixels_BCHW, b.pixels_BCHW) for a, b in zip(batches, again.batches(), strict=False))


@pytest.mark.parametrize("workers", [0, 1])
def test_too_many_failures_stop_with_examples(workers):
    samples = [good(i) for i in range(20)] + [Sample(b"junk", ("a",), None, f"bad{i}") for i in range(10)]
    with (
        Loader(Memory(samples), SPEC, batch_size=30, workers=workers, max_failures=0.2) as loader,
        pytest.raises(TooManyFailures, match=r"more than the 20.0% allowed; .* bad\d: .*not an image"),
    ):
        list(loader.batches(0, 10))
    with (
        Loader(Memory(samples[20:]), SPEC, batch_size=4, workers=workers, max_failures=1.0) as loader,
        pytest.raises(TooManyFailures, match="100 samples in a row"),
    ):
        next(loader.batches())


TINY = PreprocessSpec(size=2)


@pytest.mark.parametrize(("samples", "share"), [(20, 0.05), (40, 0.05), (100, 0.05), (100, 0.29)])
def test_a_share_of_bad_samples_that_is_allowed_never_stops(samples, share):
    bad = round(share * samples)
    items = [DataError("gone") if i < bad else good(0) for i in range(samples)]
    for seed in range(8):
        with Loader(
            Memory(items), TINY, batch_size=20, workers=0, visits=Visits(seed=seed), max_failures=share
        ) as loader:
            list(loader.batches(0, samples // 5))  # four epochs
        assert len(loader.failures.reasons) == bad
    items[-1] = DataError("gone")
    with (
        Loader(Memory(items), TINY, batch_size=20, workers=0, max_failures=share) as loader,
        pytest.raises(TooManyFailures, match=f"{bad + 1} of the {samples} samples failed"),
    ):
        list(loader.batches(0, samples // 5))


def test_one_bad_shard_counts_as_its_share_of_all():
    sizes = (40,) * 100
    first = (
        int(Walk(sizes, 0).visited(np.array([0]))[0]) // 40
    )  # one of those that are mixed with each other at the start
    source = Memory([DataError("lost shard") if i // 40 == first else good(0) for i in range(4000)])
    source.shard_sizes = sizes
    with Loader(source, TINY, batch_size=50, workers=0, max_failures=0.02) as loader:
        list(loader.batches(0, 20))
    assert len(loader.failures.reasons) == 40


class Large(Memory):
    """A million samples, of which one in ``nth`` cannot be read."""

    def __init__(self, nth: int) -> None:
        self.nth, self.reads = nth, 0

    def __len__(self):
        return 1_000_000

    def read(self, i):
        self.reads += 1
        if i * 2654435761 % 2**32 % self.nth == 0:
            raise DataError(f"sample {i} is gone")
        return good(0)


@pytest.mark.parametrize(("nth", "reads"), [(1, 200), (2, 1000), (5, 20_000)])
def test_a_source_far_beyond_what_is_allowed_is_found_out_early(nth, reads):
    source = Large(nth)
    with (
        Loader(source, TINY, batch_size=50, workers=0, max_failures=0.05) as loader,
        pytest.raises(TooManyFailures, match=r"in a row|far more than the 5.0% allowed; .* is gone"),
    ):
        list(loader.batches(0, 20_000))
    assert source.reads < reads


def test_a_killed_worker_is_a_clear_error_and_the_loader_can_go_on(source):
    with Loader(source, SPEC, batch_size=30, workers=2, tokenizer=tokenize) as loader:
        batches = loader.batches()
        expected = [next(batches) for _ in range(3)]
        os.kill(loader._pool._processes[1].pid, signal.SIGKILL)
        with pytest.raises(DataError, match=r"worker 1 .* SIGKILL; .* memory"):
            list(itertools.islice(batches, 20))
        assert same(next(loader.batches(2)), expected[2])


class Wrong(Memory):
    def read(self, i):
        return 1 / 0


def test_a_mistake_in_a_worker_comes_with_its_traceback():
    with (
        Loader(Wrong([1, 2, 3]), SPEC, batch_size=2, workers=1) as loader,
        pytest.raises(DataError, match=r"(?s)worker failed.*ZeroDivisionError"),
    ):
        next(loader.batches())


def test_workers_start_once_and_are_gone_after_close(source):
    loader = Loader(source, SPEC, batch_size=30, workers=2)
    list(loader.batches(0, 4))
    first = [process.pid for process in loader._pool._processes]
    for _ in itertools.islice(loader.batches(1), 2):
        pass  # left while batches are under way
    assert [process.pid for process in loader._pool._processes] == first
    loader.close()
    for pid in first:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_two_passes_at_once_are_refused(source):
    with Loader(source, SPEC, batch_size=8, workers=1) as loader:
        batches = loader.batches()
        next(batches)
        with pytest.raises(DataError, match="read already"):
            next(loader.batches())
        assert len(next(batches).keys) == 8


SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from diptych.data.loader import Loader
from diptych.data.sources import open_source
from diptych.specs import PreprocessSpec
loader = Loader(open_source({data!r}), PreprocessSpec(size=16), batch_size=32, workers=2)
for number, batch in enumerate(loader.batches()):
    if number == 2:
        print(*(process.pid for process in loader._pool._processes), flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_workers_do_not_outlive_their_parent(tmp_path, number):
    data = str(tar(tmp_path / "a.tar", pairs(0, 40)))
    script = SCRIPT.format(tests=str(Path(__file__).parent), data=data)
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout
    pids = [int(pid) for pid in process.stdout.readline().split()]
    assert len(pids) == 2
    if number == signal.SIGINT:
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does it
    else:
        process.kill()
    _, errors = process.communicate(timeout=20)
    if number == signal.SIGINT:
        assert errors.count("Traceback") == 1
        assert errors.rstrip().endswith("KeyboardInterrupt")
    deadline = time.monotonic() + 10
    while any(_runs(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.05)


STUCK = """
import os, sys
sys.path.insert(0, {tests!r})
from diptych.data.loader import Loader
from diptych.specs import PreprocessSpec
from test_loader import Memory
class Stuck(Memory):
    def read(self, i):
        os.write(1, b"%d\\n" % os.getpid())  # whole, whatever the other one writes
        return open({fifo!r}, "rb").read()
next(Loader(Stuck([0] * 64), PreprocessSpec(size=16), batch_size=64, workers=2).batches())
"""


def test_workers_that_wait_for_a_file_do_not_outlive_their_parent_either(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    script = STUCK.format(tests=str(Path(__file__).parent), fifo=str(tmp_path / "fifo"))
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    pids = [int(process.stdout.readline()) for _ in range(2)]
    try:
        process.kill()
        process.wait(timeout=20)
        process.stdout.close()
        deadline = time.monotonic() + 10
        while any(map(_runs, pids)):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        for pid in filter(_runs, pids):
            os.kill(pid, signal.SIGKILL)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_source_without_samples_is_refused():
    with pytest.raises(DataError, match="no samples"):
        Loader(Memory([]), SPEC, batch_size=2)


def test_odd_images_train(tmp_path):
    def encoded(image: Image.Image, kind: str, **options) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        return buffer.getvalue()

    ramp = Image.fromarray(np.add.outer(np.arange(30) * 4, np.arange(50) * 2).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    odd = [
        encoded(ramp.convert(mode), kind)
        for mode, kind in [
            ("P", "PNG"),
            ("LA", "PNG"),
            ("CMYK", "JPEG"),
            ("L", "JPEG"),
            ("RGBA", "WEBP"),
            ("1", "TIFF"),
        ]
    ]
    odd += [encoded(ramp, "JPEG", exif=exif), encoded(Image.fromarray(np.full((40, 30), 9, np.uint16)), "PNG")]
    odd += [encoded(ramp, "JPEG", progressive=True), encoded(Image.new("RGB", (1, 1)), "PNG")]
    samples = [Sample(image, ("x",), None, str(i)) for i, image in enumerate(odd)]
    with Loader(Memory(samples), SPEC, batch_size=10, visits=Visits(augmentation=STRONG)) as loader:
        batch = next(loader.batches())
    assert loader.failures.count == 0
    assert torch.isfinite(batch.pixels_BCHW).all()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_source_held_in_memory_gives_the_same_training(source, workers):
    options = {"batch_size": 40, "tokenizer": tokenize, "visits": Visits(seed=2)}
    with Loader(Memory([source.read(i) for i in range(90)]), SPEC, **options) as loader:
        expected = next(loader.batches(3))
    held = InMemory(source, side=100)
    assert held.nbytes == 90 * 40 * 30 * 3
    with Loader(held, SPEC, workers=workers, **options) as loader:
        assert same(next(loader.batches(3)), expected)


def test_memory_is_bounded_and_bad_samples_stay_bad():
    samples = [good(0), Sample(b"junk", ("a",), None, "bad"), Sample(jpeg(2, (400, 300)), ("b",), 3, "large")]
    held = InMemory(Memory(samples), side=60)
    assert held.read(2).image.shape == (60, 80, 3)
    assert (held.read(2).label, held.read(2).key) == (3, "large")
    with pytest.raises(DataError, match="bad: "):
        held.read(1)
    with pytest.raises(DataError, match="3 of the 3"):
        InMemory(Memory(samples), side=60, limit=14_000)


def test_batches_larger_than_pipes_do_not_deadlock():
    samples = [Sample(jpeg(0, (4, 4)), (f"{i} " * 300,), None, f"key{i}") for i in range(50)]
    with Loader(Memory(samples), PreprocessSpec(size=2), batch_size=3000, workers=1) as loader:
        assert [len(batch.keys) for batch in loader.batches(0, 4)] == [3000] * 4


@pytest.mark.parametrize("workers", [0, 2])
def test_several_captions_of_an_image_differ_and_stand_together(source, workers):
    captions = ("a", "b", "c")
    samples = [Sample(jpeg(i), captions[: 1 + i % 3], None, f"s{i}") for i in range(9)]
    options = {
        "batch_size": 9,
        "tokenizer": tokenize,
        "visits": Visits(captions_per_image=3, seed=1),
        "workers": workers,
    }
    drawn = set()
    with Loader(Memory(samples), SPEC, **options) as loader:
        for batch in loader.batches(0, 12):
            assert len(batch.captions) == len(batch.text_ids_M) == len(batch.tokens.ids_BL) == 27
            for row, index in enumerate(batch.image_ids_B.tolist()):
                own = batch.captions[3 * row : 3 * row + 3]
                assert set(own) == set(captions[: 1 + index % 3])
                drawn.add(own)
    assert len(drawn) > 9  # every order of them comes up
