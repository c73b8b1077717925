"""An environment of its own with Unbraid from a wheel, with the lowest versions that it allows or the newest."""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).parent.parent
EXTRAS = ("search", "onnx", "web")
GPU = ("torch==", "torchvision==", "nvidia-", "cuda-", "triton")
"""Packages that stay as torch's own installation left them."""


def prepare_environment(
    place: Path, wheels: Path, versions: Literal["lowest", "newest"], python: str, torch: Sequence[str] = ()
) -> Path:
    """Builds a wheel and installs it with the extras of EXTRAS.

    Args:
        place: The environment. One that is there is used, with its torch.
        wheels: Folder without a wheel, which gets it.
        versions: Which versions of what it asks for, torch and torchvision aside, that have wheels for the interpreter.
        python: Interpreter that a new environment is made of.
        torch: Requirements of torch and torchvision, which are large and so chosen apart. Default: constraints.txt's.

    Returns:
        The environment's interpreter.
    """
    inside = place / "bin" / "python"
    pip = [str(inside), "-m", "pip", "--quiet", "--disable-pip-version-check"]
    if not place.exists():
        pinned = (ROOT / "constraints.txt").read_text().splitlines()
        wanted = torch or [line for line in pinned if line.startswith(("torch==", "torchvision=="))]
        subprocess.run([python, "-m", "venv", place], check=True)
        subprocess.run([*pip, "install", *wanted], check=True)
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", wheels, ROOT], check=True)
    (wheel,) = wheels.glob("unbraid-*.whl")
    subprocess.run([*pip, "uninstall", "--yes", "unbraid"], check=True)  # an older wheel of the same version
    subprocess.run([*pip, "install", "uv"], check=True)
    resolved = _resolve(inside, pip, wheels, "lowest-direct" if versions == "lowest" else "highest")
    uv = [inside.with_name("uv"), "pip", "install", "--quiet", "--python", inside]
    subprocess.run([*uv, "--no-deps", "--requirement", resolved], check=True)
    subprocess.run([*pip, "install", f"{wheel}[{','.join(EXTRAS)}]"], check=True)
    return inside


def _resolve(python: Path, pip: Sequence[str], place: Path, resolution: str) -> Path:
    """Writes what an environment gets beside its torch into a file in `place`, and returns that."""
    frozen = subprocess.run([*pip, "freeze"], check=True, capture_output=True, text=True).stdout.splitlines()
    kept, resolved = place / "kept.txt", place / "resolved.txt"
    torch = [line.split("+")[0] for line in frozen if line.startswith(("torch==", "torchvision=="))]
    kept.write_text("\n".join(torch) + "\n")
    words = ["compile", "--quiet", "--only-binary", ":all:", "--resolution", resolution]
    words += ["--python", python, "--constraint", kept]
    extras = [word for extra in EXTRAS for word in ("--extra", extra)]
    uv = [python.with_name("uv"), "pip"]
    subprocess.run([*uv, *words, *extras, "--output-file", resolved, ROOT / "pyproject.toml"], check=True)
    lines = [line for line in resolved.read_text().splitlines() if not line.startswith(GPU)]  # what torch asks for
    resolved.write_text("\n".join(lines) + "\n")
    return resolved
