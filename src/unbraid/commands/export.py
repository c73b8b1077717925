"""`unbraid export`: a trained model as files that other programs run."""

from pathlib import Path
from typing import Literal

from unbraid.commands.folder import RunFolder
from unbraid.core.types import UserError
from unbraid.model.export import TOLERANCE, names
from unbraid.model.export import export as write
from unbraid.model.outputs import keep_apart
from unbraid.model.trained import load


def export(
    run: RunFolder,
    to: Literal["onnx", "torch"],
    out: Path,
    only: tuple[Literal["encode", "decode", "translate"], ...] = (),
    size: tuple[int, int] | None = None,
    tolerance: float = TOLERANCE,
) -> None:
    """Writes encode, decode and translate of a model as files that run without Unbraid, on any number of items at a
    time, and export.json, which says what goes in and comes out. Each file is compared with the model.

    Args:
        run: Folder of the run.
        to: onnx, or torch: programs of torch.export (.pt2).
        out: Folder for the files.
        only: Functions to write; all that the method has, if not given.
        size: Height and width of the images, for networks that take any; the model's, if not given.
        tolerance: Largest difference of a value from the model that is taken; images have values from -1 to 1.
    """
    if out.is_file():
        raise UserError(f"--out {out} is a file: give a folder")
    if not (out / "export.json").exists():  # what an earlier export made is replaced
        keep_apart((out / name for name in names(to)), [])
    keep_apart([out / "export.json"], [])
    model = load(run, "cpu")
    about = write(model, to, out, only, size, tolerance, lambda name, difference: print(f"{name}: {difference:.1e}"))
    largest = max(each["max_difference"] for each in about["functions"].values())
    print(f"Written: {len(about['functions'])} functions in {out}, at most {largest:.1e} from the model; export.json")
