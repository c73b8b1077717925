"""The code of the tutorials runs, in the order of the page, on tiny folders and in few steps."""

import importlib
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from helpers import write_png
from unbraid.commands.cli import main
from unbraid.core.method import Clock
from unbraid.core.types import DataSpec, ImageSpec, Paired
from unbraid.training.loop import train_step

TUTORIALS = Path(__file__).parent.parent / "docs" / "tutorials"
STEPS = "4"


def blocks(page: str) -> list[tuple[str, str]]:
    """Returns the language and code of each block, but for commands that go on until they are stopped."""
    found = re.findall(r"```(sh|python)\n(.*?)```", (TUTORIALS / page).read_text(), re.DOTALL)
    return [(language, code) for language, code in found if not code.startswith("unbraid explore")]


def few_steps(line: str) -> str:
    """Returns a command with its numbers of steps made small."""
    return re.sub(r"(--train\.(?:steps|evaluate-every)) \d+", rf"\1 {STEPS}", line)


def run_commands(code: str) -> None:
    for line in code.splitlines():
        if line.startswith("unbraid "):
            assert main(shlex.split(few_steps(line))[1:]) == 0, line
        else:
            subprocess.run(["bash", "-euo", "pipefail", "-c", line], check=True)


def follow(page: str) -> str:
    """Runs a page's blocks in the working directory; returns what its Python code printed."""
    printed = ""
    for language, code in blocks(page):
        if language == "sh":
            run_commands(code)
        else:
            if named := re.match(r"# (\w+\.py)\n", code):
                Path(named[1]).write_text(code)
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            printed += done.stdout
    return printed


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photos and drawings of the same names."""
    folder = tmp_path_factory.mktemp("place")
    for i in range(24):
        write_png(folder / "photos" / f"{i:04}.png", seed=i, size=(64, 64))
        write_png(folder / "drawings" / f"{i:04}.png", seed=100 + i, size=(64, 64))
    return folder


@pytest.fixture(scope="module")
def trained(place: Path) -> tuple[Path, str]:
    """The same after the first tutorial, and what this printed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("UNBRAID_CACHE", str(place / "cache"))
        return place, follow("two-folders.md")


def test_two_folders_are_trained_measured_and_used(trained: tuple[Path, str]) -> None:
    place, printed = trained
    assert "a->b" in printed
    assert (place / "runs" / "own" / "metrics.json").exists()
    assert (place / "answers" / "grid.png").exists()
    assert (place / "analogy.png").exists()


def test_a_collection_is_searched(trained: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    place, _ = trained
    monkeypatch.chdir(place)
    printed = follow("search.md")
    assert printed.count("->") == len(list((place / "runs" / "own" / "examples" / "b").iterdir()))
    assert (place / "found.png").exists()


def test_a_method_of_ones_own_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    follow("method.md")
    assert len((tmp_path / "swap.py").read_text().split("class Swap(")[1].splitlines()) <= 40
    swap = importlib.import_module("swap")
    method = swap.Swap(DataSpec(ImageSpec(16, 16), ImageSpec(16, 16, 1)), swap.SwapConfig())
    batch = Paired(torch.rand(8, 3, 16, 16), torch.rand(8, 1, 16, 16), torch.arange(8))
    optimisers = method.optimisers("train")
    losses = [train_step(method, optimisers, iter([batch]), Clock(step, step / 50)) for step in range(50)]
    assert set(losses[0]) == {"reconstruction", "alike"}
    assert float(losses[-1]["reconstruction"]) < 0.8 * float(losses[0]["reconstruction"])


@pytest.mark.parametrize("page", sorted(path.name for path in TUTORIALS.iterdir()))
def test_steps_are_all_made_small(page: str) -> None:
    steps = re.findall(r"--train\.steps (\d+)", "".join(map(few_steps, (code for _, code in blocks(page)))))
    assert set(steps) <= {STEPS}
