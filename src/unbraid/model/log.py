"""What a run says: log.jsonl is the truth, the progress bar and trackers show it."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, TaskID
from rich.table import Column

from unbraid.core.console import Console, Progress, TextColumn
from unbraid.core.files import Json, check_value, json_text, parse_json, write_atomically
from unbraid.core.names import in_figure, in_text
from unbraid.core.types import DOMAINS, UserError
from unbraid.model.run import moved
from unbraid.model.saved import Count, Position
from unbraid.model.trackers import Trackers

LOG_EVERY = 50
"""Steps between two lines of losses, each the mean of the steps since the last."""
PLAIN_SECONDS = 30
"""Seconds between two lines where there is no terminal to draw a bar on."""

RENAMED = {"watched": "diagnostics", "domain told, %": "domain accuracy, %"}
"""Names in logs of version 0.1, and in those of this version."""


LABELS = {
    f"{name}{way}": f"{label} {way}"
    for name, label in (("", "recall@1 (%)"), ("exclusive ", "by exclusive codes (%)"))
    for way in ("a->b", "b->a")
}
"""Names of figures in log.jsonl that say too little on the screen."""


class Log:
    """Writes log.jsonl and shows progress.

    Args:
        folder: The run's folder.
        quiet: Show nothing.
        writes: Write anything; False for ranks other than the first.
        track: Names of trackers that show it too.
        settings: The run's settings, as plain values, for them.
        names: What the domains are called.
    """

    def __init__(
        self,
        folder: Path,
        quiet: bool = False,
        writes: bool = True,
        track: Sequence[str] = (),
        settings: Mapping[str, Any] | None = None,
        names: tuple[str, str] = DOMAINS,
    ) -> None:
        self.names = names
        self.path, self.writes = folder / "log.jsonl", writes
        self.console = Console(stderr=True, quiet=quiet)
        self._bar: tuple[Progress, TaskID] | None = None
        self._began: tuple[tuple[int, bool], float, float] | None = None
        self._reported = 0.0
        self._trackers = Trackers(track, folder, settings or {}, lambda text: self.console.print(text, soft_wrap=True))

    def resume(self, position: Position) -> None:
        """Drops the lines that were written after the checkpoint: they come again."""
        if not self.writes or not self.path.exists():
            return
        if position.stage == 0:  # steps of later stages count anew: there it would take earlier ones
            self._trackers.resume(position.step)
        kept = [row for row in read_log(self.path) if (row["stage"], row["step"]) <= (position.stage, position.step)]
        write_atomically(self.path, lambda file: file.write_text("".join(json_text(row) + "\n" for row in kept)))

    def event(self, position: Position, text: str) -> None:
        """Something worth knowing, for the log and for the eyes, with the domains' names."""
        text = in_text(text, self.names)
        self._write(position, {"event": text})
        self.console.print(text, soft_wrap=True)
        self._trackers.text(position.step, "event", text)

    def losses(self, position: Position, losses: dict[str, float]) -> None:
        """Mean losses of the last steps."""
        self._write(position, {"losses": losses})
        self._show(position, "loss", losses)

    def diagnostics(self, position: Position, values: dict[str, float]) -> None:
        """Writes the mean diagnostics of the last steps, and gradient norms."""
        self._write(position, {"diagnostics": values})
        self._show(position, "diagnostics", values)

    def validation(self, position: Position, figures: dict[str, float]) -> None:
        """Writes figures of the validation part."""
        self._write(position, {"validation": figures})
        text = in_a_line(figures, self.names)
        minutes = f"{position.seconds / 60:.1f} min"
        self.console.print(f"step {position.step}, {minutes}: held-out {text or 'items not measured'}", soft_wrap=True)
        self._show(position, "validation", figures)

    def picture(self, position: Position, file: Path) -> None:
        """Shows a picture that training drew to the trackers."""
        self._trackers.images(position.step, {"samples": file})

    def progress(
        self, position: Position, done: float, items: int, losses: dict[str, float], whole: bool = True
    ) -> None:
        """Shows items a second, and the time left by the speed in this stage, for those of other stages differ.

        Args:
            position: Where training stands.
            done: Share of the run.
            items: In a step.
            losses: By name.
            whole: The loss has all its terms; before, steps are shorter than later.
        """
        now, part = time.monotonic(), (position.stage, whole)
        if self._began is None or self._began[0] != part:
            self._began = part, now, done
        _, began, done_before = self._began
        speed = (done - done_before) / max(now - began, 1e-9)
        left = _clock((1 - done) / speed) if speed > 0 and now - began > 1 else "?"
        rate = items * position.step / max(position.seconds, 1e-9)
        named = "  ".join(f"{in_figure(name, self.names)} {value:.3g}" for name, value in losses.items())
        text = f"step {position.step}  {rate:.0f} a second  {'' if whole or left == '?' else 'over '}{left} left"
        if self.console.is_terminal:
            if self._bar is None:
                words = TextColumn("{task.description}", table_column=Column(ratio=1, no_wrap=False))
                bar = Progress(
                    TextColumn("{task.percentage:3.0f}%"), BarColumn(20), words, console=self.console, expand=True
                )
                bar.start()
                self._bar = (bar, bar.add_task("", total=1.0))
            self._bar[0].update(self._bar[1], completed=done, description=f"{text}\n{named}")
        elif now - self._reported > PLAIN_SECONDS:
            self._reported = now
            self.console.print(f"{100 * done:3.0f}%  {text}  {named}", soft_wrap=True)

    def close(self) -> None:
        """Takes the bar away."""
        if self._bar:
            self._bar[0].stop()
            self._bar = None
        self._trackers.close()

    def _show(self, position: Position, kind: str, values: Mapping[str, float]) -> None:
        """Shows numbers to the trackers; those of later stages, whose steps count anew, under names of their own."""
        stage = f"stage {position.stage + 1}, " if position.stage else ""
        self._trackers.scalars(position.step, {f"{stage}{kind}/{name}": value for name, value in values.items()})

    def _write(self, position: Position, row: Json) -> None:
        if not self.writes:
            return
        head = {"stage": position.stage, "step": position.step, "seconds": round(position.seconds, 1)}
        try:
            with self.path.open("a") as file:
                file.write(json_text({**head, **row}) + "\n")
        except FileNotFoundError as error:
            raise UserError(moved(self.path.parent)) from error
        except OSError as error:
            raise UserError(f"Could not write {self.path}: {error.strerror}. The last checkpoint is kept") from error


def in_a_line(figures: dict[str, float], names: tuple[str, str] = DOMAINS) -> str:
    """Returns the figures in few words: those of both directions stand together, "variety 20.5 / 18.1", after a word
    which of them comes first.

    Args:
        figures: By name, as log.jsonl has them.
        names: What the domains are called.
    """
    figures = {LABELS.get(name, name): value for name, value in figures.items()}
    words = []
    for name, value in figures.items():
        what = name.removesuffix("a->b")
        form = ".3f" if "LPIPS" in name else ".1f"
        back = figures.get(f"{what}b->a")
        if what and what != name and back is not None:
            words.append(f"{what}{value:{form}} / {back:{form}}")
        elif not (name.endswith(" b->a") and f"{name.removesuffix('b->a')}a->b" in figures):
            words.append(f"{in_text(name, names)} {value:{form}}")
    both = f"({in_text('a->b', names)} / back) " if any(" / " in one for one in words) else ""
    return both + ", ".join(words)


@dataclass
class Row:
    """A line of log.jsonl: where training stood, and what there was to say."""

    stage: Count
    step: Count
    seconds: float = 0.0
    event: str = ""
    losses: dict[str, float | None] = field(default_factory=dict)
    diagnostics: dict[str, float | None] = field(default_factory=dict)
    validation: dict[str, float | None] = field(default_factory=dict)


def read_log(path: Path) -> list[Json]:
    """Returns the rows of a log.jsonl; figures that were not finite are NaN.

    What is no such row is left out: a last line that was cut off when its process was killed, or damage.
    """
    rows = []
    for line in path.read_bytes().splitlines():
        try:
            row = parse_json(line, str(path), Json)
            row = {RENAMED.get(name, name): value for name, value in row.items()}
            check_value(row, str(path), Row)
        except UserError:
            continue
        rows.append({key: _with_nan(value) if isinstance(value, dict) else value for key, value in row.items()})
    return rows


def _with_nan(figures: dict[str, float | None]) -> dict[str, float]:
    return {RENAMED.get(name, name): math.nan if value is None else value for name, value in figures.items()}


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
