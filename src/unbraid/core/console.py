"""rich's console and progress bar for texts that are shown as they are: a path, a label or a message of the user's is
never markup or an emoji code. Modules import them from here and not from rich."""

import io
import sys
from typing import Any

import rich.console
import rich.progress


class Console(rich.console.Console):
    """A console without markup, emoji codes and colours for what looks like a number, in texts and in tables."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)


class TextColumn(rich.progress.TextColumn):
    """A text beside a progress bar."""

    def __init__(self, text_format: str, **options: Any) -> None:
        super().__init__(text_format, markup=False, **options)


class Progress(rich.progress.Progress):
    """A progress bar, by default with a description, the share done and the time left."""

    @classmethod
    def get_default_columns(cls) -> tuple[rich.progress.ProgressColumn, ...]:
        """The columns, if none are given."""
        return TextColumn("{task.description}"), *super().get_default_columns()[1:]


def escape_unprintable() -> None:
    """Lets standard output and error escape the characters that their encoding lacks, where Python would stop with a
    UnicodeEncodeError."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a notebook's is not
            stream.reconfigure(errors="backslashreplace")


def printable(text: str) -> str:
    """Returns text of a user's on one line: what would move the cursor or can't be shown is escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode("ascii") for c in text)
