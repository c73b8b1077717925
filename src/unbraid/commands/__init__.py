"""The commands as typed functions: their flags and help come from hints and docstrings.

A command's module is imported when the command is called; FAISS, torch and the page take a moment each.
"""

import importlib
import re
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
KNOWN = ("hf", "https", "http", "milvus")
"""What such an address, or that of an index, begins with."""
ADDRESS = re.compile(r"(?:--[\w.-]+=)?(\w[\w+.-]+)://")
"""How an address begins, alone or behind a flag."""


def _with_models(name: str, arguments: Sequence[str]) -> Sequence[str]:
    """Returns the arguments with addresses of models replaced by folders, into which they are fetched.

    Raises UserError if a model can't be had, or an address is of no kind that the command knows.
    """
    addresses = {argument: found[1] for argument in arguments if (found := ADDRESS.match(argument))}
    if name == "push" or not set(addresses.values()) - {"milvus"}:
        return arguments
    from unbraid.core.errors import UserError

    if name not in REMOTE:
        raise UserError(f"{name} needs folders of this machine, where data are known too, not {next(iter(addresses))}")
    for argument, scheme in addresses.items():
        if scheme not in KNOWN:
            raise UserError(
                f"{argument}: only hf://user/name and https://host/model.zip#sha256=... are known as addresses, for "
                "models; other files must lie on this machine"
            )
    from unbraid.model.remote import fetched, is_address

    return [str(fetched(argument)) if is_address(argument) else argument for argument in arguments]


def find(name: str) -> Callable[[Sequence[str]], None]:
    """Returns what parses the arguments of one command and runs it."""
    function = getattr(importlib.import_module(f"unbraid.commands.{COMMANDS[name]}"), name)

    def run(arguments: Sequence[str]) -> None:
        arguments = _with_models(name, arguments)
        if name in PARSING:
            return function(arguments)
        tyro.cli(function, args=present_flags(arguments, FORMER.get(name, {})), prog=f"unbraid {name}")

    return run
