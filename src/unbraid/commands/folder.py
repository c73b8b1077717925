"""What several commands ask of a run's folder."""

from pathlib import Path
from typing import Annotated, Any

import tyro

from unbraid.core.types import ImageSpec, UserError

RunFolder = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]


def image_model(run: Path) -> Any:
    """Returns the trained model. UserError if it works on anything but images."""
    from unbraid.model.trained import load

    model = load(run)
    if not (isinstance(model.spec.a, ImageSpec) and isinstance(model.spec.b, ImageSpec)):
        raise UserError(f"{run} works on vectors; this command reads image files. Use unbraid.load in Python")
    return model
