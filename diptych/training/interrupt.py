"""Ctrl-C, SIGTERM and a closed terminal (SIGHUP) end a run between two steps, so that it can be saved and resumed."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType, TracebackType

from diptych import distributed
from diptych.progress import say

_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Interrupt:
    """Within it, the first of these signals only sets ``asked``; a second one acts as usual, but not while a checkpoint
    is written."""

    def __init__(self) -> None:
        self.asked = self._saving = False
        self._before: dict[int, Callable[[int, FrameType | None], object] | int | None] = {}

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():  # Python allows handlers nowhere else
            for number in _SIGNALS:
                if signal.getsignal(number) != signal.SIG_IGN:  # as nohup asks
                    self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    @contextmanager
    def saving(self) -> Generator[None]:
        """Within it no signal does anything but be remembered."""
        self._saving = True
        try:
            yield
        finally:
            self._saving = False

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self._saving and self.asked:
            say("saving; this takes a moment")
        elif self.asked:
            self._restore()
            os.kill(os.getpid(), number)
        else:
            self.asked = True
            if distributed.is_main():
                say("stopping after this step, to save it; once more stops at once")

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
