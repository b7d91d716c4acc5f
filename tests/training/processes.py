"""Functions that run in processes of their own, alone or joined as training's are.

The processes are forked from one that has imported everything and has no threads, since imports take longer than most
of what is done in them.
"""

import multiprocessing
import os
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(["tests.training.preloaded"])


def run_in_processes(count: int, function: Callable[..., Any], *arguments: Any, folder: Path) -> list[Any]:
    """What ``function(*arguments)`` returned in each of ``count`` processes; an AssertionError that says where it
    failed."""
    results = folder / f"results-{count}"
    results.mkdir()
    started = [context.Process(target=_one, args=(rank, count, function, arguments, results)) for rank in range(count)]
    for process in started:
        process.start()
    for process in started:
        process.join(120)
    for process in started:
        if process.is_alive():
            process.kill()
    found = [
        torch.load(results / f"{rank}.pt", weights_only=False)
        for rank in range(count)
        if (results / f"{rank}.pt").exists()
    ]
    for rank, (fine, value) in enumerate(found):
        assert fine, f"process {rank}: {value}"
    assert len(found) == count, "a process ended early"
    return [value for _, value in found]


def _one(rank: int, count: int, function: Callable[..., Any], arguments: tuple[Any, ...], results: Path) -> None:
    torch.set_num_threads(1)
    try:
        join(rank, count, results / "store")
        answer = (True, function(*arguments))
    except BaseException:
        answer = (False, traceback.format_exc())
    torch.save(answer, results / f"{rank}.pt")
    dist.destroy_process_group()


def join(rank: int, count: int, store: Path, **options: Any) -> None:
    """Make this process one of several; ``store`` is a file that is not there yet."""
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=count, **options)
