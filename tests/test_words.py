"""Words of the field: docstrings begin with what something does or is, and names are those of the literature."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "src" / "unbraid"
OPENINGS = {"What", "Whether", "Of", "Those", "How"}
NAMES = re.compile(
    r"adversar(y|ies)|rivals?|judge|fool|tell|watched|warnings|lengths|settled|again|autoencoding|likelihood"
    r"|rich|poor|told|made|seen|shown|said|alone|strangers|spread|once"
)
"""Parts of names, divided by underscores, for which the field has other words."""


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def public(node: ast.Module | ast.ClassDef) -> Iterator[ast.ClassDef | ast.FunctionDef]:
    for child in node.body:
        if isinstance(child, (ast.ClassDef, ast.FunctionDef)) and not child.name.startswith("_"):
            yield child
            if isinstance(child, ast.ClassDef):
                yield from public(child)


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def where(path: Path, node: ast.stmt | ast.expr | ast.arg) -> str:
    return f"{path.relative_to(PACKAGE)}:{node.lineno}"


def names(path: Path) -> Iterator[tuple[str, str]]:
    """Where each name is defined, and the name: functions, classes, arguments, variables, attributes of self."""
    for node in ast.walk(parsed(path)):
        match node:
            case ast.FunctionDef() | ast.ClassDef():
                yield where(path, node), node.name
            case ast.arg():
                yield where(path, node), node.arg
            case ast.Name(ctx=ast.Store()):
                yield where(path, node), node.id
            case ast.Attribute(value=ast.Name(id="self"), ctx=ast.Store()):
                yield where(path, node), node.attr


def test_docstrings_begin_with_what_something_does_or_is() -> None:
    wrong = [
        f"{where(path, node)} {node.name}: {text.splitlines()[0]}"
        for path in modules()
        for node in public(parsed(path))
        if (text := ast.get_docstring(node)) and text.split()[0] in OPENINGS
    ]
    assert wrong == []


def test_functions_of_three_parameters_list_them() -> None:
    """Those of a method, which a protocol describes, say where to look."""
    wrong = []
    for path in modules():
        for node in public(parsed(path)):
            if not isinstance(node, ast.FunctionDef):
                continue
            every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            count = sum(each.arg not in ("self", "cls") for each in every)
            text = ast.get_docstring(node) or ""
            if node.name == "train_step":  # which may have 30 lines in all
                continue
            if count >= 3 and "Args:" not in text and not re.search(r"See `(\w+\.)?\w+`", text):
                wrong.append(f"{where(path, node)} {node.name}")
    assert wrong == []


def test_names_are_those_of_the_field() -> None:
    wrong = [
        f"{at} {name}"
        for path in modules()
        for at, name in names(path)
        if any(NAMES.fullmatch(part) for part in re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower().split("_"))
    ]
    assert wrong == []
