"""A method outside the package: put into METHODS by a program, or named by an installed package's entry point."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import unbraid
from helpers import write_pairs
from unbraid.commands.cli import main
from unbraid.core.types import UserError
from unbraid.methods import METHODS, method_class, method_names

ROOT = Path(__file__).parent.parent
METHOD = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "tutorials" / "method.md").read_text(), re.DOTALL)[0]


def install(folder: Path, name: str, module: str, code: str) -> None:
    """What pip leaves of a package with one module, whose method has the module's name."""
    (folder / f"{module}.py").write_text(code)
    about = folder / f"{module}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[unbraid.methods]\n{module} = {module}:{name}\n")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return folder


def test_a_method_of_an_installed_package_is_trained_measured_and_loaded(site: Path, tmp_path: Path) -> None:
    install(site, "Swap", "swap", METHOD)
    try:
        write_pairs(tmp_path)
        run, images = str(tmp_path / "run"), ["--data.a", str(tmp_path / "photo"), "--data.b", str(tmp_path / "sketch")]
        length = ["--train.steps", "3", "--method.shared", "8"]
        assert "swap" in method_names()
        assert main(["train", "swap", *images, "--run", run, *length]) == 0
        assert main(["evaluate", run, "--limit", "8"]) == 0
        assert unbraid.load(run).name == "swap"
        assert unbraid.train(unbraid.RunConfig("swap", *rest(run)), tmp_path / "other", quiet=True).name == "swap"
    finally:
        sys.modules.pop("swap", None)


def rest(run: str) -> tuple[unbraid.DataConfig, unbraid.TrainConfig]:
    from unbraid.model.run import Run

    config = Run.existing(Path(run)).config
    return config.data, config.train


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import nothing_of_this_name", "The method 'broken' of the package broken, .* can't be imported: ModuleNot"),
        ("Broken = 3", "is no subclass of unbraid.core.method.Method"),
        ("", "can't be imported: AttributeError"),
    ],
)
def test_a_package_that_cant_be_used_is_told(site: Path, code: str, words: str) -> None:
    install(site, "Broken", "broken", code)
    try:
        with pytest.raises(UserError, match=words):
            method_class("broken")
    finally:
        sys.modules.pop("broken", None)


def test_a_package_cant_take_the_name_of_a_method(site: Path) -> None:
    install(site, "IIAE", "iiae", "raise SystemExit")
    assert method_class("iiae") is METHODS["iiae"]
    assert method_names().count("iiae") == 1


def test_two_methods_of_one_configuration_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS, "second", METHODS["iiae"])
    with pytest.raises(UserError, match="several methods: iiae, second"):
        unbraid.methods.method_name(METHODS["iiae"].config_type())


def test_the_tutorials_code_runs(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "tutorials" / "python.md").read_text()
    write_pairs(tmp_path)
    (tmp_path / "photo").rename(tmp_path / "photos")
    (tmp_path / "sketch").rename(tmp_path / "drawings")
    (tmp_path / "swap.py").write_text(METHOD)
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        code = re.sub(r"(steps|evaluate_every)=\d+", r"\1=3", block)
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert all((tmp_path / "runs" / name / "model.safetensors").exists() for name in ("python", "tensors", "swap"))
