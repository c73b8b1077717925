"""From what a user names to batches of the kind a method needs."""

from dataclasses import replace

from unbraid.core.data_config import DataConfig
from unbraid.core.memory import require_memory
from unbraid.core.types import Batch, ImageSpec, Unpaired, UserError, VectorSpec
from unbraid.data.equal import overlap
from unbraid.data.features import extracted
from unbraid.data.images import BYTES_WANTED
from unbraid.data.parts import Data
from unbraid.data.sources import arrays, datasets, folders, tables
from unbraid.data.sources.datasets import Datasets
from unbraid.data.sources.known import KNOWN, redrawn, sets_with
from unbraid.data.styles import Styles, cluster_styles


def load(config: DataConfig, given: Datasets | None = None) -> Data:
    """Loads the one source that `config` names, divided into training, validation and test parts.

    given: the data sets of a program's own, if the configuration says that they are from Python.
    Raises UserError if there is not exactly one source, or something is wrong with it or with the other settings.
    """
    _check(config)
    if config.set is not None:
        data = KNOWN[config.set].load(config)
    elif config.from_python is not None:
        data = datasets.load_datasets(config, given)
    elif config.side_by_side is not None:
        data = folders.load_side_by_side(config)
    elif config.classes is not None:
        data = folders.load_classes(config)
    elif config.csv is not None:
        data = tables.load_csv(config)
    elif config.arrays is not None:
        data = arrays.load_arrays(config)
    else:
        data = folders.load_two_folders(config)
    data = replace(data, remark="; ".join(filter(None, (data.remark, overlap(data)))))
    if config.features and not config.tuned_network:  # images are what a network is tuned on
        data = extracted(data, config.features)
    _check_tuned(config, data)
    _check_augment(config, data)
    if data.train.labelled() is not None:
        if config.balanced:
            data.train.classes()
    elif config.split:
        raise UserError(
            f"--data.split {config.split} is for images with labels, and {data.name} has none: leave it out"
        )
    if config.unpaired:
        data = replace(data, train=data.train.offer(Unpaired) or data.train)
    return data


def needs(
    data: Data,
    batch_type: type[Batch],
    method_name: str,
    balanced: bool = False,
    styles: Styles | None = None,
) -> Data:
    """Returns the data as a method trains on them: with a training part that gives the batches it needs.

    A method for unpaired data gets pairs with what belongs together hidden; a method for labelled data gets two domains
    that look alike as two classes, and a spec that counts items and classes. Validation and test stay as they are.

    Args:
        data: as `load` gives them.
        batch_type: of the batches that the method needs.
        method_name: for messages.
        balanced: whether classes will be drawn equally often.
        styles: how training's classes are divided, as `styles.wanted_styles` says.

    Raises:
        UserError: with counts and advice, if the data can't offer what the method needs.
    """

    part = data.train
    train = part.offer(batch_type)
    if train is None:
        raise UserError(f"{method_name} needs {batch_type.advice}. {data.name} has {part.describe()} to train on")
    labelled = train.labelled()
    a, b = data.spec.a, data.spec.b
    if labelled is not None and len(labelled.domains) > 1 and a != b:
        images = isinstance(a, ImageSpec) and isinstance(b, ImageSpec)
        advice = ": --data.size H W and --data.channels bring images to one shape" if images else ""
        raise UserError(
            f"{method_name} has one network for both domains, so their items must have one shape; {data.name} has "
            f"{a} in a and {b} in b{advice}"
        )
    if styles and labelled is None:
        raise UserError(
            f"--data.styles-per-class {styles.count} makes classes, and {method_name} trains without labels: "
            "leave it out"
        )
    if balanced:
        train.classes()
    if styles and labelled is not None:
        train = cluster_styles(labelled, styles.count, styles.features, styles.seed)
    spec = train.data_spec(data.spec)
    return data if train is part and spec is data.spec else replace(data, train=train, spec=spec)


def _check(config: DataConfig) -> None:
    """Raises UserError unless there is one source and the numbers make sense."""

    sources = {
        "--data.set": config.set,
        "--data.a or --data.b": config.a or config.b,
        "--data.side-by-side": config.side_by_side,
        "--data.classes": config.classes,
        "--data.csv": config.csv,
        "--data.arrays": config.arrays,
        "data sets from Python": config.from_python,
    }
    given = [flag for flag, value in sources.items() if value is not None]
    if len(given) != 1:
        raise UserError(
            f"Give one source of data; given: {', '.join(given) or 'none'}. There are --data.set, "
            "--data.a with --data.b, --data.side-by-side, --data.classes, --data.csv and --data.arrays"
        )
    if config.pairs and not (config.a or config.b):
        raise UserError("--data.pairs needs the folders it speaks of: --data.a and --data.b")
    known = KNOWN[config.set] if config.set else None
    if config.labels and not (config.csv or (known and known.choosable)):
        names = " or ".join(sets_with(lambda one: one.choosable))
        raise UserError(
            f"--data.labels chooses columns of --data.csv or attributes of --data.set {names}; leave it out"
        )
    two = config.a or config.b or config.arrays or config.from_python == "a and b"
    if config.by_class and not (two or (known and known.by_class)):
        names = " or ".join(sets_with(lambda one: one.by_class))
        raise UserError(
            "--data.by-class pairs two domains by their classes: give --data.a and --data.b, --data.arrays or "
            f"--data.set {names}"
        )
    if config.by_class and (config.pairs or config.unpaired):
        raise UserError("--data.by-class draws the pairs: leave --data.pairs and --data.unpaired out")
    if config.test_classes and not config.by_class:
        raise UserError("--data.test-classes needs --data.by-class")
    if len(set(config.labels)) < len(config.labels):
        raise UserError(f"--data.labels {' '.join(config.labels)}: give each label once")
    if not (0 <= config.val < 1 and 0 <= config.test < 1 and config.val + config.test < 1):
        raise UserError(f"--data.val {config.val} and --data.test {config.test} are shares: together less than 1")
    if config.size and min(config.size) < 1:
        raise UserError(f"--data.size {config.size[0]} {config.size[1]}: height and width are 1 at least")
    if config.size:
        height, width = config.size
        require_memory(BYTES_WANTED * height * width, f"--data.size {height} {width} takes", "Give a smaller one")
    if config.styles_per_class < 1:
        raise UserError(f"--data.styles-per-class {config.styles_per_class}: 1 leaves classes as they are; more divide")
    if config.styles_per_class > 1 and (changes := redrawn(config)):
        raise UserError(
            f"--data.styles-per-class {config.styles_per_class}: {changes}, so no image keeps its style: leave it out"
        )
    if not 0 <= config.seed < 2**63:
        raise UserError(f"--data.seed {config.seed}: a seed is 0 or more, and less than 2^63")


def _check_tuned(config: DataConfig, data: Data) -> None:
    """Raises UserError unless there are vectors and classes to tune a head on, and a network if it is to be tuned."""

    if config.tuned_network and not config.tuned:
        raise UserError("--data.tuned-network tunes a network together with a head: give --data.tuned too")
    if not config.tuned:
        return
    if not config.by_class:
        raise UserError("--data.tuned learns from classes: give --data.by-class, or leave it out")
    a, b = data.spec.a, data.spec.b
    if config.tuned_network:
        if not config.features or not (isinstance(a, ImageSpec) and isinstance(b, ImageSpec)):
            raise UserError(
                f"--data.tuned-network needs images and the network's name; a has {a}, b {b}. Give --data.features"
            )
    elif not (isinstance(a, VectorSpec) and a == b):
        raise UserError(f"--data.tuned needs vectors of one size; a has {a}, b {b}. Give --data.features")


def _check_augment(config: DataConfig, data: Data) -> None:
    """Raises UserError unless the images can be augmented as asked."""

    for name, spec in (("a", data.spec.a), ("b", data.spec.b)):
        if config.augment and not isinstance(spec, ImageSpec):
            raise UserError(f"--data.augment moves images; {name} has {spec}")
        if "turn" in config.augment and isinstance(spec, ImageSpec) and spec.height != spec.width:
            raise UserError(f"--data.augment turn needs square images; {name} has {spec}. Give --data.size, say 64 64")
