"""User-defined functions, named on the command line as MODULE:FUNCTION."""

import importlib
import os
import sys
from collections.abc import Callable
from typing import Any

from unbraid.core.types import UserError


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
