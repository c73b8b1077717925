"""Progress of long commands."""

import time
from contextlib import AbstractContextManager
from types import TracebackType

from rich.progress import BarColumn, TaskID

from unbraid.core.console import Console, Progress, TextColumn

PLAIN_SECONDS = 10.0
"""Seconds between two lines of progress where there is no terminal."""


class Meter(AbstractContextManager["Meter"]):
    """Progress on standard error with rate and time left: a bar on a terminal, occasional lines elsewhere."""

    def __init__(self, title: str, total: int, console: Console | None = None) -> None:
        self.title, self.total, self.done = title, total, 0
        self.console = console or Console(stderr=True)
        self._bar: tuple[Progress, TaskID] | None = None
        self._began = self._printed = time.monotonic()

    def __enter__(self) -> "Meter":
        if self.console.is_terminal and self.total:
            bar = Progress(
                TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[text]}"), console=self.console
            )
            bar.start()
            self._bar = bar, bar.add_task(self.title, total=self.total, text="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar[0].stop()

    def advance(self, count: int) -> None:
        """Adds finished items."""
        self.done += count
        if self._bar:
            self._bar[0].update(self._bar[1], completed=self.done, text=self.text())
        elif time.monotonic() - self._printed > PLAIN_SECONDS:
            self._printed = time.monotonic()
            self.console.print(f"{self.title}: {self.text()}", soft_wrap=True)

    def text(self) -> str:
        """Returns the number of finished items, the rate and the time left."""
        rate = self.done / max(1e-6, time.monotonic() - self._began)
        left = int((self.total - self.done) / rate) if rate else 0
        clock = f"{left // 3600}:{left // 60 % 60:02d}:{left % 60:02d}"
        return f"{self.done} of {self.total}, {rate:.0f} a second, {clock} left"
