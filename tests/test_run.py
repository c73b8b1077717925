"""Large checkpoints, which are written beside training."""

import json
import math
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import unbraid.model.run as module
from helpers import IMAGES, labelled_random, paired_data
from helpers import SMALL_LORD as SMALL
from unbraid.core.config import RunConfig, TrainConfig
from unbraid.core.files import read_json, write_json
from unbraid.core.types import DataSpec, ImageSpec, UserError
from unbraid.methods.iiae import IIAE, IIAEConfig
from unbraid.methods.lord import LORD
from unbraid.model.log import Log, read_log
from unbraid.model.run import BackgroundWriter, Run, copied, load_model
from unbraid.model.saved import Position
from unbraid.training.experiment import check_parts
from unbraid.training.loop import fit

SPEC = DataSpec(ImageSpec(32, 32), ImageSpec(32, 32), items=8, classes=(4,))


def test_what_is_written_is_what_was_there_at_that_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGE", 0)
    run, go_on = Run.open(tmp_path, "iiae", IIAE_CONFIG), threading.Event()
    model = IIAE(IMAGES, IIAE_CONFIG.method)
    before = copied(model.state_dict())
    write = module.write_atomically

    def slowly(path: Path, save: Callable[[Path], object]) -> None:
        assert go_on.wait(60)
        write(path, save)

    monkeypatch.setattr(module, "write_atomically", slowly)
    with run.locked():  # whose end waits for what is being written
        run.save_position(model, {}, Position(step=1), None, wait=False)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 1
        run.save_position(model, {}, Position(step=2), None, wait=False)  # the first is being written still
        assert not (tmp_path / "state.pt").exists()
        go_on.set()
    state = run.load_state()
    assert state is not None
    assert state["position"]["step"] == 1
    assert all(torch.equal(value, before[name]) for name, value in state["method"].items())


def test_what_went_wrong_beside_training_does_not_hide_what_ended_it(tmp_path: Path) -> None:
    def fail() -> None:
        raise UserError("the disk is full")

    run = Run.open(tmp_path, "iiae", IIAE_CONFIG)

    def trained(end: Exception | None) -> None:
        with run.locked():
            run._writer.start(fail)
            if end:
                raise end

    with pytest.raises(UserError, match="no longer finite"):
        trained(UserError("the loss is no longer finite"))
    with pytest.raises(UserError, match="the disk is full"):
        trained(None)


def test_a_copy_keeps_layouts_and_what_is_one() -> None:
    image = torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last)
    state = {"a": image, "b": [image.detach(), image[:, :1]], "c": (1, "x", None), "none": torch.zeros(0)}
    found = copied(state)
    assert found["a"] is found["b"][0]
    assert found["a"].stride() == image.stride()
    assert found["a"].data_ptr() != image.data_ptr()
    assert torch.equal(found["b"][1], image[:, :1])
    assert found["c"] == (1, "x", None)
    image.zero_()
    assert found["a"].sum() > 0


def test_one_file_at_a_time(tmp_path: Path) -> None:
    writer = BackgroundWriter()
    first = threading.Event()
    writer.start(lambda: first.wait(60) and (tmp_path / "first").touch())
    assert not writer.idle()
    first.set()
    writer.start(lambda: (tmp_path / "first").rename(tmp_path / "second"))
    writer.wait()
    assert writer.idle()
    assert (tmp_path / "second").exists()


def test_what_goes_wrong_beside_training_is_said() -> None:
    def write() -> None:
        raise UserError("the disk is full")

    writer = BackgroundWriter()
    writer.start(write)
    with pytest.raises(UserError, match="the disk is full"):
        writer.wait()
    writer.wait()


def test_a_run_whose_checkpoints_are_large_is_the_same_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def trained(name: str) -> Run:
        train = TrainConfig(steps=8, batch=4, evaluate_every=3, precision="fp32", checkpoint_seconds=-1)
        run = Run.open(tmp_path / name, "lord", RunConfig(SMALL, train=train))
        torch.manual_seed(0)
        fit(run, LORD(SPEC, SMALL), labelled_random(SPEC), Log(run.path, quiet=True))
        return run

    first = trained("small").load_state()
    monkeypatch.setattr(module, "LARGE", 0)
    second = trained("large").load_state()
    assert first is not None
    assert second is not None
    for name, value in first["method"].items():
        assert torch.equal(value, second["method"][name])
    assert not [name for name in os.listdir(tmp_path / "large") if name.endswith(".tmp")]


def test_settings_newer_than_a_run_have_their_defaults(tmp_path: Path) -> None:
    config = RunConfig(SMALL, train=TrainConfig(steps=8))
    Run.open(tmp_path, "lord", config)
    old = read_json(tmp_path / "config.json")
    del old["config"]["data"]["styles_per_class"]
    write_json(tmp_path / "config.json", old)
    Run.open(tmp_path, "lord", config)
    with pytest.raises(UserError, match="--train"):
        Run.open(tmp_path, "lord", RunConfig(SMALL, train=TrainConfig(steps=9)))


IIAE_CONFIG = RunConfig(
    IIAEConfig(widths=(8,), decoder_widths=(8,), map_size=4, shared=4), train=TrainConfig(steps=2, batch=4)
)


def test_a_configuration_of_an_earlier_version_is_read_as_what_it_meant(tmp_path: Path) -> None:
    run = Run.open(tmp_path, "iiae", IIAE_CONFIG)
    model = IIAE(IMAGES, IIAE_CONFIG.method)
    run.save_model(model, None, 2)
    rewrite_config(tmp_path, dropout=0.4, vector_widths=[64, 16])
    for config in (Run.existing(tmp_path).config.method, load_model(tmp_path)[0].config):
        assert config.dropout == (0, 0.4)
        assert config.vector_decoder_width == 16


def test_networks_of_another_version_are_said(tmp_path: Path) -> None:
    """Both where the model is loaded and where the run would go on."""
    run = Run.open(tmp_path, "iiae", IIAE_CONFIG)
    torch.manual_seed(0)
    fit(run, IIAE(IMAGES, IIAE_CONFIG.method), paired_data(IMAGES), Log(run.path, quiet=True))
    rewrite_config(tmp_path, shared=5)
    with pytest.raises(UserError, match=r"model\.safetensors doesn't fit this version of unbraid: .*Train anew"):
        load_model(tmp_path)
    run = Run.existing(tmp_path)
    with pytest.raises(UserError, match=r"state\.pt doesn't fit this version of unbraid: .*the first is a\.ups"):
        fit(run, IIAE(IMAGES, run.config.method), paired_data(IMAGES), Log(run.path, quiet=True))


def rewrite_config(folder: Path, **method: Any) -> None:
    """Another configuration of the method, in the run's file and in its model's metadata."""
    about = read_json(folder / "config.json")
    about["config"]["method"] |= method
    write_json(folder / "config.json", about)
    with safe_open(folder / "model.safetensors", "pt") as opened:
        meta = json.loads(opened.metadata()["unbraid"])
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    meta["config"] |= method
    save_file(tensors, folder / "model.safetensors", {"unbraid": json.dumps(meta)})


def test_what_was_stopped_before_it_had_a_configuration_goes_on(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    (tmp_path / ".config.json.123.tmp").write_text('{"form')
    run = Run.open(tmp_path, "iiae", IIAE_CONFIG)
    with run.locked():
        assert sorted(os.listdir(tmp_path)) == [".lock", "config.json"]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "photo.png").touch()
    with pytest.raises(UserError, match="exists and is not a run"):
        Run.open(tmp_path / "other", "iiae", IIAE_CONFIG)


def test_of_two_who_start_at_once_the_second_hears_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = RunConfig(IIAE_CONFIG.method, train=TrainConfig(steps=3, batch=4))
    create = module.create_json

    def late(path: Path, value: Any) -> bool:
        monkeypatch.setattr(module, "create_json", create)
        Run.open(tmp_path, "iiae", IIAE_CONFIG)
        return create(path, value)

    monkeypatch.setattr(module, "create_json", late)
    with pytest.raises(UserError, match=r"--train\.steps: 2 -> 3"):
        Run.open(tmp_path, "iiae", other)
    assert Run.existing(tmp_path).config == IIAE_CONFIG


@pytest.mark.parametrize("anew", [False, True])
def test_a_run_whose_folder_was_moved_stops_in_words(tmp_path: Path, anew: bool) -> None:
    """And writes nothing into the place where it was, not even if another run is there now."""
    path = tmp_path / "run"
    run, model = Run.open(path, "iiae", IIAE_CONFIG), IIAE(IMAGES, IIAE_CONFIG.method)
    with run.locked():
        path.rename(tmp_path / "moved")
        if anew:
            with Run.open(path, "iiae", IIAE_CONFIG).locked():
                pass
        writes: list[Any] = [
            lambda: run.save_model(model, None, 2),
            lambda: run.save_position(model, {}, Position(), None),
        ]
        if not anew:
            writes.append(lambda: Log(path, quiet=True).losses(Position(), {}))
        for write in writes:
            with pytest.raises(UserError, match="was moved or deleted"):
                write()
    assert path.exists() == anew
    assert not (path / "state.pt").exists()


DAMAGED_STATES: list[Any] = [
    [],
    {},
    {"position": {}},
    {"position": None},
    {"position": {"step": -1}},
    {"position": {"step": "x"}},
    {"position": {"step": 10**30}},
    {"position": {"seconds": float("nan")}},
    {"position": {"stage": 7}},
    {"position": {"sums": [1]}},
    {"method": {}},
    {"method": {"a": 1}},
    {"optimisers": {}},
    {"optimisers": {"model": {"state": {}, "param_groups": []}}},
    {"optimisers": {"model": None}},
    {"average": {"updates": 0, "mean": {}}},
    {"average": {"updates": -1}},
    {"format": 99},
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trained")
    run = Run.open(path, "iiae", IIAE_CONFIG)
    torch.manual_seed(0)
    fit(run, IIAE(IMAGES, IIAE_CONFIG.method), paired_data(IMAGES), Log(path, quiet=True))
    return path


@pytest.mark.parametrize("change", DAMAGED_STATES)
def test_a_state_of_wrong_shape_is_one_error_and_stays(trained: Path, tmp_path: Path, change: Any) -> None:
    for name in ("config.json", "state.pt"):
        (tmp_path / name).write_bytes((trained / name).read_bytes())
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    if isinstance(change, dict):
        left_out = () if change else ("position",)
        change = {key: value for key, value in (state | change).items() if key not in left_out}
        if change.get("position") == {}:
            change["position"] = {"step": None}
    torch.save(change, tmp_path / "state.pt")
    before = (tmp_path / "state.pt").read_bytes()
    run = Run.existing(tmp_path)
    with pytest.raises(UserError, match=r"state\.pt (is damaged|doesn't fit|has format)"):
        fit(run, IIAE(IMAGES, IIAE_CONFIG.method), paired_data(IMAGES), Log(tmp_path, quiet=True))
    assert (tmp_path / "state.pt").read_bytes() == before


@pytest.mark.parametrize("name", ["exp_avg", "step"])
def test_an_optimiser_of_other_networks_is_said(trained: Path, tmp_path: Path, name: str) -> None:
    for file in ("config.json", "state.pt"):
        (tmp_path / file).write_bytes((trained / file).read_bytes())
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    state["optimisers"]["model"]["state"][0][name] = torch.zeros(7)
    torch.save(state, tmp_path / "state.pt")
    with pytest.raises(UserError, match=r"state\.pt doesn't fit"):
        fit(Run.existing(tmp_path), IIAE(IMAGES, IIAE_CONFIG.method), paired_data(IMAGES), Log(tmp_path, quiet=True))


@pytest.mark.parametrize(
    "text",
    [
        "null",
        "[]",
        '{"format": 1}',
        '{"format": 1, "config": []}',
        '{"format": 1, "config": {"method_name": 5, "method": {}, "data": {}, "train": {}}}',
        '{"format": 1, "config": {"method_name": "x", "method": {}, "data": {}, "train": {}}}',
        '{"format": 1, "config": {"method_name": "iiae", "method": {"dropout": 0.4}, "data": {}, "train": {}}}',
        '{"format": 1, "config": {"method_name": "iiae", "method": {}, "data": {"set": []}, "train": {}}}',
        '{"format": 1, "config": {"method_name": "iiae", "method": {}, "data": {}, "train": {"steps": "x"}}}',
        "[" * 100_000,
        '{"format": ' + "1" * 5000 + "}",
    ],
)
def test_a_configuration_of_wrong_shape_is_one_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UserError):
        Run.existing(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"spec": None},
        {"spec": {"a": {"kind": "ImageSpec", "height": -1, "width": 16, "channels": 3}}},
        {"spec": {"a": {"kind": "Text"}}},
        {"method": "x"},
        {"method": ["iiae"]},
        {"config": []},
        {"config": {"widths": [10**30]}},
        {"config": {"widths": [10**7]}},
        {"step": "x"},
        {"format": None},
    ],
)
def test_metadata_of_wrong_shape_are_one_error(trained: Path, tmp_path: Path, change: dict[str, Any]) -> None:
    with safe_open(trained / "model.safetensors", "pt") as opened:
        meta = json.loads(opened.metadata()["unbraid"])
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    if isinstance(change.get("config"), dict):
        change = {"config": meta["config"] | change["config"]}
    if isinstance(change.get("spec"), dict):
        change = {"spec": meta["spec"] | change["spec"]}
    save_file(tensors, tmp_path / "model.safetensors", {"unbraid": json.dumps(meta | change)})
    with pytest.raises(UserError):
        load_model(tmp_path)


def test_a_log_with_damaged_lines_does_not_stop_a_run(trained: Path, tmp_path: Path) -> None:
    lines = [b"\xff\xfe", b"null", b"[" * 100_000, b'{"stage": 0}', b'{"stage": 0, "step": "x"}', b'{"stage": 0, "st']
    good = b'{"stage": 0, "step": 1, "seconds": 0.1, "losses": {"a": NaN, "b": null, "c": 2}}'
    (tmp_path / "log.jsonl").write_bytes(b"\n".join([*lines, good]))
    log = Log(tmp_path, quiet=True)
    log.resume(Position(step=2))
    (row,) = read_log(tmp_path / "log.jsonl")
    assert math.isnan(row["losses"]["a"])
    assert math.isnan(row["losses"]["b"])
    assert row["losses"]["c"] == 2
    assert b"NaN" not in (tmp_path / "log.jsonl").read_bytes()


def test_a_log_of_version_0_1_is_read_by_todays_names(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text('{"stage": 0, "step": 50, "watched": {"domain told, %": 60.0, "slope": 1.0}}\n')
    (row,) = read_log(tmp_path / "log.jsonl")
    assert row == {"stage": 0, "step": 50, "diagnostics": {"domain accuracy, %": 60.0, "slope": 1.0}}


@pytest.mark.parametrize(
    "text", ["null", "[]", "{}", '{"train": 1}', '{"train": 1, "val": 3, "test": []}', "[" * 99_999]
)
def test_parts_of_wrong_shape_are_one_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "parts.json").write_text(text)
    with pytest.raises(UserError, match=r"parts\.json is damaged"):
        check_parts(tmp_path, {"data": "x", "train": 1, "val": [], "test": []})
