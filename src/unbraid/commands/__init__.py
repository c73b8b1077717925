"""The commands as typed functions: their flags and help come from hints and docstrings.

A command's module is imported when the command is called; FAISS, torch and the page take a moment each.
"""

import importlib
from collections.abc import Callable, Sequence

import tyro

from unbraid.commands.flags import present_flags

COMMANDS = {
    "start": "start",
    "recipes": "recipes",
    "train": "train",
    "evaluate": "measure",
    "report": "report",
    "cheat": "measure",
    "translate": "use",
    "analogy": "use",
    "interpolate": "use",
    "transfer": "use",
    "swap": "use",
    "encode": "use",
    "align": "align",
    "cache": "cache",
    "export": "export",
    "push": "push",
    "explore": "explore",
    "index": "search",
    "search": "search",
}
"""The modules of the commands' functions."""
PARSING = ("start", "train")
"""Commands whose functions parse their arguments themselves."""
FORMER = {"search": {"--by": "--code", "--among": "--target-domain"}}
"""Flags of earlier versions, by command, and what they are called now."""
REMOTE = ("translate", "analogy", "interpolate", "transfer", "swap", "encode", "index", "search", "explore", "export")
"""Commands that take the address of a model in place of a run's folder."""


def _with_models(name: str, arguments: Sequence[str]) -> Sequence[str]:
    """Returns the arguments with addresses of models replaced by folders, into which they are fetched."""
    if name == "push" or not any(argument.startswith(("hf://", "https://", "http://")) for argument in arguments):
        return arguments
    from unbraid.core.types import UserError
    from unbraid.model.remote import fetched, is_address

    if name not in REMOTE:
        raise UserError(f"{name} needs the folder of a run, where its data are known, and no address of a model")
    return [str(fetched(argument)) if is_address(argument) else argument for argument in arguments]


def find(name: str) -> Callable[[Sequence[str]], None]:
    """Returns what parses the arguments of one command and runs it."""
    function = getattr(importlib.import_module(f"unbraid.commands.{COMMANDS[name]}"), name)
    if name in PARSING:
        return function

    def run(arguments: Sequence[str]) -> None:
        arguments = _with_models(name, arguments)
        tyro.cli(function, args=present_flags(arguments, FORMER.get(name, {})), prog=f"unbraid {name}")

    return run
