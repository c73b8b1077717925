"""An experiment: the one place where a configuration becomes data, a method and a run. Training and measuring from
Python; the command line and the explorer call the same functions and print.

    config = RunConfig(IIAEConfig(), DataConfig(a=Path("photos"), b=Path("drawings")), TrainConfig(steps=2000))
    model = unbraid.train(config, run="runs/own")
    metrics = unbraid.evaluate("runs/own")
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import dacite
import torch

from unbraid.core import ranks
from unbraid.core.config import (
    FREE_KEYS,
    LOCATIONS,
    PACKAGED,
    Distance,
    PerceptualConfig,
    RunConfig,
    TrainConfig,
    flatten,
    to_json,
)
from unbraid.core.data_config import DataConfig
from unbraid.core.deadline import Deadline
from unbraid.core.device import choose_precision
from unbraid.core.files import check_value, is_inside, read_json, write_json
from unbraid.core.functions import for_programs
from unbraid.core.memory import build_method, require_memory
from unbraid.core.method import Method
from unbraid.core.names import in_text
from unbraid.core.ranks import Ranks
from unbraid.core.recipe import Recipe
from unbraid.core.short import Short
from unbraid.core.types import UserError
from unbraid.data.features import Tuned, save_extractor, with_head
from unbraid.data.loading import PLACES, load_other, needs
from unbraid.data.loading import load as load_data
from unbraid.data.parts import Data, listing
from unbraid.data.sources.datasets import Datasets
from unbraid.data.sources.known import redrawn
from unbraid.data.styles import wanted_styles
from unbraid.methods import method_class, method_name
from unbraid.model.log import Log
from unbraid.model.run import Run
from unbraid.model.saved import Position
from unbraid.model.trained import Trained, load
from unbraid.training.initial import start_from
from unbraid.training.length import change_length
from unbraid.training.loop import Interrupted, check, check_numbers, fit

FEWEST = 8
"""Items in a figure, at least."""


class DataGone(UserError):
    """The data of a run are no longer where they were in training. setting: what named the place in `DataConfig`."""

    def __init__(self, run: Path, setting: str, place: Path) -> None:
        super().__init__(f"The data of {run} are no longer in {place}: bring them back")
        self.setting = setting


@dataclass(frozen=True)
class Listed(Short):
    """Content of parts.json: how many items train, and the names of those held out."""

    train: int
    val: list[Any]
    test: list[Any]


@dataclass(frozen=True)
class Experiment(Short):
    """A method, built for its data, ready to be trained in a run's folder.

    name: of the method. config: with everything resolved that was left open. notes: lines about it, for the user.
    parts: how the data are divided, as parts.json keeps it. tuned: the head and network behind the data, if they are.
    """

    name: str
    config: RunConfig[Any]
    data: Data
    method: Method[Any]
    run: Path | None
    recipe: str | None
    notes: tuple[str, ...]
    parts: dict[str, Any]
    tuned: Tuned | None

    @classmethod
    def prepare(
        cls,
        config: RunConfig[Any],
        run: str | Path | None = None,
        data: Datasets | None = None,
        loaded: Data | None = None,
        notes: Sequence[str] = (),
        dry: bool = False,
    ) -> "Experiment":
        """Reads the data, resolves the configuration, builds the method. Writes nothing.

        Args:
            config: The run, or a recipe; in place of the method's configuration, its name takes what is best for these
                data.
            run: Folder of the run. Nothing can be trained without one.
            data: Data sets of the program's own, in place of a source that the configuration names.
            loaded: What `config.data` describes, if it was read already.
            notes: Lines about the configuration, for the user.
            dry: Do without what must be learned before training.

        Raises:
            UserError: The configuration is none, its numbers make no sense, or the data can't be read or don't offer
                what the method needs.
        """
        recipe = config.name if isinstance(config, Recipe) else None
        config, path = checked(config), None if run is None else _folder(run)
        if data is not None:
            config = replace(config, data=replace(config.data, from_python=_given(data).kind))
        check_length(config.data, config.train)
        loaded = load_data(config.data, data) if loaded is None else loaded
        if isinstance(config.method, str):
            default, differing = method_class(config.method).default_config(loaded.spec)
            config, notes = replace(config, method=default), [*notes, *differing]
        name = method_name(config.method)
        loaded, tuned = with_head(loaded, config.data, path, dry)
        kind, parts = method_class(name), listing(loaded)
        styles = wanted_styles(config.data, getattr(config.method, "perceptual", None))
        loaded = needs(loaded, kind.needs, name, config.data.balanced, styles)
        resolved, more = kind.resolve_config(config.method, loaded.train)
        config = replace(config, method=resolved)
        torch.manual_seed(config.train.seed)
        method = build_method(kind, loaded.spec, config.method, copies=4, device=choose_precision(config.train).device)
        if method.as_latent():
            _check_still(name, config.data)
        return cls(name, config, loaded, method, path, recipe, (*notes, *more), parts, tuned)

    @property
    def about(self) -> str:
        """The method, its size, and what its data look like, in a line."""
        size = sum(p.numel() for p in self.method.parameters())
        return f"{self.name}, {size / 1e6:.2f} M parameters; {self.data.about}"

    @property
    def lines(self) -> list[str]:
        """Returns `about`, notes, and what must be said of the data: remarks, and images that were left out."""
        remarks = [self.data.remark] if self.data.remark else []
        notes = [in_text(note, self.data.spec.names) for note in self.notes]
        return [self.about, *notes, *remarks, *(f"left out: {line}" for line in self.data.skipped)]

    def _content(self) -> str:
        return self.about

    def start_from(self, init: Path | None) -> list[str]:
        """Loads the weights that a new run starts from, if it starts from another run's; returns lines about it.

        Raises UserError if they are not there or don't fit. A run with a checkpoint needs them no longer.
        """
        if init is None or (self.run is not None and (self.run / "state.pt").exists()):
            return []
        return start_from(init, self.name, self.method)

    def train(self, quiet: bool = False, until: Deadline | None = None) -> Position:
        """Trains to the end of the run's length, from wherever the run in the folder stands.

        Args:
            quiet: Show neither progress nor figures.
            until: When to end, wherever training is then; the same call goes on.

        Returns:
            Where training ended, and the best model's step and score.

        Raises:
            UserError: There is no folder, it holds another run or one of other data, or training failed.
            Interrupted: The user stopped it; the run is saved.
        """
        config, path = self.config, self.run
        if path is None:
            raise UserError("Where to? Give --run DIR, a folder for the run")
        check_apart(path, config.data)
        check(config.train, self.method)
        if ranks.count() > 1 and self.tuned and not (path / "features.safetensors").exists():
            raise UserError(
                "--data.tuned learns its features before training, in one process: start this command without "
                "torchrun, stop it when its first steps are done, and go on with torchrun"
            )
        with ranks.joined(choose_precision(config.train).device) as group:
            group.check_same(self._digest(), "The command, or the data that it finds, is")
            return self._first(path, quiet, group, until) if group.first else self._other(path, group)

    def _first(self, path: Path, quiet: bool, group: Ranks, until: Deadline | None) -> Position:
        """Trains and writes the run's folder."""
        config, began = self.config, self.start_from(self.config.train.init)
        run, log = Run.open(path, self.name, config, self.recipe, any_length=True), None
        try:
            with run.locked():
                check_parts(path, self.parts)
                if (config.data.features or self.tuned) and not (path / "features.safetensors").exists():
                    save_extractor(path, config.data.features, self.data.images or self.data.spec, self.tuned)
                settings, names = flatten(to_json(config)), self.data.spec.names
                log = Log(path, quiet, track=config.train.track, settings=settings, names=names)
                for line in self.lines:
                    log.console.print(line, soft_wrap=True)
                for line in began or self.start_from(run.config.train.init):
                    log.event(Position(), line)
                if run.former is not None:
                    change_length(run, run.former, self.method, len(self.data.train), log)
                group.wait()
                return fit(run, self.method, self.data, log, group, until)
        finally:
            if log:
                log.close()

    def _other(self, path: Path, group: Ranks) -> Position:
        """Trains with the first rank, and writes nothing."""
        group.wait()
        run, log = Run(path, self.name, self.config), Log(path, quiet=True, writes=False)
        return fit(run, self.method, self.data, log, group)

    def _digest(self) -> str:
        """Returns a digest of what must be the same on all ranks."""
        settings = flatten(to_json(self.config))
        same = {name: value for name, value in settings.items() if name not in (*FREE_KEYS, *LOCATIONS)}
        return sha256(json.dumps([same, self.parts, to_json(self.data.spec)], default=str).encode()).hexdigest()


@for_programs
def train(config: RunConfig[Any], run: str | Path, data: Datasets | None = None, quiet: bool = False) -> Trained:
    """Trains a model, or goes on with the run in the folder if it has the same settings.

    Args:
        config: What to train, on which data, how long, or a recipe; in place of the method's configuration, its name
            takes what is best for these data.
        run: Folder of the run: new, empty, or one to go on with.
        data: Data sets of the program's own, from `unbraid.data.from_datasets`, in place of a source that
            `config.data` names; what else it says, such as the size of images, holds for them.
        quiet: Show neither progress nor figures.

    Returns:
        The best model of the run.

    Raises:
        UserError: Something the user can mend, such as data that don't fit, or a folder with another run.
        KeyboardInterrupt: The user stopped it; the run is saved, and the same call goes on from there.
    """
    experiment = Experiment.prepare(config, run, data)
    try:
        experiment.train(quiet)
    except Interrupted as stop:
        raise KeyboardInterrupt(f"{stop}; saved. The same call goes on from there") from stop
    return load(run, config.train.device)


@for_programs
def evaluate(
    run: str | Path,
    data: Datasets | None = None,
    distance: Distance | None = None,
    perceptual: PerceptualConfig = PACKAGED,
    limit: int | None = None,
    only: Sequence[str] = (),
    device: str = "auto",
    on: DataConfig | Datasets | None = None,
    inception: str | None = None,
    features: str | None = None,
) -> dict[str, Any]:
    """Measures a run on its test part; writes metrics.json, pictures, examples and README.md into its folder.

    Args:
        run: Folder of the run.
        data: The data sets that `train` was given, if it was given some.
        distance: Distance of shared codes; the one the run was trained with, if not given.
        perceptual: Where the weights of perceptual networks come from.
        limit: Items in a figure at most, to be done sooner; retrieval takes all.
        only: Names of the measures to compute, such as ("retrieval",); none for all that apply.
        device: Where to compute: auto, cpu, cuda, cuda:N or mps.
        on: Data to measure on in place of the run's test part, all of them: where they lie, as
            `DataConfig(a=..., b=...)`, or data sets of the program's own. Their figures stand apart in metrics.json.
        inception: File of torch-fidelity's weights of Inception, for FID and KID; "auto": the one in torch's cache.
        features: Network by whose features translations are compared with real images too: vgg16, efficientnet-lite0,
            timm/NAME or timm/NAME@FILE.

    Returns:
        What was measured, as metrics.json has it; with `on`, of these data alone.

    Raises:
        UserError: There is no run, no model yet, or the data are not those it was trained on.
    """
    from unbraid.evaluation.evaluate import evaluate as measure

    opened, model, loaded = open_run(_folder(run), limit=limit, data=data, on=on, device=device)
    return measure(opened, model, loaded, distance, perceptual, limit, only, on is not None, inception, features)


def open_run(
    path: Path,
    moved: Mapping[str, Path] | None = None,
    limit: int | None = None,
    data: Datasets | None = None,
    device: str = "auto",
    on: DataConfig | Datasets | None = None,
) -> tuple[Run, Trained, Data]:
    """Opens a run: the run, its model, and its data with the batches that the model trains on.

    Args:
        path: Folder of the run.
        moved: Where the data lie now, by what named the place in `DataConfig`.
        limit: Items in a figure that is to be measured.
        data: The data sets that the run was given by a program, if it was given some.
        device: Where the model computes: auto, cpu, cuda, cuda:N or mps.
        on: Data that take the place of the test part.

    Raises:
        UserError: There is no run, no model yet, the images are others now, or so few items say nothing.
    """
    if limit is not None and limit < FEWEST:
        raise UserError(f"--limit {limit}: at least {FEWEST}")
    run, model = Run.existing(path), load(path, device)
    for name in moved or {}:
        if name != "root" and getattr(run.config.data, name) is None:
            raise UserError(f"--data.{name.replace('_', '-')}: {path} was not trained on data that were given so")
    if on is not None:
        loaded = _read_other(run, model, on, moved, data)
        fits = loaded.train.offer(model.method.needs) is not None  # where what trained can't be read, it may not
        return run, model, needs(loaded, model.method.needs, model.name) if fits else loaded
    loaded = read_data(run, moved, data)
    check_parts(path, listing(loaded))
    return run, model, needs(loaded, model.method.needs, model.name, run.config.data.balanced)


def _read_other(
    run: Run, model: Trained, on: DataConfig | Datasets, moved: Mapping[str, Path] | None, data: Datasets | None
) -> Data:
    """Reads data that a run was not trained on, as test part; see `load_other`."""
    config = replace(run.config.data, **(moved or {}))
    images = replace(model.spec, **model.extractor.images) if model.extractor else model.spec
    loaded = load_other(config, on, data, None if model.spec.classes and not model.spec.domains else images)
    return with_head(loaded, config, run.path)[0]


def read_data(run: Run, moved: Mapping[str, Path] | None = None, data: Datasets | None = None) -> Data:
    """Reads the data of a run again, behind the head and network that the run tuned. See `open_run`.

    Raises UserError, DataGone where they are not where the configuration, or moved, says.
    """
    config = replace(run.config.data, **(moved or {}))
    if data is not None and config.from_python is None:
        raise UserError(f"{run.path} was trained on data that its settings name: leave data= out")
    for name in PLACES:
        place = getattr(config, name)
        if place is not None and not place.exists():
            raise DataGone(run.path, name, place)
    return with_head(load_data(config, data and _given(data)), config, run.path)[0]


def check_apart(path: Path, data: DataConfig) -> None:
    """Raises UserError if a run's folder lies among its images."""
    for name in PLACES:
        folder = None if name == "arrays" else getattr(data, name)
        if folder is not None and is_inside(path, folder):
            raise UserError(f"--run {path} lies in {folder}: its pictures would be taken for data. Give another --run")


def changed_since(path: Path, parts: Mapping[str, Any]) -> bool:
    """Returns whether the data are divided otherwise than when the run in this folder began; those that lie in a place
    of their own may have another name now."""
    file = path / "parts.json"
    if not file.exists():
        return False
    before, data = read_json(file, dict[str, Any]), Run.existing(path).config.data
    return before != (parts if data.set or data.from_python else {**parts, "data": before.get("data")})


def check_parts(path: Path, parts: dict[str, Any]) -> None:
    """Writes parts.json, or compares with the one the run began with. UserError if the images have changed since."""
    file = path / "parts.json"
    if not file.exists():
        write_json(file, parts)
        return
    before = check_value(read_json(file, dict[str, Any]), str(file), Listed)
    if changed_since(path, parts):
        raise UserError(
            f"The images are not those the run began with: {before.train} train, {len(before.val)} validation, "
            f"{len(before.test)} test then; {parts['train']}, {len(parts['val'])}, {len(parts['test'])} now "
            f"(names are in {file}). Start another --run, or bring the images back"
        )


def check_length(data: DataConfig, train: TrainConfig) -> None:
    """UserError, before anything is read, for numbers that can't be trained with and batches that memory can't hold."""
    check_numbers(train)
    if data.size and not data.features:
        least = 8 * train.batch * data.size[0] * data.size[1]  # bytes of a grey image of each domain, as floats
        require_memory(least, f"--train.batch {train.batch} of --data.size takes at least", "Give smaller ones")


def checked(config: Any) -> RunConfig[Any]:
    """Returns a configuration with values of the types that it says: text becomes a path, a list a tuple.

    Raises UserError, with what is needed, for anything else.
    """
    shape = "RunConfig(IIAEConfig(...), DataConfig(...), TrainConfig(...)) is needed"
    if not isinstance(config, RunConfig):
        raise UserError(f"config: {shape}, or a recipe; found {type(config).__name__}")
    for name, kind in (("data", DataConfig), ("train", TrainConfig)):
        if not isinstance(part := getattr(config, name), kind):
            raise UserError(f"config.{name}: {kind.__name__} is needed; found {type(part).__name__}. {shape}")
    method = config.method
    if not isinstance(method, str):
        if isinstance(method, type) or not dataclasses.is_dataclass(method):
            found = method.__name__ if isinstance(method, type) else type(method).__name__
            raise UserError(f"config.method: a method's configuration, or its name, is needed; found {found}. {shape}")
        method = _typed(method)
    config = RunConfig(method, _typed(config.data), _typed(config.train))
    try:
        json.dumps(to_json(config))
    except (TypeError, ValueError) as error:
        raise UserError(f"config: a run's folder can't keep these settings: {error}") from error
    return config


def _typed(config: Any) -> Any:
    """Returns the same configuration by its types. Raises UserError that names the field whose value doesn't fit."""
    kind = type(config)
    try:
        return dacite.from_dict(kind, dataclasses.asdict(config), dacite.Config(cast=[Path, tuple], strict=True))
    except (dacite.DaciteError, TypeError, ValueError) as error:
        raise UserError(f"{kind.__name__}: {error}") from error


def _folder(run: Any) -> Path:
    if not isinstance(run, (str, Path)):
        raise UserError(f"run: the path of a folder is needed; found {type(run).__name__}")
    return Path(run)


def _given(data: Any) -> Datasets:
    if not isinstance(data, Datasets):
        raise UserError(f"data: unbraid.data.from_datasets(...) is needed; found {type(data).__name__}")
    return data


def _check_still(name: str, config: DataConfig) -> None:
    """UserError if images change from pass to pass, for a method that keeps a code of each."""
    moved = redrawn(config) or (
        f"--data.{'augment' if config.augment else 'transforms'} moves them" if config.moves else ""
    )
    if moved:
        raise UserError(f"{name} keeps a code for each image, which must stay as it is; {moved}")
