"""What several commands ask for and say: a run's folder, a device, a precision; files that were left out."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from unbraid.core.errors import UserError

RunFolder = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
REQUIRED = "(required)"
"""What help says of a list that must not be empty: its default, which is none, would be shown."""
Images = Annotated[
    tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="IMAGE...", help_behavior_hint=REQUIRED)
]
Device = Annotated[
    str,
    tyro.conf.arg(
        metavar="auto|cpu|cuda|cuda:N|mps", help="Where to compute. auto: the GPU if there is one; mps is untested."
    ),
]
"""The flag --device of all commands that compute; `core.device.choose_device` says what is there."""
AnswerPrecision = Annotated[
    Literal["fp32", "bf16", "fp16", "auto"],
    tyro.conf.arg(
        name="precision",
        help="fp32: as `evaluate` measures; bf16 and fp16 are faster on some devices, and round. auto: bf16 where the "
        "device computes faster in it.",
    ),
]


def say_left_out(lines: Sequence[str], most: int, errors: bool = False) -> None:
    """Prints what was left out: `most` lines, and how many more; `errors`: on standard error. See `Listing`."""
    to = sys.stderr if errors else sys.stdout
    for line in lines[:most]:
        print(f"left out: {line}", file=to)
    if len(lines) > most:
        print(f"left out: {len(lines) - most} more", file=to)


def image_model(run: Path, device: str = "auto", precision: str = "fp32") -> Any:
    """Returns a trained model of images. Raises UserError if it works on anything else. See `unbraid.load`."""
    from unbraid.model.trained import load

    model = load(run, device, precision)
    if not model.spec.of_images:
        raise UserError(f"{run} works on vectors; this command reads image files. Use unbraid.load in Python")
    return model
