"""The documentation stays short, its tables are those of the results, and its pictures are shown."""

import dataclasses
import re
import sys
import tarfile
import tomllib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from types import ModuleType

import pytest

from unbraid.core.config import TrainConfig
from unbraid.core.data_config import DataConfig
from unbraid.methods import METHODS

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
PICTURES = [path for path in (DOCS / "pictures").iterdir() if path.is_file()]
KILOBYTE, MEGABYTE = 1000, 1_000_000


def name(page: Path) -> str:
    return str(page.relative_to(DOCS))


def prose(text: str) -> list[str]:
    """Returns the lines outside code, tables and pictures."""
    outside = re.sub(r"^ *```.*?^ *```", "", text, flags=re.DOTALL | re.MULTILINE)
    return [line for line in outside.splitlines() if not line.lstrip().startswith(("|", "!["))]


@pytest.fixture(scope="module")
def pages() -> Iterator[ModuleType]:
    """benchmarks/pages.py."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import pages  # pyright: ignore[reportMissingImports]

        yield pages
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_page_is_short(page: Path) -> None:
    most = {"methods": 5.0, "notes": 2.0, "results": 5.0}.get(page.parent.name, 12.0)
    assert page.stat().st_size <= most * KILOBYTE


def test_all_pages_together_are_short() -> None:
    assert sum(page.stat().st_size for page in PAGES) <= 120 * KILOBYTE


@pytest.mark.parametrize("page", [README, *PAGES], ids=lambda page: page.name)
def test_lines_fit(page: Path) -> None:
    assert max(map(len, prose(page.read_text()))) <= 120


def test_the_readme_is_short_and_shows_python_early() -> None:
    lines = README.read_text().splitlines()
    assert len(lines) <= 120
    assert lines.index("```python") < 40


def test_the_image_is_built_of_what_there_is() -> None:
    steps = (ROOT / "Dockerfile").read_text()
    copied = [name for line in re.findall(r"^COPY (.*) \S+$", steps, re.MULTILINE) for name in line.split()]
    kept = (ROOT / ".dockerignore").read_text().splitlines()
    assert kept[0] == "*"
    assert {f"!{name}" for name in copied} == {line for line in kept if line.startswith("!")}
    assert all((ROOT / name).exists() for name in copied)
    about = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (extras,) = re.findall(r'"\.\[([\w,]+)\]"', steps)
    assert set(extras.split(",")) <= set(about["optional-dependencies"])
    assert all(f'"{wanted}"' in steps for wanted in about["dependencies"] if re.match("torch(vision)?>", wanted))


def test_pictures_are_small_and_shown() -> None:
    assert sum(path.stat().st_size for path in PICTURES) <= 4 * MEGABYTE
    texts = [page.read_text() for page in (README, *PAGES)]
    shown = {found for text in texts for found in re.findall(r"\(\S*pictures/([\w.-]+)\)", text)}
    assert shown == {path.name for path in PICTURES}


def test_the_source_distribution_is_small() -> None:
    held = [ROOT / name for name in ("src", "tests", "docs", "benchmarks", "README.md", "CHANGELOG.md")]
    packed = BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for path in held:
            archive.add(path, path.name, filter=lambda file: None if "__pycache__" in file.name else file)
    assert packed.tell() <= 3 * MEGABYTE


def test_links_of_the_readme_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)", README.read_text())
    assert links
    assert all((ROOT / link).exists() for link in links if "://" not in link)


def test_tables_are_those_of_the_results(pages: ModuleType) -> None:
    for (page, mark), text in pages.texts().items():
        assert pages.filled(page.read_text(), mark, text) == page.read_text(), f"python benchmarks/pages.py: {page}"


def test_every_method_has_its_figure_in_the_readme(pages: ModuleType) -> None:
    methods = {path.stem for path in (DOCS / "methods").iterdir()}
    assert {method for method, *_ in pages.METHODS} == methods


@pytest.mark.parametrize("method", METHODS)
def test_flags_of_a_methods_page_exist(method: str) -> None:
    flags = re.findall(r"--method\.(?:no-)?([a-z0-9-]+)", (DOCS / "methods" / f"{method}.md").read_text())
    fields = {field.name.replace("_", "-") for field in dataclasses.fields(METHODS[method].config_type)}
    assert set(flags) <= fields


@pytest.mark.parametrize("page", [README, *PAGES], ids=lambda page: page.name)
def test_flags_of_data_and_training_exist(page: Path) -> None:
    sections = {"data": DataConfig, "train": TrainConfig}
    fields = {
        f"{name}.{field.name.replace('_', '-')}" for name, of in sections.items() for field in dataclasses.fields(of)
    }
    found = re.findall(r"--((?:data|train)\.)(?:no-)?([a-z0-9-]+)", page.read_text())
    assert {"".join(parts) for parts in found} <= fields
