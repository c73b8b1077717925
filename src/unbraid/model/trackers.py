"""Where else a run's log is shown: TensorBoard, Weights & Biases, MLflow and trackio. log.jsonl stays the record.

A tracker is a class and an entry of `TRACKERS`. Each takes the run's folder and its settings as plain values, and keeps
what it needs to go on with a run in RUN/trackers.json.
"""

import os
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Protocol, get_args

from unbraid.core.config import TrackerName
from unbraid.core.files import read_json, write_json
from unbraid.core.types import UserError

PROJECT = "unbraid"
"""Name of the project or experiment, unless the tracker's own settings name another."""


class Tracker(Protocol):
    """Shows what a run logs. Whatever it raises ends it, not training."""

    name: ClassVar[TrackerName]

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        """Begins, or goes on with the run that it has shown before; ImportError if its package is missing."""
        ...

    def resume(self, step: int) -> None:
        """Forgets what was shown of steps after this one, for they come again, where it can."""
        ...

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Shows numbers by name."""
        ...

    def images(self, step: int, files: Mapping[str, Path]) -> None:
        """Shows pictures by name."""
        ...

    def text(self, step: int, name: str, text: str) -> None:
        """Shows words.

        Args:
            step: Of training.
            name: That they stand under.
            text: The words.
        """
        ...

    def close(self) -> None:
        """Writes what is left."""
        ...


class TensorBoard:
    """Files in RUN/tensorboard."""

    name: ClassVar[TrackerName] = "tensorboard"

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder / "tensorboard"))

    def resume(self, step: int) -> None:
        """See `Tracker.resume`."""
        folder = self._writer.get_logdir()
        self._writer.close()
        self._writer = type(self._writer)(folder, purge_step=step + 1)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Shows numbers by name."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()  # by itself only after two minutes, which a kill would take

    def images(self, step: int, files: Mapping[str, Path]) -> None:
        """Shows pictures by name."""
        import numpy as np

        from unbraid.data.images import open_image

        for name, file in files.items():
            with open_image(file) as image:
                self._writer.add_image(name, np.asarray(image.convert("RGB")), step, dataformats="HWC")

    def text(self, step: int, name: str, text: str) -> None:
        """See `Tracker.text`."""
        self._writer.add_text(name, text, step)

    def close(self) -> None:
        """Writes what is left."""
        self._writer.close()


class WandB:
    """Weights & Biases: a run of the project WANDB_PROJECT or "unbraid"; its files lie in RUN/wandb."""

    name: ClassVar[TrackerName] = "wandb"

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        wandb: Any = import_module("wandb")
        self._image = wandb.Image
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=folder.name,
            id=kept(folder, self.name),
            resume="allow",
            dir=str(folder),
            config=dict(settings),
        )
        keep(folder, self.name, self._run.id)
        self._run.define_metric("*", step_metric="step")  # its own may only rise, and a run goes on from a checkpoint

    def resume(self, step: int) -> None:
        """See `Tracker.resume`. Steps after a checkpoint are shown twice, with equal values."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Shows numbers by name."""
        self._run.log({**values, "step": step})

    def images(self, step: int, files: Mapping[str, Path]) -> None:
        """Shows pictures by name."""
        self._run.log({**{name: self._image(str(file)) for name, file in files.items()}, "step": step})

    def text(self, step: int, name: str, text: str) -> None:
        """See `Tracker.text`."""
        key = f"{name}/{step}"
        self._run.summary[key] = "\n".join(filter(None, (self._run.summary.get(key), text)))

    def close(self) -> None:
        """Writes what is left."""
        self._run.finish()


class MLflow:
    """MLflow: a run of the experiment "unbraid" in the store that MLFLOW_TRACKING_URI names, else in mlruns by RUN."""

    name: ClassVar[TrackerName] = "mlflow"

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        client: Any = import_module("mlflow.tracking").MlflowClient
        store = os.environ.get("MLFLOW_TRACKING_URI")
        if not store:
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # 3.7 and later refuse folders otherwise
            store = (folder.parent / "mlruns").absolute().as_uri()
        self._client, self._run = client(store), kept(folder, self.name)
        self._steps: dict[str, set[int]] = {}  # of each metric, those that the store had before
        if self._run is None or not self._reopened():
            title = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
            experiment = self._client.get_experiment_by_name(title)
            number = experiment.experiment_id if experiment else self._client.create_experiment(title)
            self._run = self._client.create_run(number, run_name=folder.name).info.run_id
            keep(folder, self.name, self._run)
            self._client.log_dict(self._run, dict(settings), "config.json")

    def resume(self, step: int) -> None:
        """See `Tracker.resume`. Nothing can be taken from a metric: what it has is not shown again."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Shows numbers by name."""
        for name, value in values.items():
            key = _allowed(name)
            if key not in self._steps:
                self._steps[key] = {each.step for each in self._client.get_metric_history(self._run, key)}
            if step not in self._steps[key]:
                self._client.log_metric(self._run, key, value, step=step)

    def images(self, step: int, files: Mapping[str, Path]) -> None:
        """Shows pictures by name."""
        for name, file in files.items():
            self._client.log_artifact(self._run, str(file), _allowed(name))

    def text(self, step: int, name: str, text: str) -> None:
        """See `Tracker.text`."""
        folder = _allowed(name)
        number = len(self._client.list_artifacts(self._run, folder)) + 1  # several may come at one step
        self._client.log_text(self._run, text, f"{folder}/{number:03d} step {step}.txt")

    def close(self) -> None:
        """Writes what is left."""
        self._client.set_terminated(self._run)

    def _reopened(self) -> bool:
        """Returns whether the store has this run, not one that was deleted or lies in another store."""
        try:
            self._client.update_run(self._run, status="RUNNING")
        except Exception as error:
            if getattr(error, "error_code", None) != "RESOURCE_DOES_NOT_EXIST":
                raise
            return False
        return True


class Trackio:
    """trackio: a run of the project "unbraid" in its own folder on this machine."""

    name: ClassVar[TrackerName] = "trackio"

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        trackio: Any = import_module("trackio")
        self._image = trackio.Image
        # trackio knows a run by its name, and folders of one name lie in many places
        title = kept(folder, self.name) or f"{folder.name}-{secrets.token_hex(3)}"
        self._run = trackio.init(project=PROJECT, name=title, config=dict(settings), resume="allow")
        keep(folder, self.name, title)

    def resume(self, step: int) -> None:
        """See `Tracker.resume`. Steps after a checkpoint are shown twice, with equal values."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Shows numbers by name."""
        self._run.log(dict(values), step=step)

    def images(self, step: int, files: Mapping[str, Path]) -> None:
        """Shows pictures by name."""
        self._run.log({name: self._image(str(file)) for name, file in files.items()}, step=step)

    def text(self, step: int, name: str, text: str) -> None:
        """See `Tracker.text`."""
        self._run.log({name: text}, step=step)

    def close(self) -> None:
        """Writes what is left."""
        self._run.finish()


TRACKERS: tuple[type[Tracker], ...] = (TensorBoard, WandB, MLflow, Trackio)
"""All that there are, by the names that --train.track takes."""


class Trackers:
    """Several trackers as one. One that fails is left out from then on, with a warning; training goes on.

    Args:
        names: Which ones.
        folder: The run's folder.
        settings: The run's settings, as plain values.
        warn: Shows a warning.

    Raises:
        UserError: There is none of that name, or its package is missing.
    """

    def __init__(
        self, names: Sequence[str], folder: Path, settings: Mapping[str, Any], warn: Callable[[str], None]
    ) -> None:
        self._warn, self._all = warn, list[Tracker]()
        kinds = {kind.name: kind for kind in TRACKERS}
        for name in dict.fromkeys(names):
            if name not in kinds:
                raise UserError(f"--train.track {name}: there are {', '.join(get_args(TrackerName))}")
            try:
                self._all.append(kinds[name](folder, settings))
            except ImportError as error:
                raise UserError(f"--train.track {name} needs: pip install 'unbraid[{name}]'") from error
            except Exception as error:  # no network, no account, a full disk
                self._say(name, error)

    def resume(self, step: int) -> None:
        """See `Tracker.resume`."""
        self._each(lambda tracker: tracker.resume(step))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Shows numbers by name."""
        self._each(lambda tracker: tracker.scalars(step, values))

    def images(self, step: int, files: Mapping[str, Path]) -> None:
        """Shows pictures by name."""
        self._each(lambda tracker: tracker.images(step, files))

    def text(self, step: int, name: str, text: str) -> None:
        """Shows words. See `Tracker.text`."""
        self._each(lambda tracker: tracker.text(step, name, text))

    def close(self) -> None:
        """Writes what is left."""
        self._each(lambda tracker: tracker.close())
        self._all.clear()

    def _each(self, call: Callable[[Tracker], None]) -> None:
        for tracker in [*self._all]:
            try:
                call(tracker)
            except Exception as error:  # whatever another package raises
                self._all.remove(tracker)
                self._say(tracker.name, error)

    def _say(self, name: str, error: Exception) -> None:
        reason = " ".join(str(error).split()) or type(error).__name__
        self._warn(f"Warning: {name} failed and is left out from now on ({reason}); training and log.jsonl go on")


def kept(folder: Path, name: str) -> str | None:
    """Returns what a tracker calls this run, None if it hasn't shown it before."""
    file = folder / "trackers.json"
    return read_json(file, dict[str, str]).get(name) if file.exists() else None


def keep(folder: Path, name: str, run: str) -> None:
    """Writes what a tracker calls this run. See `kept`."""
    file = folder / "trackers.json"
    write_json(file, {**(read_json(file, dict[str, str]) if file.exists() else {}), name: run})


def _allowed(name: str) -> str:
    """Returns a name with the characters that MLflow allows: "recall a->b, %" becomes "recall a to b"."""
    return re.sub(r"[^\w./ -]+", "", name.replace("->", " to ")).strip()
