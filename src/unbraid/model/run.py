"""A run is a folder. The same command resumes it; loading a trained model needs the folder alone.

config.json         what was asked for, and by which version
parts.json          which images are train, validation and test
model.safetensors   the best weights so far, with config and data spec in the metadata
state.pt            everything that resuming needs: last weights, optimisers, position; read with weights_only=True
log.jsonl           losses, measurements, events, a line each
samples/            pictures made while training
metrics.json, pictures/, examples/, README.md   written by `evaluate`

Files are replaced atomically: a process killed at any moment leaves the folder as it was or as it should be. What is
read is checked against a schema, and tensors against a checksum: a damaged file is one UserError.
"""

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import dacite
import msgspec
import torch
from filelock import FileLock, Timeout
from torch import Tensor
from torch.optim import Optimizer

from unbraid.core.checksums import check_seal, read_tensors, seal, write_tensors
from unbraid.core.config import LENGTH, RunConfig, TrainConfig, differences, to_json
from unbraid.core.data_config import DataConfig
from unbraid.core.files import (
    Json,
    check_value,
    create_json,
    is_unused,
    parse_json,
    read_json,
    write_atomically,
    write_json,
)
from unbraid.core.memory import available_memory, build_method
from unbraid.core.method import AnyMethod, present_names
from unbraid.core.types import DOMAINS, DataSpec, ImageSpec, Spec, UserError, VectorSpec
from unbraid.core.version import __version__
from unbraid.model.restore import load_weights, model_state
from unbraid.model.saved import (
    FORMAT,
    Position,
    SavedConfig,
    SavedImages,
    SavedModel,
    SavedSettings,
    SavedState,
    SavedVectors,
)
from unbraid.model.space import CodeSpace

LARGE = 25_000_000
"""Bytes of a state that is copied and written beside training; a smaller one is written at once."""


class OtherFormat(UserError):
    """A file is of another version."""


class Run:
    """One run's folder and configuration."""

    def __init__(self, path: Path, method_name: str, config: RunConfig[Any]) -> None:
        self.path, self.method_name, self.config = path, method_name, config
        self.former: TrainConfig | None = None
        """What config.json says of training, if another length is asked for now."""
        self._writer = BackgroundWriter()
        self._lock_file: tuple[int, int] | None = None

    @classmethod
    def open(
        cls,
        path: Path,
        method_name: str,
        config: RunConfig[Any],
        recipe: str | None = None,
        any_length: bool = False,
    ) -> "Run":
        """Starts a run in an empty or new folder, or goes on with the one that is there.

        A folder in which a run was stopped before it had a configuration is as good as empty.

        Args:
            path: Folder of the run.
            method_name: Its method.
            config: Its configuration.
            recipe: Name of the recipe that the configuration began with.
            any_length: Take a run of another length too; `former` has its settings then. See `training.length`.

        Raises:
            UserError: The folder holds something else, another version's run or one with another configuration.
        """
        run = cls(path, method_name, config)
        asked = {"method_name": method_name, **to_json(config)}
        if not (path / "config.json").exists():
            check_unused(path)
            text = {"format": FORMAT, "unbraid": __version__, "recipe": recipe, "config": asked}
            if create_json(path / "config.json", text):  # another process may have begun at the same moment
                return run
        there = _checked_config(path)
        if there.method_name != method_name:
            raise UserError(f"{path} is a run of {there.method_name}. Give another --run for {method_name}")
        former = config_of(there, path / "config.json")
        if config.train.init is None and former.train.init is not None:  # what it began with needn't be said again
            config = replace(config, train=replace(config.train, init=former.train.init))
            run.config, asked = config, {"method_name": method_name, **to_json(config)}
        length_keys = [f"train.{name}" for name in LENGTH] if any_length else []
        before = {"method_name": there.method_name, **to_json(former)}
        if changed := differences(before, asked, length_keys):
            raise UserError(
                f"{path} is a run with other settings: {'; '.join(changed)}. "
                "Give the same settings to go on with it, or another --run to start anew"
            )
        if any(getattr(former.train, name) != getattr(config.train, name) for name in LENGTH):
            run.former = former.train
        return run

    @classmethod
    def existing(cls, path: Path) -> "Run":
        """Returns the run in this folder. Raises UserError if there is none, or one of another version."""
        if not path.is_dir():
            raise UserError(f"There is no run folder {path}")
        values = _checked_config(path)
        return cls(path, values.method_name, config_of(values, path / "config.json"))

    def keep_length(self) -> None:
        """Writes the length that is asked for now into config.json; all else in it stays."""
        values = read_json(self.path / "config.json", Json)
        values["config"]["train"].update({name: getattr(self.config.train, name) for name in LENGTH})
        write_json(self.path / "config.json", values)
        self.former = None

    def metrics(self) -> Json:
        """Returns what was measured before, {} if nothing was. Raises UserError if the file is damaged."""
        path = self.path / "metrics.json"
        if not path.exists():
            return {}
        try:
            return read_json(path, Json)
        except UserError as error:
            raise UserError(f"{error}. Delete it: `unbraid evaluate {self.path}` writes it anew") from error

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps a second process from training in the same folder. Raises UserError in that one."""
        lock = FileLock(self.path / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise UserError(f"Another process trains in {self.path}. Wait for it, or give another --run") from error
        except OSError as error:
            raise UserError(f"Can't train in {self.path}: {error.strerror or error}") from error
        self._lock_file = _identity(self.path / ".lock")
        try:
            for left in self.path.rglob(".*.tmp"):  # by a process that was killed while writing
                left.unlink(missing_ok=True)
            yield
            self._writer.wait()
        except BaseException:
            with contextlib.suppress(Exception):  # what ended the work is said, not what came after it
                self._writer.wait()
            raise
        finally:
            self._lock_file = None
            lock.release()

    def check_there(self) -> None:
        """UserError if the folder is no longer the run that it was: nothing may be written into what is there now."""
        config, lock = self.path / "config.json", self.path / ".lock"
        if not config.exists() or self._lock_file not in (None, _identity(lock)):
            raise UserError(moved(self.path))

    def save_position(
        self,
        method: AnyMethod,
        optimisers: Mapping[str, Optimizer],
        position: Position,
        average: Json | None,
        wait: bool = True,
    ) -> None:
        """Writes state.pt. Raises UserError, and leaves the last one, if a weight is not finite.

        Args:
            method: Its weights.
            optimisers: By player.
            position: Where training stands.
            average: State of the average of weights.
            wait: Be done on return. Otherwise a large state may be copied and written while training goes on, or, if
                the last one is being written still or there is no memory for a copy, not at all this time or at once;
                what went wrong with it is raised at the next call.
        """
        _check_weights(method, position.step)
        state = {
            "format": FORMAT,
            "position": dataclasses.asdict(position),
            "method": method.state_dict(),
            "optimisers": {name: optimiser.state_dict() for name, optimiser in optimisers.items()},
            "average": average,
        }

        def write(state: Json) -> None:
            self.check_there()
            write_atomically(self.path / "state.pt", lambda file: _save(state, file))

        if wait or not LARGE < _size(state) < available_memory():
            self._writer.wait()
            write(state)
        elif self._writer.idle():
            kept = copied(state)
            self._writer.start(lambda: write(kept))

    def load_state(self) -> Json | None:
        """Returns what state.pt holds. See `read_state`."""
        return read_state(self.path)

    def save_model(self, method: AnyMethod, space: CodeSpace | None, step: int) -> None:
        """Writes model.safetensors: weights, and the geometry of shared codes. See `Run.save_position`."""
        _check_weights(method, step)
        tensors = {f"method.{name}": value.detach().cpu().contiguous() for name, value in model_state(method).items()}
        if space is not None:
            tensors.update({f"space.{name}": value for name, value in space.tensors().items()})
        spec = {name: value for name, value in vars(method.spec).items() if name != "items"}  # which only training has
        for domain in DOMAINS:
            spec[domain] = {"kind": type(spec[domain]).__name__, **vars(spec[domain])}
        about = {
            "format": FORMAT,
            "version": __version__,
            "method": self.method_name,
            "config": to_json(self.config.method),
            "spec": spec,
            "step": step,
        }
        self.check_there()
        write_tensors(self.path / "model.safetensors", tensors, json.dumps(about))


def check_unused(path: Path) -> None:
    """Raises UserError if something is there that is no run, and not an empty folder."""
    if path.exists() and not (path.is_dir() and is_unused(path)):
        raise UserError(f"{path} exists and is not a run (no config.json in it). Give another --run")


def read_state(run: Path) -> Json | None:
    """Returns what state.pt in the folder of a run holds, None if there is none. Raises UserError if it is damaged."""
    path = run / "state.pt"
    if not path.exists():
        return None
    try:
        check_seal(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
        if isinstance(state, dict) and state.get("format", FORMAT) != FORMAT:
            raise OtherFormat(f"{path} has format {state['format']}; this version reads {FORMAT}")
        check_value(state, str(path), SavedState)
        return state
    except OtherFormat:
        raise
    except Exception as error:  # torch raises many kinds for a damaged file
        kept = "; the best model so far, model.safetensors, can still be used"
        found = str(error) if isinstance(error, UserError) else f"{path} is damaged ({type(error).__name__})"
        raise UserError(
            f"{found}. Nothing was changed. Move it away to train again from the start"
            f"{kept if (run / 'model.safetensors').exists() else ''}"
        ) from error


def moved(path: Path) -> str:
    """Returns what to say of a run's folder that is no longer there."""
    return (
        f"{path} was moved or deleted while a process worked in it; nothing was written there. If it was moved, it "
        "holds the last checkpoint: give its new place to go on"
    )


class BackgroundWriter:
    """Writes one file at a time in a thread of its own, from what its caller copied for it.

    An interpreter that ends waits for the thread.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, "checkpoint")
        self._job: Future[object] | None = None

    def start(self, write: Callable[[], object]) -> None:
        """Begins, when the last one is done. Raises what that one raised."""
        self.wait()
        self._job = self._pool.submit(write)

    def idle(self) -> bool:
        """Returns whether nothing is being written. Raises what the last writing raised."""
        if self._job is not None and not self._job.done():
            return False
        self.wait()
        return True

    def wait(self) -> None:
        """Waits until nothing is being written. Raises what went wrong with it, once."""
        if (job := self._job) is not None:
            futures.wait([job])
            self._job = None
            job.result()


def copied(value: Any) -> Any:
    """Returns a state with all tensors in its dictionaries, lists and tuples copied to the CPU.

    Tensors that lie at one place, such as weights that two networks share, lie at one place in the copy too.
    """
    done: dict[tuple[Any, ...], Tensor] = {}

    def copy_of(value: Any) -> Any:
        if isinstance(value, Tensor):
            where = value.device, value.data_ptr(), value.dtype, value.shape, value.stride()
            if where not in done or not value.numel():
                done[where] = value.detach().to("cpu", copy=True)
            return done[where]
        if isinstance(value, Mapping):
            return {key: copy_of(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(copy_of(item) for item in value)
        return value

    return copy_of(value)


def _size(state: Any) -> int:
    """Returns the bytes of a state's tensors."""
    if isinstance(state, Tensor):
        return state.numel() * state.element_size()
    values = state.values() if isinstance(state, Mapping) else state if isinstance(state, (list, tuple)) else ()
    return sum(_size(value) for value in values)


def _check_weights(method: AnyMethod, step: int) -> None:
    """UserError that names a weight which is not finite."""
    for name, value in method.state_dict().items():
        if value.is_floating_point() and not value.sum().isfinite():  # a sum needs no memory, for tables are large
            raise UserError(
                f"Step {step}: {name} is no longer finite; the last good checkpoint is kept. "
                "Try, in another run folder, a lower --method.rate or --train.precision fp32"
            )


def _save(state: Any, path: Path) -> None:
    with path.open("wb") as file:  # Python's file: its errors say why nothing could be written
        torch.save(state, file)
    seal(path)


def _identity(path: Path) -> tuple[int, int] | None:
    """Tells a file from another one of the same name; None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _checked_config(path: Path) -> SavedSettings:
    file = path / "config.json"
    return check_config(read_json(file, Json), file).config


def check_config(values: Json, file: Path) -> SavedConfig:
    """Returns what the config.json of a run says. Raises UserError if it is damaged or of another version."""
    if values.get("format") != FORMAT:
        raise UserError(
            f"{file.parent} is a run of format {values.get('format')}; this version of unbraid ({__version__}) reads "
            f"format {FORMAT}"
        )
    return check_value(values, str(file), SavedConfig)


def config_of(values: SavedSettings, file: Path) -> RunConfig[Any]:
    """Returns a run's typed configuration, with the defaults of settings that are newer than the run.

    Raises UserError for an unknown method or field.
    """
    from unbraid.methods import method_class

    return RunConfig(
        _method_config(method_class(values.method_name), values.method, file),
        from_json(DataConfig, values.data, file),
        from_json(TrainConfig, _present_train(values.train), file),
    )


def _present_train(values: Json) -> Json:
    """Training settings as this or an earlier version saved them: what was `tensorboard` is a tracker."""
    present = {name: value for name, value in values.items() if name != "tensorboard"}
    return {"track": ["tensorboard"], **present} if values.get("tensorboard") else present


def _method_config(kind: type[AnyMethod], values: Json, file: Path) -> Any:
    """Returns a method's configuration, as this or an earlier version saved it in a file."""
    try:
        upgraded = kind.upgrade_config(present_names(values, kind.renamed))
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{file} doesn't fit this version of unbraid: {error}") from error
    return from_json(kind.config_type, upgraded, file)


def from_json(kind: type, values: Json, file: Path, why: str = "doesn't fit this version of unbraid") -> Any:
    """Returns a dataclass from what `to_json` made of it. why: what to say of the file if it doesn't fit.

    Raises UserError, which names the file, then. See `load_weights`.
    """
    try:
        return dacite.from_dict(kind, values, dacite.Config(cast=[Path, tuple], strict=True))
    except (dacite.DaciteError, TypeError, ValueError) as error:
        raise UserError(f"{file} {why}: {error}") from error


def _spec(saved: SavedImages | SavedVectors) -> Spec:
    """Returns the specification that `Run.save_model` wrote."""
    kind = ImageSpec if isinstance(saved, SavedImages) else VectorSpec
    return kind(**msgspec.structs.asdict(saved))


def read_model(path: Path) -> tuple[SavedModel, Mapping[str, Tensor]]:
    """Returns what model.safetensors of the run in folder `path` says of itself, and its tensors.

    Raises UserError if there is no model yet, it is damaged, or of another version.
    """
    file = path / "model.safetensors"
    if not path.is_dir():
        raise UserError(f"There is no run folder {path}")
    if not file.exists():
        raise UserError(f"{path} holds no model yet: {file.name} is written at a run's first measurement")
    about, tensors = read_tensors(file)
    meta = parse_json(about, str(file), Json)
    if meta.get("format") != FORMAT:
        raise UserError(f"{file} has format {meta.get('format')}; this version of unbraid reads {FORMAT}")
    return check_value(meta, str(file), SavedModel), tensors


def load_model(path: Path) -> tuple[AnyMethod, CodeSpace | None, SavedModel]:
    """Returns the best model of the run in folder `path`: (method in evaluation mode, geometry of shared codes,
    metadata).

    Raises UserError if there is no model yet, it is damaged, or of another version.
    """
    from unbraid.methods import method_class

    saved, tensors, file = *read_model(path), path / "model.safetensors"
    kind, about = method_class(saved.method), vars(saved.spec)
    spec = DataSpec(**{**about, "a": _spec(saved.spec.a), "b": _spec(saved.spec.b)})
    config = _method_config(kind, saved.config, file)
    try:
        method = build_method(kind, spec, config)
    except UserError as error:
        raise UserError(f"{file} can't be used: {error}") from error
    weights = {name.removeprefix("method."): value for name, value in tensors.items() if name.startswith("method.")}
    load_weights(method, present_names(weights, kind.renamed), file)
    parts = {name.removeprefix("space."): value for name, value in tensors.items() if name.startswith("space.")}
    method.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]  # convolves a quarter faster
    return method.eval(), _space(parts, file) if parts else None, saved


def _space(parts: dict[str, Tensor], file: Path) -> CodeSpace:
    """Returns the geometry of shared codes. Raises UserError that names `file` if its parts don't fit each other."""
    shapes = {name: tuple(value.shape) for name, value in parts.items()}
    size, directions = shapes.get("directions", ()) if len(shapes.get("directions", ())) == 2 else (0, 0)
    wanted = {"centre_a": (size,), "centre_b": (size,), "scale": (size,)}
    if shapes != {**wanted, "directions": (size, directions), "shrink": (directions,)}:
        raise UserError(f"{file} is damaged: the geometry of its codes has parts of sizes {shapes}")
    return CodeSpace(**parts)
