"""What a command was given by name: image files, and functions of the user's own."""

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from unbraid.data.folders import list_images
from unbraid.data.images import read_image
from unbraid.types import ImageSpec, UserError


def read_files(paths: Sequence[Path], spec: ImageSpec) -> tuple[list[Path], Float[Tensor, "n c h w"]]:
    """Files, and those of folders, and their images in [-1, 1]. One that can't be read is left out and named on stderr.

    Raises UserError if none is left.
    """
    if not paths:
        raise UserError("Which images? Give files or folders")
    files = [
        file
        for path in paths
        for file in ([path / name for name in list_images(path).names] if path.is_dir() else [path])
    ]
    good: list[Path] = []
    images, bad = [], []
    for file in files:
        try:
            images.append(read_image(file, spec))
            good.append(file)
        except UserError as error:
            bad.append(str(error))
    if not good:
        raise UserError(bad[0] if len(bad) == 1 else f"None of {len(bad)} images could be read; the first: {bad[0]}")
    for line in bad:
        print(f"left out: {line}", file=sys.stderr)
    return good, torch.stack(images)


def function_named(name: str, flag: str) -> Callable[..., Any]:
    """The function MODULE:FUNCTION, of a module in the working folder or where Python finds it.

    Raises UserError, which names the flag, if it can't be imported or called.
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
