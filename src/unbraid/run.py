"""A run is a folder. The same command resumes it; loading a trained model needs the folder alone.

config.json         what was asked for, and by which version
parts.json          which images are train, validation and test
model.safetensors   the best weights so far, with config and data spec in the metadata
state.pt            everything that resuming needs: last weights, optimisers, position; read with weights_only=True
log.jsonl           losses, measurements, events, a line each
samples/            pictures made while training
metrics.json, pictures/, examples/, README.md   written by `evaluate`

Files are replaced atomically: a process killed at any moment leaves the folder as it was or as it should be.
"""

import contextlib
import dataclasses
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dacite
import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as safetensors_bytes
from torch import Tensor, nn
from torch.optim import Optimizer

from unbraid import __version__
from unbraid.config import RunConfig, TrainConfig, differences, to_json
from unbraid.data.config import DataConfig
from unbraid.files import read_json, write_atomically, write_json
from unbraid.method import Method
from unbraid.metrics.space import CodeSpace
from unbraid.types import DataSpec, ImageSpec, Spec, UserError, VectorSpec

LARGE = 250_000_000
"""Bytes of a state that is written beside training."""
FORMAT = 1
"""Version of the folder's layout; a run of another one is refused."""


@dataclass(frozen=True)
class Position:
    """Where training stands. `step` and `seconds` count within the stage, `drawn` the batches taken."""

    stage: int = 0
    step: int = 0
    drawn: int = 0
    seconds: float = 0.0
    best: float = -1.0
    """Score of the model that is kept."""
    best_step: int = -1
    highest: float = -1.0
    """The highest score so far, perhaps of another one: see `measure.validate`."""
    sums: dict[str, float] = field(default_factory=dict)
    """Losses summed since they were last written to the log."""
    counted: int = 0
    """How many steps those sums hold."""


class Run:
    """One run's folder and configuration."""

    def __init__(self, path: Path, method_name: str, config: RunConfig[Any]) -> None:
        self.path, self.method_name, self.config = path, method_name, config
        self._writer = BackgroundWriter()

    @classmethod
    def open(cls, path: Path, method_name: str, config: RunConfig[Any], recipe: str | None = None) -> "Run":
        """Starts a run in an empty or new folder, or goes on with the one that is there.

        Raises UserError if the folder holds something else, another version's run or one with another configuration.
        """
        run = cls(path, method_name, config)
        asked = {"method_name": method_name, **to_json(config)}
        if (path / "config.json").exists():
            there = _checked_config(path)["config"].get("method_name")
            if there != method_name:
                raise UserError(f"{path} is a run of {there}. Give another --run for {method_name}")
            changed = differences(_with_defaults(_checked_config(path)["config"]), asked)
            if changed:
                raise UserError(
                    f"{path} is a run with other settings: {'; '.join(changed)}. "
                    "Give the same settings to go on with it, or another --run to start anew"
                )
            return run
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise UserError(f"{path} exists and is not a run (no config.json in it). Give another --run")
        text = {"format": FORMAT, "unbraid": __version__, "recipe": recipe, "config": asked}
        write_json(path / "config.json", text)
        return run

    @classmethod
    def existing(cls, path: Path) -> "Run":
        """The run in this folder. Raises UserError if there is none, or one of another version."""
        if not path.is_dir():
            raise UserError(f"There is no run folder {path}")
        values = _checked_config(path)["config"]
        name = values.pop("method_name", None)
        return cls(path, name, config_from_json(name, values))

    def metrics(self) -> dict[str, Any]:
        """What was measured before, {} if nothing was. Raises UserError if the file is damaged."""
        path = self.path / "metrics.json"
        if not path.exists():
            return {}
        anew = f"Delete it: `unbraid evaluate {self.path}` writes it anew"
        try:
            found = read_json(path)
        except UserError as error:
            raise UserError(f"{error}. {anew}") from error
        if not isinstance(found, dict):
            raise UserError(f"{path} holds no table of figures. {anew}")
        return found

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
        try:
            for left in self.path.rglob(".*.tmp"):  # by a process that was killed while writing
                left.unlink(missing_ok=True)
            yield
        finally:
            lock.release()

    def save_position(
        self,
        method: Method[Any],
        optimisers: Mapping[str, Optimizer],
        position: Position,
        average: dict[str, Any] | None,
        wait: bool = True,
    ) -> None:
        """Writes state.pt. Raises UserError, and leaves the last one, if a weight is not finite.

        wait: be done on return. Otherwise a large state may be written while training goes on, or, if the last one is
        being written still, not at all this time; what went wrong with it is raised at the next call.
        """
        check_weights(method, position.step)
        state = {
            "format": FORMAT,
            "position": dataclasses.asdict(position),
            "method": method.state_dict(),
            "optimisers": {name: optimiser.state_dict() for name, optimiser in optimisers.items()},
            "average": average,
        }

        def write() -> None:
            write_atomically(self.path / "state.pt", lambda file: torch.save(state, file))

        if wait or not _large(state):
            self._writer.wait()
            write()
        else:
            self._writer.start(write)

    def load_state(self) -> dict[str, Any] | None:
        """What state.pt holds, or None before the first checkpoint. Raises UserError if it is damaged."""
        path = self.path / "state.pt"
        if not path.exists():
            return None
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            if state["format"] != FORMAT:
                raise UserError(f"{path} has format {state['format']}; this version reads {FORMAT}")
            return state
        except UserError:
            raise
        except Exception as error:  # torch raises many kinds for a damaged file
            kept = "; the best model so far, model.safetensors, can still be used"
            raise UserError(
                f"{path} is damaged ({type(error).__name__}). Nothing was changed. Move it away to train again from "
                f"the start{kept if (self.path / 'model.safetensors').exists() else ''}"
            ) from error

    def save_model(self, method: Method[Any], space: CodeSpace | None, step: int) -> None:
        """Writes model.safetensors: weights, and the geometry of shared codes. UserError as from `save_position`."""
        check_weights(method, step)
        tensors = {f"method.{name}": value.detach().cpu().contiguous() for name, value in model_state(method).items()}
        if space is not None:
            tensors.update({f"space.{name}": value for name, value in space.tensors().items()})
        metadata = {
            "unbraid": json.dumps(
                {
                    "format": FORMAT,
                    "version": __version__,
                    "method": self.method_name,
                    "config": to_json(self.config.method),
                    "spec": {
                        "a": spec_to_json(method.spec.a),
                        "b": spec_to_json(method.spec.b),
                        "classes": method.spec.classes,
                        "values": method.spec.values,
                        "labels": method.spec.labels,
                        "domains": method.spec.domains,
                    },
                    "step": step,
                }
            )
        }
        data = safetensors_bytes(tensors, metadata)
        write_atomically(self.path / "model.safetensors", lambda file: _write_bytes(file, data))


class BackgroundWriter:
    """Writes one file at a time in a process that is forked off, and so sees everything as it was at that moment.

    The pages that training changes meanwhile are copied by the system; nothing else is.
    """

    def __init__(self) -> None:
        self._running: tuple[int, int] | None = None

    def start(self, write: Callable[[], None]) -> None:
        """Begins, unless the last one is still being written. Raises UserError if that one failed."""
        if not self._done():
            return
        reading, writing = os.pipe()
        with warnings.catch_warnings(action="ignore"):  # Python warns of threads, which the child doesn't need
            child = os.fork()
        if child == 0:
            message = ""
            try:
                write()
            except BaseException as error:  # the parent says it
                message = str(error) or type(error).__name__
            os.write(writing, message.encode()[:4000])
            os._exit(0)
        os.close(writing)
        self._running = child, reading

    def wait(self) -> None:
        """Until nothing is being written. Raises UserError if it failed."""
        self._done(block=True)

    def _done(self, block: bool = False) -> bool:
        if self._running is None:
            return True
        child, reading = self._running
        if os.waitpid(child, 0 if block else os.WNOHANG)[0] == 0:
            return False
        self._running = None
        with os.fdopen(reading) as pipe:
            message = pipe.read()
        if message:
            raise UserError(message)
        return True


def _large(state: Any) -> bool:
    """Whether writing it takes seconds, and a forked process can do it: it must not touch a GPU."""
    tensors = list(_tensors(state))
    return (
        sys.platform == "linux"
        and sum(t.numel() * t.element_size() for t in tensors) > LARGE
        and all(t.device.type == "cpu" for t in tensors)
    )


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)


def model_state(method: nn.Module) -> dict[str, Tensor]:
    """The method's weights and statistics, without what only training needs."""
    left_out = method.training_only if isinstance(method, Method) else ()
    return {name: value for name, value in method.state_dict().items() if not name.startswith(left_out)}


def check_weights(method: Method[Any], step: int) -> None:
    """UserError that names a weight which is not finite."""
    for name, value in method.state_dict().items():
        if value.is_floating_point() and not value.sum().isfinite():  # a sum needs no memory, for tables are large
            raise UserError(
                f"Step {step}: {name} is no longer finite; the last good checkpoint is kept. "
                "Try, in another run folder, a lower --method.rate or --train.precision fp32"
            )


def _write_bytes(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _checked_config(path: Path) -> dict[str, Any]:
    values = read_json(path / "config.json")
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        found = values.get("format") if isinstance(values, dict) else None
        raise UserError(
            f"{path} is a run of format {found}; this version of unbraid ({__version__}) reads format {FORMAT}"
        )
    return values


def _with_defaults(values: dict[str, Any]) -> dict[str, Any]:
    """A run's settings with the defaults of those that are newer than the run."""
    name = values["method_name"]
    return {
        "method_name": name,
        **to_json(config_from_json(name, {k: v for k, v in values.items() if k != "method_name"})),
    }


def config_from_json(method_name: str, values: dict[str, Any]) -> RunConfig[Any]:
    """The typed configuration again. Raises UserError for an unknown method or field."""
    from unbraid.methods import method_class

    kind = method_class(method_name)
    try:
        return RunConfig(
            from_json(kind.config_type, kind.upgrade_config(values["method"])),
            from_json(DataConfig, values["data"]),
            from_json(TrainConfig, values["train"]),
        )
    except (dacite.DaciteError, KeyError, TypeError) as error:
        raise UserError(f"The run's configuration doesn't fit this version of unbraid: {error}") from error


def from_json(kind: type, values: dict[str, Any]) -> Any:
    """A dataclass from what `to_json` made of it."""
    return dacite.from_dict(kind, values, dacite.Config(cast=[Path, tuple], strict=True))


def spec_to_json(spec: Spec) -> dict[str, Any]:
    """{"kind": "ImageSpec" | "VectorSpec", ...its fields}."""
    return {"kind": type(spec).__name__, **dataclasses.asdict(spec)}


def spec_from_json(values: dict[str, Any]) -> Spec:
    """The inverse of `spec_to_json`."""
    kind = {"ImageSpec": ImageSpec, "VectorSpec": VectorSpec}[values.pop("kind")]
    return kind(**values)


def load_model(path: Path) -> tuple[Method[Any], CodeSpace | None, dict[str, Any]]:
    """The best model of the run in folder `path`: (method in evaluation mode, geometry of shared codes, metadata).

    Raises UserError if there is no model yet, it is damaged, or of another version.
    """
    from unbraid.methods import method_class

    file = path / "model.safetensors"
    if not path.is_dir():
        raise UserError(f"There is no run folder {path}")
    if not file.exists():
        raise UserError(f"{path} holds no model yet: {file.name} is written at a run's first measurement")
    try:
        with safe_open(file, "pt") as opened:
            meta = json.loads((opened.metadata() or {})["unbraid"])
            tensors: dict[str, Tensor] = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except PermissionError as error:
        raise UserError(f"{file} can't be read: no permission") from error
    except (SafetensorError, OSError, KeyError, json.JSONDecodeError) as error:
        raise UserError(f"{file} is damaged or not an unbraid model ({error})") from error
    if meta["format"] != FORMAT:
        raise UserError(f"{file} has format {meta['format']}; this version of unbraid reads {FORMAT}")
    kind = method_class(meta["method"])
    about = meta["spec"]
    spec = DataSpec(
        spec_from_json(about["a"]),
        spec_from_json(about["b"]),
        # models of the first version have none of these
        classes=tuple(about.get("classes", ())),
        values=tuple(tuple(names) for names in about.get("values", ())),
        labels=tuple(about.get("labels", ())),
        domains=tuple(about.get("domains", ())),
    )
    try:
        config = from_json(kind.config_type, kind.upgrade_config(meta["config"]))
    except (dacite.DaciteError, TypeError) as error:
        raise UserError(f"{file} doesn't fit this version of {meta['method']}: {error}") from error
    method = kind(spec, config)
    weights = {name.removeprefix("method."): value for name, value in tensors.items() if name.startswith("method.")}
    load_weights(method, weights, file)
    parts = {name.removeprefix("space."): value for name, value in tensors.items() if name.startswith("space.")}
    return method.eval(), CodeSpace(**parts) if parts else None, meta


def load_weights(method: Method[Any], weights: Mapping[str, Tensor], file: Path) -> None:
    """Loads weights and statistics, of which those that only training needs may be missing.

    Raises UserError that names `file`, with nothing loaded, if the method's networks are others than those it holds.
    """
    own = method.state_dict()
    needed = {name: value for name, value in own.items() if not name.startswith(method.training_only)}
    unlike = [name for name in {**needed, **weights} if name not in own or name not in weights]
    unlike += [name for name, value in weights.items() if name in own and own[name].shape != value.shape]
    if unlike:
        raise UserError(
            f"{file} doesn't fit this version of unbraid: its networks are those of another one ({len(unlike)} tensors "
            f"are missing, unknown or of another size; the first is {unlike[0]}). Train anew in another run folder, or "
            "use it with the version of unbraid that wrote it"
        )
    method.load_state_dict(weights, strict=False)
