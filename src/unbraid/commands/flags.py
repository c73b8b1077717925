"""Flags that had other names in earlier versions."""

import sys
from collections.abc import Mapping, Sequence


def present_flags(arguments: Sequence[str], former: Mapping[str, str]) -> list[str]:
    """Returns arguments with the present names of flags, and says on standard error which have changed."""
    present: list[str] = []
    for argument in arguments:
        flag, equals, value = argument.partition("=")
        new = former.get(flag.replace("_", "-"))
        if new:
            print(f"{flag} is now {new}; the former name will be removed", file=sys.stderr)
        present.append(f"{new or flag}{equals}{value}")
    return present


def of_method(renamed: Mapping[str, str]) -> dict[str, str]:
    """Returns former flags of a method's configuration, from its former names and the present ones."""
    return {
        f"--method.{no}{old.replace('_', '-')}": f"--method.{no}{new.replace('_', '-')}"
        for old, new in renamed.items()
        for no in ("", "no-")
    }
