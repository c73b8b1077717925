"""Flags: former names, shorter forms, and values that are looked at before the rest."""

import sys
from collections.abc import Iterator, Mapping, Sequence

from unbraid.core.suggest import did_you_mean


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


def tracked(arguments: Sequence[str]) -> list[str]:
    """Returns arguments with --train.track tensorboard in place of --train.tensorboard, its former name."""
    names = {"--train.tensorboard", "--train.no-tensorboard"}
    rest = [argument for argument in arguments if argument not in names]
    if "--train.tensorboard" not in arguments:
        return rest
    print("--train.tensorboard is now --train.track tensorboard; the former name will be removed", file=sys.stderr)
    at = rest.index("--train.track") + 1 if "--train.track" in rest else None
    return [*rest[:at], "tensorboard", *rest[at:]] if at else [*rest, "--train.track", "tensorboard"]


def taken(arguments: Sequence[str], flag: str) -> tuple[str | None, list[str]]:
    """Takes a flag and its value out of arguments.

    Returns:
        The value, None if it is not given, and the other arguments.

    Raises:
        UserError: There is no value, or there are two.
    """
    from unbraid.core.types import UserError  # imports torch, which `unbraid --help` must not need

    values, rest, left = [], [], iter(arguments)
    for argument in left:
        name, equals, value = argument.partition("=")
        if name == flag:
            values.append(value if equals else next(left, ""))
        else:
            rest.append(argument)
    if values and (len(values) > 1 or not values[0] or values[0].startswith("--")):
        raise UserError(f"{flag} takes one value, and is given once")
    return (values[0] if values else None), rest


def square(arguments: Sequence[str], flag: str) -> list[str]:
    """Returns arguments in which one whole number behind a flag stands twice: "--data.size 64" is a square."""
    split = [part for each in arguments for part in (each.split("=", 1) if each.startswith(f"{flag}=") else [each])]

    def doubled() -> Iterator[str]:
        for index, argument in enumerate(split):
            yield argument
            behind = split[index + 1 : index + 2]
            if argument.isdecimal() and split[index - 1] == flag and not (behind and behind[0].isdecimal()):
                yield argument

    return [*doubled()]


def check_choice(arguments: Sequence[str], flag: str, known: Sequence[str]) -> None:
    """Checks the value behind a flag, if it is given. See `taken`.

    Args:
        arguments: Of the command.
        flag: The flag.
        known: Its values.

    Raises:
        UserError: It is none of these; it says which are like it.
    """
    from unbraid.core.types import UserError

    value, _ = taken(arguments, flag)
    if value not in (None, "None", *known):
        hint = did_you_mean(str(value), known)
        raise UserError(f"{flag} {value}: there is none of this name.{hint} There are: {', '.join(known)}")
