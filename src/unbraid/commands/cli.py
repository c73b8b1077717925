"""The commands. Each is a typed function in `commands`, imported when it is called: torch takes a second."""

import importlib
import os
import sys

from unbraid.core.console import escape_unprintable

HELP = """usage: unbraid COMMAND ...

What two kinds of images of the same things share, what is particular to each, and how to move between them.

  unbraid start FOLDER FOLDER [--minutes 30]             from two folders to a report, by itself
  unbraid recipes                                        what there is, how long it takes, figures
  unbraid train RECIPE --run DIR                         train a recipe; the same command goes on after a stop
  unbraid train METHOD --data.a DIR --data.b DIR --run DIR    train on two folders of your own
  unbraid evaluate RUN                                   figures on the test part, pictures, model card
  unbraid report RUN                                     one page about it, to look at and to send
  unbraid cheat RUN                                      do translations hide what the way back needs? three measures
  unbraid translate RUN IMAGE... --out DIR               show images of one domain in the other
  unbraid analogy RUN --shared IMAGE... --exclusive IMAGE... --out FILE
                                                         what one image shares, with what another has alone
  unbraid interpolate RUN FIRST SECOND --out FILE        from one image to another along one part
  unbraid transfer RUN --content IMAGE... --class IMAGE... --out FILE
                                                         the class of one image, with the content of another
  unbraid swap RUN IMAGE... --label L --value V --out DIR    images with another value of one label
  unbraid align FOLDER --out DIR --landmarks CSV         photos of faces with eyes and mouth at the same places
  unbraid encode RUN IMAGE... --out FILE.npz             the codes of images
  unbraid explore RUN...                                 all of this on a local page, in the browser
  unbraid index RUN FOLDER... --domain a --to INDEX      an index of images, to be searched; again after changes
  unbraid search RUN INDEX IMAGE...                      the nearest images of an index

unbraid COMMAND --help says more. Exit status: 0 done, 2 something you can mend, 130 stopped (and saved).
"""
COMMANDS = (
    "start",
    "recipes",
    "train",
    "evaluate",
    "report",
    "cheat",
    "translate",
    "analogy",
    "interpolate",
    "transfer",
    "swap",
    "encode",
    "align",
    "explore",
    "index",
    "search",
)


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns the exit status."""
    from unbraid.core.streams import quiet_streams

    escape_unprintable()
    with quiet_streams():
        return _status(sys.argv[1:] if arguments is None else arguments)


def _status(arguments: list[str]) -> int:
    """As `main`. What the user can mend is said in one line, which of several ranks names the one."""
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    speaker = f"unbraid (rank {os.environ.get('RANK')})" if several else "unbraid"
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
        print(f"unbraid: error: there is no command {name!r}; there are: {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    from unbraid.core.streams import exit_on_interrupt

    with exit_on_interrupt():
        command = importlib.import_module("unbraid.commands").find(name)
    command(rest)
    return 0
