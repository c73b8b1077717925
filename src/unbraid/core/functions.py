"""Functions of the user's own, named as MODULE:FUNCTION; and what functions that programs call say of settings."""

import functools
import importlib
import os
import re
import sys
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from unbraid.core.types import UserError

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
FLAGS = re.compile(r"--((?:data|train|method)\.[a-z](?:[\w.-]*\w)?|run|limit|only|device|init)\b")
"""Flags that programs know as fields of a configuration, or as arguments."""


def import_function(name: str, flag: str) -> Callable[..., Any]:
    """Imports the function MODULE:FUNCTION, from the working folder or Python's path.

    Raises UserError, which names the flag, if it can't be imported or is not callable.
    """
    module, function = name.rsplit(":", 1)
    if "" not in sys.path and os.getcwd() not in sys.path:  # a program that pip installed doesn't look there
        sys.path.append(os.getcwd())
    try:
        found = getattr(importlib.import_module(module), function)
    except Exception as error:  # whatever a module of the user's raises
        reason = str(error) if isinstance(error, (ImportError, AttributeError)) else f"{type(error).__name__}: {error}"
        raise UserError(
            f"{flag} {name}: {reason}. It is imported as Python imports {module or 'a module'}, from this folder too"
        ) from error
    if not callable(found):
        raise UserError(f"{flag} {name} is no function, but {type(found).__name__}")
    return found


def for_programs(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Makes a function's UserErrors name settings as a program has them: data.side_by_side for --data.side-by-side."""

    @functools.wraps(function)
    def call(*args: Arguments.args, **named: Arguments.kwargs) -> Result:
        try:
            return function(*args, **named)
        except UserError as error:
            error.args = (FLAGS.sub(lambda flag: flag[1].replace("-", "_"), str(error)),)
            raise

    return call
