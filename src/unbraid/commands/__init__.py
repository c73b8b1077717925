"""The commands as typed functions: their flags and help come from hints and docstrings.

A command's module is imported when the command is called; FAISS, torch and the page take a moment each.
"""

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence

import tyro

MODULES = {
    "align": "unbraid.commands.align",
    "cheat": "unbraid.commands.measure",
    "evaluate": "unbraid.commands.measure",
    "explore": "unbraid.commands.explore",
    "index": "unbraid.commands.search",
    "recipes": "unbraid.commands.recipes",
    "search": "unbraid.commands.search",
}
"""Where a command's function is, if not in `unbraid.commands.use`."""


FORMER = {"search": {"--by": "--code", "--among": "--target-domain"}}
"""Flags of earlier versions, by command, and what they are called now."""


def find(name: str) -> Callable[[Sequence[str]], None]:
    """Returns what parses the arguments of one command and runs it."""
    if name == "train":
        from unbraid.commands.train import train

        return train
    function = getattr(importlib.import_module(MODULES.get(name, "unbraid.commands.use")), name)

    def run(arguments: Sequence[str]) -> None:
        tyro.cli(function, args=present_flags(arguments, FORMER.get(name, {})), prog=f"unbraid {name}")

    return run


def present_flags(arguments: Sequence[str], former: Mapping[str, str]) -> list[str]:
    """Returns arguments with the present names of flags, and says on standard error which have changed."""
    present: list[str] = []
    for argument in arguments:
        flag, equals, value = argument.partition("=")
        if flag in former:
            print(f"{flag} is called {former[flag]} now", file=sys.stderr)
        present.append(f"{former.get(flag, flag)}{equals}{value}")
    return present
