"""What several commands ask of a run's folder."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from unbraid.core.files import check_value, read_json, write_json
from unbraid.core.types import ImageSpec, UserError

RunFolder = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]


@dataclass(frozen=True)
class Listed:
    """What parts.json holds: how many items train, and the names of those held out."""

    train: int
    val: list[Any]
    test: list[Any]


def check_parts(path: Path, listing: dict[str, Any]) -> None:
    """Writes parts.json, or compares with the one the run began with. UserError if the images have changed since."""
    file = path / "parts.json"
    if not file.exists():
        write_json(file, listing)
        return
    before = read_json(file, dict[str, Any])
    if before != listing:
        before = check_value(before, str(file), Listed)
        raise UserError(
            f"The images are not those the run began with: {before.train} train, {len(before.val)} validation, "
            f"{len(before.test)} test then; {listing['train']}, {len(listing['val'])}, {len(listing['test'])} now "
            f"(names are in {file}). Start another --run, or bring the images back"
        )


def image_model(run: Path) -> Any:
    """Returns the trained model. UserError if it works on anything but images."""
    from unbraid.model.trained import load

    model = load(run)
    if not (isinstance(model.spec.a, ImageSpec) and isinstance(model.spec.b, ImageSpec)):
        raise UserError(f"{run} works on vectors; this command reads image files. Use unbraid.load in Python")
    return model
