from pathlib import Path

import pytest

from unbraid.core.types import UserError
from unbraid.data.csvfile import Files, folded, read_rows, read_table

ROWS = {1: ["file", "class"], 2: ["x.png", "caf\u00e9"], 4: ["a, b.png", "tea"]}
TEXT = 'file,class\nx.png,caf\u00e9\n\n"a, b.png",tea\n'


def written(place: Path, data: bytes) -> Path:
    (place / "t.csv").write_bytes(data)
    return place / "t.csv"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_text_is_read_however_it_is_encoded(tmp_path: Path, encoding: str, end: str) -> None:
    assert read_rows(written(tmp_path, TEXT.replace("\n", end).encode(encoding)), "--data.csv") == ROWS


@pytest.mark.parametrize(
    "text",
    [
        'file , class\n x.png,\tcaf\u00e9 \n\n "a, b.png", tea\n',
        'file,class,\nx.png,caf\u00e9,,\n , \n"a, b.png",tea,\n',
        'file;class\nx.png;caf\u00e9\n;\n"a, b.png";tea\n',
        "file\tclass\nx.png\tcaf\u00e9\n\t\na, b.png\ttea\t\n",
    ],
)
def test_blanks_empty_cells_and_dividers_change_nothing(tmp_path: Path, text: str) -> None:
    path = written(tmp_path, text.encode())
    assert read_rows(path, "--data.csv") == ROWS
    table = read_table(path, "--data.csv")
    assert table.column("class") == {2: "caf\u00e9", 4: "tea"}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\xff\xff\xfe", "can't be read as CSV in UTF-8 or UTF-16"),
        (b"\xff\xfea", "can't be read as CSV"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\xff", "can't be read as CSV|needs a header"),
        (b'file,class\n"x.png,a\n', "can't be read as CSV"),
        (b"file,class\n" + b"x" * 200_000 + b",1\n", "can't be read as CSV"),
        (b"", "is empty"),
        (b" , \n\n", "is empty"),
        (b"file,class\n", "a header and no rows"),
        (b"class\nx\n", "needs a header with a column file"),
        (b"file,a,a\nx,1,2\n", "several columns a"),
        (b"file,,a\nx,1,2\n", "column 2 has no name"),
        (b"file,a\nx.png,1,2\n", "row 2 has 3 values; the header has 2.*double quotes"),
    ],
)
def test_what_is_no_table_is_one_error(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_table(written(tmp_path, data), "--data.csv")


def test_short_rows_are_filled_up(tmp_path: Path) -> None:
    assert read_table(written(tmp_path, b"a,file\n,x.png\ny\n"), "--metadata").rows == {2: ["", "x.png"], 3: ["y", ""]}


@pytest.mark.parametrize(
    "cell",
    [
        *("in/x.png", "./in/x.png", "in//x.png", "in/../in/x.png", "in\\x.png", "IN/X.PNG", "{}/in/x.png"),
        *("{}/./in/X.png", "{link}/in/x.png"),
    ],
)
def test_a_file_is_found_by_any_of_its_names(tmp_path: Path, cell: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    for folder in ("folder", "link"):
        files = Files([(tmp_path / "other", ["y.png"]), (tmp_path / folder, ["in/x.png"])])
        place = str(tmp_path / "folder")
        assert files.find(cell.format(place, link=tmp_path / folder), "row 1") == (1, "in/x.png")


def test_a_file_that_is_not_there_or_could_be_two(tmp_path: Path) -> None:
    files = Files([(tmp_path, ["a.png", "A.png", "e\u0301.png"])])
    assert files.find("A.png", "row 1") == (0, "A.png")
    assert files.find("\u00c9.PNG", "row 1") == (0, "e\u0301.png")
    for cell in ("", "b.png", "../a.png", "/a.png", f"{tmp_path}x/a.png", str(tmp_path)):
        assert files.find(cell, "row 1") is None
    with pytest.raises(UserError, match=r"row 7: a\.PNG could be A\.png or a\.png"):
        files.find("a.PNG", "row 7")


def test_case_and_composition_fold() -> None:
    assert folded("STRASSE") == folded("stra\u00dfe")
    assert folded("E\u0301") == folded("\u00e9")
