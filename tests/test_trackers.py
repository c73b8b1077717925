"""A run's log is shown elsewhere too, by packages that may fail; log.jsonl is the record. Heavy ones are imitated."""

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest

from helpers import write_pairs, write_png
from unbraid.commands.cli import main
from unbraid.core.files import read_json
from unbraid.core.types import UserError
from unbraid.model.log import Log, read_log
from unbraid.model.run import Run
from unbraid.model.saved import Position
from unbraid.model.trackers import TRACKERS, keep, kept

STEP = Position(step=50)


class Recorded(list[Any]):
    """What an imitated package was told."""

    def module(self, name: str, **values: Any) -> ModuleType:
        made = ModuleType(name)
        vars(made).update(values)
        return made


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    """Imitations of wandb, mlflow and trackio in place of the packages."""
    calls = Recorded()

    class Imitated:
        """A run of wandb or trackio."""

        def __init__(self, **settings: Any) -> None:
            calls.append(settings)
            self.id, self.summary = settings.get("id") or "abc", {}

        def log(self, values: dict[str, Any], step: int | None = None) -> None:
            calls.append(values | ({} if step is None else {"step": step}))

        def define_metric(self, name: str, step_metric: str) -> None:
            pass

        def finish(self) -> None:
            calls.append("finished")

    class Client:
        """MLflow's client, with a store that has no run but m1."""

        history: ClassVar[dict[str, list[int]]] = {}
        texts: ClassVar[list[str]] = []

        def __init__(self, store: str) -> None:
            calls.append(store)

        def update_run(self, run: str, status: str) -> None:
            if run != "m1":
                error = RuntimeError("Run not found")
                vars(error)["error_code"] = "RESOURCE_DOES_NOT_EXIST"
                raise error

        def get_metric_history(self, run: str, name: str) -> list[Any]:
            return [SimpleNamespace(step=step) for step in self.history.get(name, [])]

        def list_artifacts(self, run: str, folder: str) -> list[str]:
            return [*self.texts]

        def get_experiment_by_name(self, name: str) -> None:
            return None

        def create_experiment(self, name: str) -> str:
            return "1"

        def create_run(self, number: str, run_name: str) -> Any:
            return SimpleNamespace(info=SimpleNamespace(run_id="m1"))

        def log_dict(self, run: str, settings: dict[str, Any], file: str) -> None:
            calls.append(settings)

        def log_metric(self, run: str, name: str, value: float, step: int) -> None:
            calls.append({name: value, "step": step})
            self.history.setdefault(name, []).append(step)

        def log_artifact(self, run: str, file: str, folder: str) -> None:
            calls.append({folder: file, "step": 50})

        def log_text(self, run: str, text: str, file: str) -> None:
            calls.append(text)
            self.texts.append(file)

        def set_terminated(self, run: str) -> None:
            calls.append("finished")

    for name in ("wandb", "trackio"):
        monkeypatch.setitem(sys.modules, name, calls.module(name, init=type(name, (Imitated,), {}), Image=str))
    monkeypatch.setitem(sys.modules, "mlflow", calls.module("mlflow"))
    monkeypatch.setitem(sys.modules, "mlflow.tracking", calls.module("mlflow.tracking", MlflowClient=Client))
    return calls


@pytest.mark.parametrize("name", ["wandb", "mlflow", "trackio"])
def test_a_tracker_is_shown_what_the_log_says(name: str, tmp_path: Path, told: Recorded) -> None:
    log = Log(tmp_path, quiet=True, track=[name], settings={"train.steps": 5})
    log.losses(STEP, {"reconstruction": 0.5})
    log.validation(STEP, {"recall": 60.0})
    log.picture(STEP, write_png(tmp_path / "grid.png", 1))
    log.event(STEP, "a word")
    log.close()
    assert {"loss/reconstruction": 0.5, "step": 50} in told
    assert {"validation/recall": 60.0, "step": 50} in told
    assert {"samples": str(tmp_path / "grid.png"), "step": 50} in told
    assert any(isinstance(each, dict) and "train.steps" in each.get("config", each) for each in told)
    assert told[-1] == "finished"
    assert len(read_log(tmp_path / "log.jsonl")) == 3


def test_a_run_goes_on_under_the_same_number(tmp_path: Path, told: Recorded) -> None:
    for _ in range(2):
        Log(tmp_path, quiet=True, track=["wandb", "mlflow"]).close()
    assert read_json(tmp_path / "trackers.json") == {"wandb": "abc", "mlflow": "m1"}
    begun = [each["id"] for each in told if isinstance(each, dict) and "project" in each]
    assert begun == [None, "abc"]
    assert kept(tmp_path, "trackio") is None


def test_folders_of_one_name_are_two_runs_of_trackio(tmp_path: Path, told: Recorded) -> None:
    for folder in ("first/demo", "second/demo", "first/demo"):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        Log(tmp_path / folder, quiet=True, track=["trackio"]).close()
    names = [each["name"] for each in told if isinstance(each, dict) and "project" in each]
    assert names[0] == names[2] != names[1]
    assert all(name.startswith("demo-") for name in names)


def test_what_comes_again_after_a_kill_is_no_second_point(tmp_path: Path, told: Recorded) -> None:
    for start in (None, Position(step=40)):
        log = Log(tmp_path, quiet=True, track=["mlflow", "tensorboard"])
        if start:
            log.resume(start)
            log.losses(Position(step=60), {"kl": 2.0})
        log.losses(STEP, {"kl": 1.0})
        log.close()
    assert [each["step"] for each in told if isinstance(each, dict) and "loss/kl" in each] == [50, 60]
    events = import_module("tensorboard.backend.event_processing.event_accumulator")
    shown = events.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert sorted(each.step for each in shown.Scalars("loss/kl")) == [50, 60]


def test_a_run_that_the_store_lost_begins_anew(tmp_path: Path, told: Recorded) -> None:
    keep(tmp_path, "mlflow", "gone")
    Log(tmp_path, quiet=True, track=["mlflow"]).close()
    assert kept(tmp_path, "mlflow") == "m1"


def test_no_event_of_a_step_takes_anothers_place(tmp_path: Path, told: Recorded) -> None:
    log = Log(tmp_path, quiet=True, track=["mlflow", "wandb"])
    summary = log._trackers._all[1]._run.summary  # pyright: ignore
    for word in ("another length", "going on"):
        log.event(STEP, word)
    assert sys.modules["mlflow.tracking"].MlflowClient.texts == ["event/001 step 50.txt", "event/002 step 50.txt"]
    assert summary == {"event/50": "another length\ngoing on"}


def test_stages_have_names_of_their_own(tmp_path: Path, told: Recorded) -> None:
    Log(tmp_path, quiet=True, track=["wandb"]).losses(Position(stage=1, step=3), {"kl": 1.0})
    assert {"stage 2, loss/kl": 1.0, "step": 3} in told


@pytest.mark.parametrize("where", ["init", "log"])
def test_a_tracker_that_fails_is_said_once_and_left_out(
    where: str, tmp_path: Path, told: Recorded, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("no network")

    made = sys.modules["wandb"].init
    monkeypatch.setattr(*((sys.modules["wandb"], "init") if where == "init" else (made, "log")), fail)
    log = Log(tmp_path, track=["wandb", "trackio"])
    for _ in range(3):
        log.losses(STEP, {"kl": 1.0})
    log.close()
    assert capsys.readouterr().err.count("wandb failed and is left out from now on (no network)") == 1
    assert sum(each == {"loss/kl": 1.0, "step": 50} for each in told) == 3  # of the other one
    assert len(read_log(tmp_path / "log.jsonl")) == 3


def test_a_package_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for tracker in TRACKERS[1:]:
        monkeypatch.setitem(sys.modules, tracker.name, None)
        with pytest.raises(
            UserError, match=rf"--train.track {tracker.name} needs: pip install 'unbraid\[{tracker.name}"
        ):
            Log(tmp_path, quiet=True, track=[tracker.name])


def test_training_is_tracked_and_the_former_flag_goes_on_working(
    tmp_path: Path, told: Recorded, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pairs(tmp_path, 12)
    small = "--method.widths 8 --method.decoder-widths 8 --method.map-size 4 --method.shared 4 --train.batch 4"
    data = ["--data.a", str(tmp_path / "photo"), "--data.b", str(tmp_path / "sketch"), *small.split()]
    command = ["train", "iiae", *data, "--train.steps", "1", "--run", str(tmp_path / "run")]
    assert main([*command, "--method.perceptual-weight", "0", "--train.track", "wandb"]) == 0
    assert {"samples": str(tmp_path / "run" / "samples" / "0-0000001.png"), "step": 1} in told
    assert main([*command, "--method.perceptual-weight", "0", "--train.tensorboard"]) == 0
    assert "--train.tensorboard is now --train.track tensorboard" in capsys.readouterr().err
    assert [*(tmp_path / "run" / "tensorboard").iterdir()]


def test_a_former_runs_setting_is_a_tracker(tmp_path: Path) -> None:
    from unbraid.core.config import RunConfig
    from unbraid.core.files import write_json
    from unbraid.methods.iiae import IIAEConfig

    run = Run.open(tmp_path, "iiae", RunConfig(IIAEConfig()))
    values = read_json(run.path / "config.json")
    del values["config"]["train"]["track"]
    for former, track in ((True, ("tensorboard",)), (False, ())):
        values["config"]["train"]["tensorboard"] = former
        write_json(run.path / "config.json", values)
        assert Run.existing(run.path).config.train.track == track


@pytest.mark.filterwarnings("ignore")  # the packages' own
@pytest.mark.parametrize("name", ["wandb", "mlflow", "trackio"])
def test_the_package_itself_is_shown_a_run_twice(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for key, value in {
        "WANDB_MODE": "offline",
        "TRACKIO_DIR": str(tmp_path / "trackio"),
        "HF_HUB_OFFLINE": "1",
    }.items():
        monkeypatch.setenv(key, value)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    pytest.importorskip(name)  # behind the environment, which some read as they are imported
    (tmp_path / "run").mkdir()
    numbers = list[Any]()
    for step in (50, 100):
        log = Log(tmp_path / "run", quiet=True, track=[name], settings={"train.steps": 5})
        log.losses(Position(step=step), {"reconstruction": 0.5})
        log.picture(Position(step=step), write_png(tmp_path / "grid.png", 1))
        log.event(Position(step=step), "a word")
        log.close()
        numbers.append(kept(tmp_path / "run", name))
    assert numbers[0] == numbers[1]
    assert "left out" not in capsys.readouterr().err
    assert list(tmp_path.rglob({"wandb": "*.wandb", "mlflow": "reconstruction", "trackio": "*.db"}[name]))
