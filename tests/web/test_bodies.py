import json
from pathlib import Path
from typing import Any

import pytest

from unbraid.web.bodies import Input, NotTaken, rewritten

UPLOAD = (Input("run"), Input("upload", file=True), Input("runs"), Input("state", state=True))
KNOWN = {3: UPLOAD, "compare": UPLOAD}
META = {"_type": "gradio.FileData"}
GONE: Any = object()
"""A key that is left out."""


def asked(place: str, body: Any, folder: Path) -> Any:
    return json.loads(rewritten(place, json.dumps(body).encode(), folder, KNOWN))


@pytest.fixture
def mine(tmp_path: Path) -> str:
    (tmp_path / "x.png").write_bytes(b"x")
    return str(tmp_path / "x.png")


def test_calls_pass_with_what_the_page_needs_and_nothing_else(tmp_path: Path, mine: str) -> None:
    file = {"path": mine, "meta": META, "url": "http://elsewhere/", "orig_name": "x.png", "size": 1, "is_stream": False}
    event = {"index": [0, 1], "value": {"image": {"path": "/etc/passwd"}}}
    body = {"data": ["r", file, ["r", "s"], {"a": 1}], "fn_index": 3, "session_hash": "h", "event_data": event, "x": 1}
    found = asked("queue/join", body, tmp_path)
    assert found["data"][0] == "r"
    assert {key: value for key, value in found["data"][1].items() if value is not None} == {
        "path": mine, "meta": META, "orig_name": "x.png", "size": 1,
    }  # fmt: skip
    assert found["data"][2:] == [["r", "s"], None]
    assert (found["fn_index"], found["session_hash"], found["event_data"]) == (3, "h", {"index": [0, 1]})
    assert "x" not in found
    assert asked("call/compare", {"data": ["r", None, None]}, tmp_path)["data"] == ["r", None, None]
    assert asked("run/predict", {"data": ["r", None, None, None], "fn_index": 3}, tmp_path)["fn_index"] == 3
    assert asked("call/v2/compare", {"run": "r", "upload": file}, tmp_path)["upload"]["path"] == mine
    assert asked("cancel", {"session_hash": "h", "fn_index": 3, "event_id": "e"}, tmp_path)["event_id"] == "e"


@pytest.mark.parametrize(
    "change",
    [{"path": path} for path in (
        3, None, True, 1e300, [], ["FILE"], {}, {"path": "FILE"}, "", "\0", "x" * 5000, ".", "FOLDER", "FILE/",
        "FILE/..", "FOLDER/../x.png", " FILE", "\ud800", "/etc/passwd", "/dev/stdin", "http://x/y", "file://FILE", GONE,
    )]
    + [{"meta": meta} for meta in (
        3, None, True, "x", [], {}, [META], {"_type": 3}, {"_type": None}, {"_type": "other"}, {"_type": [META]}, GONE,
    )]
    + [{"size": "x"}, {"size": []}, {"size": 1e300}, {"size": -1}, {"orig_name": 3}, {"orig_name": {}}]
    + [{"mime_type": []}],
)  # fmt: skip
def test_what_is_no_file_that_was_received_is_refused(change: dict[str, Any], tmp_path: Path, mine: str) -> None:
    file = {key: value for key, value in ({"path": mine, "meta": META} | change).items() if value is not GONE}
    text = json.dumps(file).replace("FILE", mine).replace("FOLDER", str(tmp_path))
    for place, body in (
        ("queue/join", {"data": ["r", json.loads(text), None, None], "fn_index": 3}),
        ("call/compare", {"data": ["r", json.loads(text), None]}),
        ("run/predict", {"data": ["r", json.loads(text), None], "fn_index": 3}),
        ("call/v2/compare", {"upload": json.loads(text)}),
    ):
        if text == json.dumps({"path": mine + "/", "meta": META}):
            continue  # the same file
        with pytest.raises(NotTaken):
            asked(place, body, tmp_path)


@pytest.mark.parametrize(
    "value", [3, "x", True, 1.5, [], [None], {}, {"a": 1}, "data:image/png;base64,xx", {"url": "x"}]
)
def test_nothing_but_a_file_stands_for_one(value: Any, tmp_path: Path) -> None:
    with pytest.raises(NotTaken):
        asked("call/compare", {"data": ["r", value, None]}, tmp_path)


@pytest.mark.parametrize("value", [{}, {"path": "FILE", "meta": META}, [[]], [{}], [["r"]]])
def test_no_object_stands_for_text(value: Any, tmp_path: Path, mine: str) -> None:
    value = json.loads(json.dumps(value).replace("FILE", mine))
    for data in ([value, None, None], ["r", None, value]):
        with pytest.raises(NotTaken, match="text, a number or a list"):
            asked("call/compare", {"data": data}, tmp_path)


@pytest.mark.parametrize(
    ("place", "body"),
    [("queue/join", b""), ("queue/join", b"not json"), ("queue/join", b"[" * 50_000), ("queue/join", b"3"),
     ("queue/join", b"null"), ("queue/join", b"{}"), ("queue/join", b'{"data": {}, "fn_index": 3}'),
     ("queue/join", b'{"data": ["r", null, null]}'), ("queue/join", b'{"data": ["r", null, null], "fn_index": 4}'),
     ("queue/join", b'{"data": ["r", null, null], "fn_index": -1}'),
     ("queue/join", b'{"data": ["r", null, null], "fn_index": "3"}'),
     ("queue/join", b'{"data": ["r", null, null], "fn_index": 3, "session_hash": 3}'),
     ("queue/join", b'{"data": ["r", null, null], "fn_index": 3, "trigger_id": "x"}'),
     ("queue/join", b'{"data": [], "fn_index": 3}'), ("queue/join", b'{"data": [1, 2, 3, 4, 5], "fn_index": 3}'),
     ("queue/join", b"\xff\xfe"), ("queue/join", b"1" * 5000), ("call/none", b'{"data": []}'),
     ("call/v2/none", b"{}"), ("call/v2/compare", b"[]"), ("call/v2/compare", b'{"other": 1}'), ("cancel", b"{}"),
     ("cancel", b'{"session_hash": 3, "fn_index": 3, "event_id": "e"}'), ("reset", b'{"event_id": null}')],
)  # fmt: skip
def test_other_bodies_are_refused(place: str, body: bytes, tmp_path: Path) -> None:
    with pytest.raises(NotTaken):
        rewritten(place, body, tmp_path, KNOWN)


@pytest.mark.parametrize("event", [None, 5, "x", [], {}, {"index": "x"}, {"index": None}, {"index": [[]]}])
def test_of_an_event_nothing_but_the_place_passes(event: Any, tmp_path: Path) -> None:
    body = {"data": ["r", None, None], "fn_index": 3, "event_data": event}
    assert asked("queue/join", body, tmp_path)["event_data"] == {"index": None}
