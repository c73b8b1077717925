"""Every command of the README runs, on a demo run made in a few steps."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from unbraid.commands.cli import main

README = Path(__file__).parent.parent / "README.md"
OTHERS = ("make ", "python3 -m venv", "venv/bin/pip")
"""Blocks that set up machines; `make test` itself is one of them."""


def blocks(language: str) -> list[str]:
    found = re.findall(rf"```{language}\n(.*?)```", README.read_text(), re.DOTALL)
    return [block for block in found if not block.startswith(OTHERS)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with runs/demo, evaluated."""
    folder = tmp_path_factory.mktemp("place")
    run = str(folder / "runs" / "demo")
    assert main(["train", "demo", "--run", run, "--train.steps", "10"]) == 0
    assert main(["evaluate", run, "--limit", "10"]) == 0
    return folder


@pytest.mark.parametrize("block", blocks("sh"))
def test_shell_commands_run(block: str, place: Path) -> None:
    block = re.sub(r"--train.steps \d+", "--train.steps 4", block)  # as well, and sooner
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block], cwd=place, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("block", blocks("python"))
def test_python_runs(block: str, place: Path) -> None:
    done = subprocess.run([sys.executable, "-c", block], cwd=place, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_there_is_something_to_run() -> None:
    assert sum(len(block.splitlines()) for block in blocks("sh")) >= 10
    assert len(blocks("python")) >= 1
