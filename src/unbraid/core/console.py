"""Console and progress bar of rich that show text verbatim: paths, labels and messages are never parsed as markup or
emoji codes. Other modules import them from here instead of from rich."""

import io
import sys
from typing import Any

import rich.console
import rich.progress


class Console(rich.console.Console):
    """Console without markup, emoji codes and highlighting of numbers, in texts and in tables."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)


class TextColumn(rich.progress.TextColumn):
    """Text column of a progress bar, without markup."""

    def __init__(self, text_format: str, **options: Any) -> None:
        super().__init__(text_format, markup=False, **options)


class Progress(rich.progress.Progress):
    """Progress bar; by default with description, percentage and time left."""

    @classmethod
    def get_default_columns(cls) -> tuple[rich.progress.ProgressColumn, ...]:
        """Returns the default columns."""
        return TextColumn("{task.description}"), *super().get_default_columns()[1:]


def escape_unprintable() -> None:
    """Makes standard output and error escape characters that their encoding lacks, instead of raising an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a notebook's is not
            stream.reconfigure(errors="backslashreplace")


def printable(text: str) -> str:
    """Returns text of a user's on one line: what would move the cursor or can't be shown is escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode("ascii") for c in text)
