"""`unbraid start`: from folders of images to a report, by one command that asks nothing."""

import itertools
import math
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from unbraid.commands.folder import REQUIRED
from unbraid.core.console import printable
from unbraid.core.deadline import Deadline
from unbraid.core.types import UserError

MINUTES = 30.0
KEPT, LEAST_KEPT = 0.2, 30.0
"""Share of the time that is kept for measuring and drawing, and how many seconds at least, up to a half of all."""
DRAWN = 0.3
"""Share of what is kept in which nothing is measured any more, so that the report is drawn in time."""


@dataclass(frozen=True)
class StartArguments:
    """Look at folders of images, choose method and settings, train, measure, and write a report.

    Two folders, one of each kind; or one with a folder for each class, or with images that hold both kinds side by
    side. Flags of `unbraid train`, such as --data.unpaired, --train.batch 8 or --method.exclusive 16, override what is
    chosen. The same command goes on with a run that was stopped.
    """

    folders: Annotated[
        tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER...", help_behavior_hint=REQUIRED)
    ]
    """Two folders of images, or one."""
    minutes: float | None = None
    """How long to train and to measure, about: what isn't done then is left out, and said. Default: 30, or, with a
    length such as --train.steps, as long as that takes."""
    run: Path | None = None
    """Folder of the run. Default: runs/FOLDER-FOLDER."""
    size: int | None = None
    """Smaller side of the images in px, to which they are scaled."""
    method: str | None = None
    """Another method than the one that would be chosen."""
    dry_run: bool = False
    """Say what would be done, and leave."""


def start(arguments: Sequence[str]) -> None:
    """`unbraid start FOLDER [FOLDER] ...`."""
    began = time.monotonic()
    options, rest = tyro.cli(
        StartArguments, args=list(arguments), prog="unbraid start", return_unknown_args=True
    )  # fmt: skip
    more = list(itertools.takewhile(lambda word: not word.startswith("-"), rest))  # folders behind flags
    options, rest = replace(options, folders=(*options.folders, *map(Path, more))), rest[len(more) :]
    if not options.folders:  # behind flags of `train`, whose values can't be told from folders that aren't there
        more = list(itertools.takewhile(lambda word: Path(word).is_dir(), reversed(rest)))[::-1]
        options, rest = replace(options, folders=tuple(map(Path, more))), rest[: len(rest) - len(more)]
    if not options.folders:
        raise UserError("Which folders? unbraid start photos sketches")
    if options.minutes is not None and not 0 < options.minutes < math.inf:
        raise UserError(f"--minutes {options.minutes:g}: it must be more than 0 and finite")
    if options.size is not None and options.size < 1:
        raise UserError(f"--size {options.size}: it is a number of pixels, 32 or more")
    from unbraid.commands.plan import Wanted, described, planned, resumed
    from unbraid.commands.report import measured_report
    from unbraid.commands.train import train_run
    from unbraid.data.survey import survey
    from unbraid.training.experiment import open_run

    until, measured = _deadlines(began, options, rest)
    found = survey(options.folders)
    say(list(described(found)))
    if found.kind == "pairs" and "--data.unpaired" in rest:
        say(["The pairs are hidden from training, as asked"])
    path = options.run or Path("runs") / "-".join(place.resolve().name for place in found.places)
    wanted = Wanted(options.method, options.size, rest)
    there = (path / "config.json").exists()
    plan = resumed(path, found, wanted) if there else planned(path, found, wanted, until)
    say([*plan.lines, f"Folder of the run: {path}"])
    if options.dry_run:
        say(["Nothing was trained; leave --dry-run out to begin"])
        return
    train_run(path, plan.config, plan.data, dry_run=False, until=until)
    run, model, data = open_run(path, device=plan.config.train.device)
    written = measured_report(run, model, data, path / "report.html", until=measured.at)
    say(["", *written[:3], f"The report: {path / 'report.html'}, one file to open or to send"])
    if until.ended:
        say([f"Training ended at {until.ended}, for the time is over. The same command goes on, as long again:"])
        say([f"  unbraid start {shlex.join(arguments)}"])


def _deadlines(began: float, options: StartArguments, rest: Sequence[str]) -> tuple[Deadline, Deadline]:
    """Returns until when to train, and until when to measure; without end if a length is asked for, and no time."""
    asked = any(flag.startswith(tuple(f"--train.{name}" for name in ("steps", "epochs", "minutes"))) for flag in rest)
    if options.minutes is None and asked:
        return Deadline(), Deadline()
    seconds = 60 * (options.minutes or MINUTES)
    kept = min(seconds / 2, max(KEPT * seconds, LEAST_KEPT))
    return Deadline(began + seconds - kept), Deadline(began + seconds - DRAWN * kept)


def say(lines: Sequence[str]) -> None:
    """Prints lines that hold names of a user's files."""
    print(*map(printable, lines), sep="\n", flush=True)
