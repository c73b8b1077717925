"""From what a user names to batches of the kind a method needs."""

from dataclasses import replace

from unbraid.core.data_config import DataConfig
from unbraid.core.memory import require_memory
from unbraid.core.types import Batch, DataSpec, ImageSpec, Unpaired, UserError, VectorSpec
from unbraid.data.equal import overlap
from unbraid.data.features import extracted
from unbraid.data.images import BYTES_WANTED
from unbraid.data.joining import with_part
from unbraid.data.layout import by_part, domain_names
from unbraid.data.parts import Data
from unbraid.data.sources import arrays, datasets, folders, shards, tables
from unbraid.data.sources.datasets import Datasets
from unbraid.data.sources.known import KNOWN, redrawn, sets_with
from unbraid.data.splits import ELSEWHERE
from unbraid.data.styles import Styles, cluster_styles
from unbraid.data.transforms import check_transform

PLACES = (
    *("folder", "a", "b", "val_a", "val_b", "test_a", "test_b"),
    *("pairs", "side_by_side", "classes", "csv", "shards", "arrays"),
)
"""Settings that say where data lie, known sets apart."""


def load(config: DataConfig, given: Datasets | None = None) -> Data:
    """Loads the one source that `config` names, divided into training, validation and test parts.

    given: the data sets of a program's own, if the configuration says that they are from Python.
    Raises UserError if there is not exactly one source, or something is wrong with it or with the other settings.
    """
    _check(config)
    return _finished(config, _in_parts(config, given))


def load_other(
    config: DataConfig, on: DataConfig | Datasets, given: Datasets | None = None, spec: DataSpec | None = None
) -> Data:
    """Loads other data than those that `config` names, all of them as test part, to measure a model on.

    Training and validation are those of `config`, so that equal items are found and labels have their numbers. If these
    can't be read, the other data stand for all parts, and the remark says that nothing could be compared.

    Args:
        config: of the data that a model was trained on.
        on: the other data: where they lie, or data sets of a program's own.
        given: the data sets that the model was trained on, if they were a program's own.
        spec: what items look like that the model takes, before they are put through a network.

    Raises:
        UserError: if the other data can't be read, or don't fit those of `config`.
    """
    if config.by_class:
        raise UserError("A model of pairs within classes is measured on the classes that were held out, not on others")
    try:
        data = _in_parts(config, given)
    except UserError as error:
        if spec is None:
            raise
        data, reason = None, str(error)
    else:
        reason, spec = "", data.spec
    if data is not None and (data.test.labelled() is not None) != (_kind(on) == "labelled"):
        raise UserError(f"{data.name} has {data.test.describe()}: give other data of this kind")
    source, sets = _asked(config, on, data)
    other = _whole(source, sets, spec)
    if data is None:
        unknown = f"whether images that trained are among them is not known, for those can't be read: {reason}"
        data = replace(
            other, val=other.train, test=other.train, remark="; ".join(filter(None, (other.remark, unknown)))
        )
        return _finished(config, data)
    return _finished(config, replace(with_part(data, "test", other), name=other.name))


def _in_parts(config: DataConfig, given: Datasets | None) -> Data:
    """Loads a source and the parts that are given apart from it."""
    places = by_part(config) if config.set is None and config.from_python is None else {"train": config}
    apart: dict[str, tuple[DataConfig, Datasets | None]] = {
        **{name: (place, None) for name, place in places.items() if name != "train"},
        **{name: (config, sets) for name, sets in (given.parts if given else {}).items()},
    }
    data = _read(replace(places["train"], **dict.fromkeys(apart, ELSEWHERE)), given)
    for name, (place, sets) in apart.items():
        other = _whole(place, sets, data.spec)
        data = with_part(data, name, other)
        if sets:  # the hash of their items
            data = replace(data, name=f"{data.name}, {name} {other.name}")
    return replace(data, name=config.folder.name) if config.folder else data


def _whole(config: DataConfig, given: Datasets | None, like: DataSpec | None) -> Data:
    """Loads a source of which all items train."""
    return _read(replace(config, val=ELSEWHERE, test=ELSEWHERE), given, like)


def _read(config: DataConfig, given: Datasets | None, like: DataSpec | None = None) -> Data:
    """Loads the one source that `config` names. like: what items are fitted to."""
    if config.set is not None:
        return KNOWN[config.set].load(config)
    if config.from_python is not None:
        return datasets.load_datasets(config, given, like)
    if config.side_by_side is not None:
        return folders.load_side_by_side(config, like)
    if config.classes is not None:
        return folders.load_classes(config, like)
    if config.csv is not None:
        return tables.load_csv(config, like)
    if config.shards is not None:
        return shards.load_shards(config, like)
    if config.arrays is not None:
        return arrays.load_arrays(config, like)
    return folders.load_two_folders(config, like)


def _kind(on: DataConfig | Datasets) -> str:
    """Returns "labelled" or "two domains"."""
    if isinstance(on, Datasets):
        labelled = on.kind == "labelled"
    else:
        labelled = bool(on.classes or on.csv or (on.shards and shards.read_shards(on.shards, on.names).labelled))
    return "labelled" if labelled else "two domains"


def _asked(config: DataConfig, on: DataConfig | Datasets, data: Data | None) -> tuple[DataConfig, Datasets | None]:
    """Returns the settings to read other data by: the places of `on`, everything else as the model was trained."""
    if isinstance(on, Datasets):
        return replace(config, **dict.fromkeys(PLACES), set=None, from_python=on.kind), on
    places = {name: getattr(on, name) for name in PLACES}
    found = replace(config, **places, set=None, from_python=None)
    paired = data.test.pairs() is not None if data else not config.unpaired
    if on.a and on.b and not on.pairs and not (paired and folders.paired_by_name(on.a, on.b)):
        found = replace(found, unpaired=True)
    return found, None


def _finished(config: DataConfig, data: Data) -> Data:
    """Compares the parts, and makes of the data what the other settings say."""
    if data.train.labelled() is None:
        data = replace(data, spec=replace(data.spec, names=domain_names(config)))
    elif config.names:
        raise UserError(f"--data.names is for two domains; {data.name} has labels: leave it out")
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
            f"{a} and {b}{advice}"
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
        "--data.folder": config.folder,
        "--data.a or --data.b": config.a or config.b,
        "--data.side-by-side": config.side_by_side,
        "--data.classes": config.classes,
        "--data.csv": config.csv,
        "--data.shards": config.shards,
        "--data.arrays": config.arrays,
        "data sets from Python": config.from_python,
    }
    given = [flag for flag, value in sources.items() if value is not None]
    if config.pairs and not (config.a or config.b):
        raise UserError("--data.pairs needs the folders it speaks of: --data.a and --data.b")
    if len(given) != 1:
        raise UserError(
            f"Give one source of data; given: {', '.join(given) or 'none'}. There are --data.set, --data.folder, "
            "--data.a with --data.b, --data.side-by-side, --data.classes, --data.csv, --data.shards and --data.arrays; "
            "in Python, data= too"
        )
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
        if config.transforms and not isinstance(spec, ImageSpec):
            raise UserError(f"--data.transforms moves images; {name} has {spec}")
        for text in config.transforms:
            check_transform(text, spec.shape)  # pyright: ignore[reportArgumentType]
    if config.transforms and data.train.pairs() and data.spec.a.shape[1:] != data.spec.b.shape[1:]:
        raise UserError(
            f"--data.transforms moves both images of a pair alike, which need one size; found "
            f"{data.spec.a} and {data.spec.b}. Give --data.size"
        )
