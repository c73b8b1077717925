"""The commands. Each is a typed function in `commands`, imported when it is called: torch takes a second."""

import os
import sys

from unbraid.commands import COMMANDS, find
from unbraid.core.console import escape_unprintable
from unbraid.core.suggest import did_you_mean

HELP = """usage: unbraid COMMAND ...

What two kinds of images of the same things share, what is particular to each,
and how to move between them.

Train and measure
  start        from two folders to a report, by itself
  recipes      list complete settings for known data, times and figures
  train        train a recipe, or a method on images of your own; go on with it
  evaluate     measure a run on its test part; pictures, model card
  report       one page about a run, to look at and to send
  cheat        do translations hide what the way back needs? three measures

Use a model
  translate    show images of one domain in the other
  analogy      what one image shares, with what another has alone
  interpolate  from one image to another along one part of the code
  transfer     the class of one image, with the content of another
  swap         images with another value of one label
  encode       the codes of images, as arrays
  export       files that run without Unbraid: ONNX, torch
  push         publish a model; commands take its address in place of a run
  explore      all of this on a local page, in the browser

Search
  index        make an index of images; again after changes
  search       find the nearest images of an index

Prepare
  align        photos of faces with eyes and mouth at the same places
  cache        what is kept of decoded images; delete it

Begin with
  unbraid train demo --run runs/demo
  unbraid start photos drawings --minutes 30
  unbraid train iiae --data.a photos --data.b drawings --data.size 64 \\
      --train.steps 2000 --run runs/own

`unbraid COMMAND --help` says more. Exit status: 0, done; 2, something you can
mend; 130, stopped (and saved).
"""
SHARED = ("train", "index", "evaluate")
"""Commands that several ranks do together; others are the first one's."""


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns the exit status."""
    from unbraid.core.streams import quiet_streams

    escape_unprintable()
    with quiet_streams():
        return _status(sys.argv[1:] if arguments is None else arguments)


def _status(arguments: list[str]) -> int:
    """See `main`. What the user can mend is said in one line, which of several ranks names the one."""
    speaker = f"unbraid (rank {os.environ['RANK']})" if _several() else "unbraid"
    try:
        return _run(arguments)
    except KeyboardInterrupt:
        print(f"{speaker}: stopped", file=sys.stderr)
        return 130
    except Exception as error:
        message = _to_mend(error)
        if message is None:
            raise
    print(f"{speaker}: error: {message}", file=sys.stderr)
    return 2


def _several() -> bool:
    """Returns whether torchrun has started several ranks; without torch, which takes a second to import."""
    return "RANK" in os.environ and os.environ.get("WORLD_SIZE", "1") != "1"


def _to_mend(error: Exception) -> str | None:
    """Returns what to say of an error that the user can mend, None of one in the program."""
    from unbraid.core.memory import out_of_memory_message
    from unbraid.core.types import UserError

    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError):  # a full disk, a drive that was taken away
        place = f": {error.filename}" if error.filename else ""
        return f"{error.strerror or error}{place}. What was written before is kept"
    return out_of_memory_message(error)


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(HELP, end="")
        return 0
    if arguments[0] == "--version":
        from unbraid.core.version import __version__

        print(__version__)
        return 0
    name, rest = arguments[0], arguments[1:]
    if name not in COMMANDS:
        hint = did_you_mean(name, COMMANDS) or f" There are: {', '.join(COMMANDS)}"
        print(f"unbraid: error: there is no command {name!r}.{hint}", file=sys.stderr)
        return 2
    if name not in SHARED and _several() and os.environ.get("RANK") != "0":
        return 0  # the first of several ranks does it
    from unbraid.core.streams import exit_on_interrupt

    with exit_on_interrupt():
        command = find(name)
    command(rest)
    return 0
