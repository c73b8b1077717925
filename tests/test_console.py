import io
import re
import sys
from pathlib import Path

import pytest
from rich.table import Table

import unbraid
from unbraid.commands.cli import main
from unbraid.commands.search import _print_hits
from unbraid.core.console import Console, Progress, escape_unprintable
from unbraid.core.types import DataSpec, ImageSpec
from unbraid.model.log import Log
from unbraid.model.saved import Position
from unbraid.search.query import Hit

SPEC = DataSpec(ImageSpec(8, 8, 3), ImageSpec(8, 8, 3))
TEXTS = ("[old]/cat [copy].png", ":cat:.png", "[/b]", "[red]x[/red]", "[link=x]y", "C:\\[a]\\b", "\\[b]", "[1, 2]")


@pytest.mark.parametrize("text", TEXTS)
def test_text_is_printed_as_it_is(text: str) -> None:
    file = io.StringIO()
    console = Console(file=file, width=200, force_terminal=True, color_system="truecolor")
    console.print(text, highlight=False)
    table = Table(text, title=text, caption=text, box=None)
    table.add_row(text)
    console.print(table)
    console.rule(text)
    with Progress(console=console) as bar:
        bar.add_task(text)
        bar.refresh()
    plain = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", file.getvalue())
    assert plain.count(text) >= 5
    assert "\x1b]8" not in file.getvalue()


@pytest.mark.parametrize("text", TEXTS)
def test_events_and_hits_are_printed_as_they_are(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = Log(tmp_path)
    log.event(Position(), text)
    log.validation(Position(), {text: 1.0})
    assert capsys.readouterr().err.count(text) == 2
    _print_hits([Path(text)], [[Hit(Path(text), "a", 0.1, {text: text})]], SPEC)
    assert capsys.readouterr().out.count(text) == 4


def test_nothing_prints_past_the_one_console() -> None:
    own = re.compile(r"\b(Console|Progress|TextColumn|print|Text|Prompt|markup|track|import rich)\b")
    for file in Path(unbraid.__file__).parent.rglob("*.py"):
        if file.name == "console.py":
            continue
        taken = re.findall(r"^ *(?:from rich[\w.]* import .*|import rich.*)$", file.read_text(encoding="utf-8"), re.M)
        for line in taken:
            assert not own.search(line), f"{file}: {line}: import it from unbraid.core.console"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
@pytest.mark.parametrize(
    "arguments",
    [["évaluate"], ["evaluate", "[/b]:cat:日本"], ["translate", "ŝ", "x", "--out", "y"], ["train", "日本:cat:[b]"]],
)
def test_what_the_encoding_lacks_is_escaped(
    arguments: list[str], encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = io.BytesIO()
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(kept, encoding, write_through=True))
    assert main(arguments) == 2
    word = next(word for word in arguments if not word.isascii())
    escaped = word.encode(encoding, "backslashreplace").decode(encoding)
    assert escaped in kept.getvalue().decode(encoding).replace("\\\\", "\\")


def test_both_streams_escape(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(kept, "ascii"))
    escape_unprintable()
    print("日 \udcc3", flush=True)
    assert kept.getvalue() == b"\\u65e5 \\udcc3\n"
