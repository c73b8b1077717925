"""How the package is built: counts of one revision beside those of another.

    python benchmarks/house.py BEFORE [AFTER]

BEFORE and AFTER are revisions of git; AFTER is the working tree if it isn't given. Prints the table of
docs/notes/house.md.
"""

import ast
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

ROOT = Path(__file__).parent.parent
LONG = 60
"""Lines of a function that is long."""
CHECKS = re.compile(r"isinstance\([^)]*(?:Part|Disentangler|Translator|Latent)\b")


def tree(revision: str | None, folder: Path) -> Path:
    """Returns a folder with the files of a revision, or the working tree."""
    if revision is None:
        return ROOT
    packed = subprocess.run(["git", "archive", revision], cwd=ROOT, check=True, capture_output=True).stdout
    with tarfile.open(fileobj=BytesIO(packed)) as archive:
        archive.extractall(folder, filter="data")
    return folder


def modules(package: Path) -> dict[str, ast.Module]:
    """Returns the package's modules, parsed, by name."""
    found = {}
    for path in package.rglob("*.py"):
        parts = ("unbraid", *path.relative_to(package).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = ast.parse(path.read_text("utf-8"))
    return found


def imports(name: str, known: dict[str, ast.Module]) -> Iterator[str]:
    """Yields the modules of the package that one imports."""
    for node in ast.walk(known[name]):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield from (one for one in (full if full in known else node.module,) if one in known and one != name)


def room(name: str, package: Path) -> str:
    """Returns the folder at the top of the package that a module lies in, or the module itself."""
    return name.split(".")[1] if "." in name else "unbraid"


def circles(arrows: dict[str, set[str]]) -> int:
    """Returns how many groups of two and more import each other in a circle (Tarjan's components)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    count = 0

    def visit(one: str) -> None:
        nonlocal count
        index[one] = low[one] = len(index)
        stack.append(one)
        for other in arrows.get(one, ()):
            if other not in index:
                visit(other)
            if other in stack:
                low[one] = min(low[one], low[other])
        if low[one] == index[one]:
            group = stack[stack.index(one) :]
            del stack[stack.index(one) :]
            count += len(group) > 1

    for one in arrows:
        if one not in index:
            visit(one)
    return count


def figures(root: Path) -> dict[str, object]:
    """Returns the counts of one tree, by what is counted."""
    package = root / "src" / "unbraid"
    known = modules(package)
    files = {name: set(imports(name, known)) for name in known}
    rooms: dict[str, set[str]] = {}
    for name, others in files.items():
        own = room(name, package)
        rooms.setdefault(own, set()).update({room(other, package) for other in others} - {own})
    text = "\n".join(path.read_text("utf-8") for path in package.rglob("*.py"))
    functions = [
        node
        for module in known.values()
        for node in ast.walk(module)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    pages = list((root / "docs").rglob("*.md"))
    entries = [one for one in package.iterdir() if one.name != "__pycache__" and one.suffix != ".typed"]
    return {
        "entries at the top of the package": len(entries),
        "rooms: folders and modules at the top": len(rooms),
        "arrows between rooms": sum(map(len, rooms.values())),
        "circles of rooms": circles(rooms),
        "circles of files": circles(files),
        "lines of source": text.count("\n"),
        "functions of more than 60 lines": sum((node.end_lineno or 0) - node.lineno >= LONG for node in functions),
        "public functions and methods": sum(not node.name.startswith("_") for node in functions),
        "`Any`": len(re.findall(r"\bAny\b", re.sub(r"^from typing import .*$", "", text, flags=re.MULTILINE))),
        "`isinstance` of parts and capabilities": len(CHECKS.findall(text)),
        "docs, KB": round(sum(path.stat().st_size for path in pages) / 1000),
        "longest page, KB": round(max(path.stat().st_size for path in pages) / 1000, 1),
        "README, lines": len((root / "README.md").read_text("utf-8").splitlines()),
    }


def main(arguments: list[str]) -> None:
    """Prints the table."""
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        before = figures(tree(arguments[0], Path(one)))
        after = figures(tree(arguments[1] if len(arguments) > 1 else None, Path(two)))
    print("| | before | after |\n|---|---|---|")
    for name, value in before.items():
        print(f"| {name} | {value} | {after[name]} |")


if __name__ == "__main__":
    main(sys.argv[1:])
