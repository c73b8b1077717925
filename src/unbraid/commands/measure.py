"""What is measured of a run: `unbraid evaluate` and `unbraid cheat`."""

from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import Annotated, Any

import tyro

from unbraid.commands.folder import Device, RunFolder, image_model
from unbraid.core.config import PACKAGED, Distance, PerceptualConfig
from unbraid.core.data_config import FeatureName
from unbraid.core.errors import UserError


@dataclass(frozen=True)
class DataLocation:
    """Where the data lies now, if not where it lay in training, by the flags that named it then; or other images to
    measure on, which the run has never seen."""

    root: Path | None = None
    """Folder that holds the known data sets."""
    folder: Path | None = None
    """Folder with a folder for each part."""
    a: Path | None = None
    """Folder with the images of domain a."""
    b: Path | None = None
    """Folder with the images of domain b."""
    val_a: Path | None = None
    """Folder of domain a for validation."""
    val_b: Path | None = None
    """Folder of domain b for validation."""
    test_a: Path | None = None
    """Folder of domain a for test."""
    test_b: Path | None = None
    """Folder of domain b for test."""
    pairs: Path | None = None
    """CSV file of pairs."""
    side_by_side: Path | None = None
    """Folder of images that hold both domains."""
    classes: Path | None = None
    """Folder with one folder of images for each class."""
    csv: Path | None = None
    """CSV file of labels."""
    shards: Path | None = None
    """Tar files of images, a file or a folder."""
    arrays: Path | None = None
    """Arrays, a file or a folder."""


def evaluate(
    run: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")] = None,
    data: DataLocation = DataLocation(),
    distance: Distance | None = None,
    perceptual: PerceptualConfig = PACKAGED,
    inception: str | None = None,
    features: FeatureName | None = None,
    limit: int | None = None,
    only: str = "",
    list: bool = False,
    device: Device = "auto",
) -> None:
    """Measures a run on its test part: prints the table, writes RUN/metrics.json, pictures, examples and README.md.

    Other images than the run's, given by --data.a and --data.b, --data.side-by-side, --data.classes, --data.csv,
    --data.shards or --data.arrays, are measured as they are, all of them. Their figures stand apart from those of the
    test part, in `others` of metrics.json.

    Args:
        run: Folder of the run.
        distance: Distance of shared codes; the one the run was trained with, if not given.
        inception: File with torch-fidelity's weights of Inception, for FID and KID; auto: the one in torch's cache.
        features: Network by whose features translations are compared with real images too, such as
            timm/vit_small_patch14_dinov2; weights are in its cache, or behind @.
        limit: Items in a figure at most, to be done sooner; retrieval takes all. Default: 500 translations of each
            domain, 2000 transfers, 2000 items of a part, or 50 of each class, for probes.
        only: Measures to compute, such as retrieval,samples. Others in metrics.json stay if they were measured in the
            same way.
        list: Print which measures there are, and why some can't be taken of this run, if one is given, and leave.

    Raises:
        UserError: No run is given to be measured.
    """
    from unbraid.core.device import choose_device
    from unbraid.core.ranks import joined
    from unbraid.evaluation.card import table
    from unbraid.evaluation.evaluate import evaluate as measure
    from unbraid.evaluation.evaluate import other_folder, subject_of
    from unbraid.evaluation.measures import MEASURES

    if run is None:
        if not list:
            raise UserError("Which run? Give its folder: unbraid evaluate RUN")
        return _say_measures()
    names = tuple(filter(None, (name.strip() for name in only.split(","))))
    with joined(choose_device(device), "--device") as group:
        opened, model, loaded, other = with_data(run, data, limit, device)
        metrics = None
        if not list:
            metrics = measure(
                opened, model, loaded, distance, perceptual, limit, names, other, inception, features, group
            )
    if not group.first:
        return
    if metrics is None:
        subject = subject_of(opened, model, loaded, distance, perceptual, limit, inception, features)
        return _say_measures(subject)
    print(table(metrics, [one for one in MEASURES if one.name in names] if names else MEASURES))
    folder = other_folder(run, metrics["protocol"]["data"]) if other else run
    _say_where(run, None if names else folder, metrics, other)


def _say_measures(subject: Any = None) -> None:
    """Prints what each measure is, and why it can't be taken of a run's `Subject`, if one is given."""
    from unbraid.evaluation.measures import MEASURES

    for one in MEASURES:
        reason = one.applies(subject) if subject else None
        text = f"{one.says}{f' (not of this run: {reason})' if reason else ''}"
        print(fill(text, 80, initial_indent=f"{one.name:<21}", subsequent_indent=" " * 21))


def _say_where(run: Path, folder: Path | None, metrics: dict[str, Any], other: bool) -> None:
    """Prints what was measured, what was written, and which pictures to look at, of those drawn in `folder`."""
    from unbraid.evaluation.pictures import captions

    protocol = metrics["protocol"]
    by = f", {protocol['distance']} distance" if "distance" in protocol else ""
    what = "items that the run was not given, of" if other else "test items of"
    print(f"\n{protocol['items']} {what} {protocol['data']}{by}; {protocol['model']}")
    if protocol["remark"]:
        print(f"Say with it: {protocol['remark']}")
    drawn = [folder / "pictures", folder / "examples"] if folder else []
    written = [run / "metrics.json", run / "README.md", *drawn]
    print(f"Written: {', '.join(str(path) for path in written if path.exists())}")
    if folder and (pictures := captions(folder / "pictures")):
        print("Look at:")
        for path, text in pictures:
            print(f"  {path}", fill(text, 80, initial_indent=" " * 6, subsequent_indent=" " * 6), sep="\n")


def cheat(
    run: RunFolder,
    data: DataLocation = DataLocation(),
    perceptual: PerceptualConfig = PACKAGED,
    limit: int | None = None,
    device: Device = "auto",
) -> None:
    """Measures on the test part whether translations hide what the way back needs: prints three measures, draws
    RUN/pictures/cheat-*.png, adds hidden_pair and cheat to RUN/metrics.json.

    hidden pair: translations beside their true counterparts, where pairs are known. decoding: what the way back makes
    of these counterparts, and of another item's translation. disturbed by: how far the way back ends from its input
    when the translation is rounded to 8 bits or gets a little noise; what is hidden in small differences is lost then.

    Args:
        run: Folder of the run.
        limit: Images of each domain at most; 200, if not given.
    """
    from unbraid.evaluation.card import table
    from unbraid.evaluation.evaluate import evaluate as measure
    from unbraid.evaluation.evaluate import other_folder
    from unbraid.evaluation.measures import MEASURES

    image_model(run, device)
    opened, model, loaded, other = with_data(run, data, limit, device)
    if loaded.test.labelled():
        raise UserError(f"{run} was trained on labelled images; there is no way there and back between two domains")
    if len(model.method.sources()) < 2:
        raise UserError(
            f"{run} is of {model.name}, which here translates one way: without a way back there is nothing to hide. "
            "Its hidden pairs: unbraid evaluate"
        )
    metrics = measure(opened, model, loaded, None, perceptual, limit, ("steganography",), other)
    print(table(metrics, [one for one in MEASURES if one.name == "steganography"]))
    if metrics["protocol"]["remark"]:
        print(f"Say with it: {metrics['protocol']['remark']}")
    folder = other_folder(run, metrics["protocol"]["data"]) if other else run
    written = (run / "metrics.json", *sorted((folder / "pictures").glob("cheat-*.png")))
    print(f"Written: {', '.join(map(str, written))}")


def with_data(run: Path, data: DataLocation, limit: int | None, device: str) -> tuple[Any, Any, Any, bool]:
    """Opens a run: itself, its model, its data, and whether the test part is of other images. See `open_run`."""
    from unbraid.training.experiment import DataGone, open_run
    from unbraid.training.places import place_of

    moved, on = place_of(run, {name: place for name, place in vars(data).items() if place is not None})
    try:
        return *open_run(run, moved, limit, on=on, device=device), on is not None
    except DataGone as error:
        flag = f"--data.{error.setting.replace('_', '-')}"
        raise UserError(f"{error}, or say where they are now: {flag} PLACE") from error
