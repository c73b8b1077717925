"""The package's tree: what docs/design.md shows is what there is, and imports point downwards."""

import ast
import re
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "unbraid"
MOST_ENTRIES = 14
ROW = re.compile(r"^\| `(\w+)/` \|", re.MULTILINE)
ROOMS = ROW.findall((ROOT / "docs" / "design.md").read_text("utf-8").split("## The tree")[1].split("\n## ")[0])
"""From the top, which may import all that follow, to the bottom, which imports none."""


def modules() -> dict[str, Path]:
    named = {}
    for path in PACKAGE.rglob("*.py"):
        parts = ("unbraid", *path.relative_to(PACKAGE).with_suffix("").parts)
        named[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return named


MODULES = modules()


@cache
def imported(name: str) -> list[str]:
    """The package's modules that one imports, at the top, in a function or for types."""
    every: list[str] = []
    for node in ast.walk(ast.parse(MODULES[name].read_text("utf-8"))):
        found = []
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: imports are absolute"
            found = [
                full if (full := f"{node.module}.{alias.name}") in MODULES else node.module or ""
                for alias in node.names
            ]
        every += [one for one in found if one in MODULES and one != name]
    return every


def room(name: str) -> str:
    """The folder at the top of the package; empty for the package itself and `__main__`."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and (PACKAGE / parts[1]).is_dir() else ""


def test_the_design_shows_the_rooms_that_there_are() -> None:
    entries = [entry.name for entry in PACKAGE.iterdir() if entry.is_file() or any(entry.rglob("*.py"))]
    assert sorted(entries) == sorted(["__init__.py", "__main__.py", "py.typed", *ROOMS])
    assert len(entries) <= MOST_ENTRIES


def test_imports_point_downwards() -> None:
    upwards = [
        f"{name} imports {other}"
        for name in MODULES
        if room(name)
        for other in imported(name)
        if not room(other) or ROOMS.index(room(other)) < ROOMS.index(room(name))
    ]
    assert upwards == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    TopologicalSorter({name: set(imported(name)) for name in MODULES}).prepare()  # raises CycleError
