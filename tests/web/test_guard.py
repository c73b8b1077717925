import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from unbraid.web import guard
from unbraid.web.bodies import Functions, Input
from unbraid.web.guard import LOOPBACK, Guard

FUNCTIONS: Functions = {0: (Input("upload", file=True),)}
CALL = b'{"data": [null], "fn_index": 0}'


async def inner(scope: Any, receive: Any, send: Any) -> None:
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"inside"})


def asked(
    app: Guard, path: str = "/", method: str = "GET", query: str = "", body: bytes = b"", **headers: str
) -> tuple[int, dict[str, str], str]:
    """Status, headers and body of an answer."""
    sent: list[Any] = []
    named = {"host": "127.0.0.1:7860", **{name.replace("_", "-"): value for name, value in headers.items()}}
    scope = {
        "type": "http", "path": path, "method": method, "query_string": query.encode("latin-1"),
        "headers": [(name.encode(), value.encode()) for name, value in named.items()],
    }  # fmt: skip
    chunks = [body[i : i + 1000] for i in range(0, len(body), 1000)] or [b""]

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": chunks.pop(0) if chunks else b"", "more_body": bool(chunks)}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    return sent[0]["status"], {k.decode(): v.decode() for k, v in sent[0]["headers"]}, sent[1]["body"].decode()


@pytest.fixture
def open_page(tmp_path: Path) -> Guard:
    return Guard(inner, tmp_path, LOOPBACK, None, FUNCTIONS)


@pytest.fixture
def closed_page(tmp_path: Path) -> Guard:
    return Guard(inner, tmp_path, None, "secret", FUNCTIONS)


@pytest.mark.parametrize(
    "path",
    ["/", "/config", "/assets/index.js", "/gradio_api/info", "/gradio_api/file=/x/y.png", "/gradio_api/queue/data"],
)
def test_what_the_page_needs_passes(path: str, open_page: Guard) -> None:
    assert asked(open_page, path)[0] == 200


@pytest.mark.parametrize(
    "path",
    ["/gradio_api/proxy=https://example.org/x", "/gradio_api/file=https://example.org/x", "/gradio_api/vibe-code/",
     "/gradio_api/run-history/records", "/monitoring", "/gradio_api/deep_link", "/gradio_api/dev/reload", "/docs",
     "/assets/../config.json", "/gradio_api/file=/x/../../etc/passwd", "/login", "/gradio_api/stream/x"],
)  # fmt: skip
def test_nothing_else_does(path: str, open_page: Guard) -> None:
    assert asked(open_page, path)[0] == 404
    assert asked(open_page, path, "POST")[0] == 404


def test_other_methods_are_refused(open_page: Guard) -> None:
    assert {asked(open_page, "/", method)[0] for method in ("PUT", "DELETE", "OPTIONS", "POST")} == {404}


def test_addresses_that_are_not_utf8_are_refused(open_page: Guard, closed_page: Guard) -> None:
    assert asked(open_page, query="view=\xff\xfe")[0] == 400
    assert asked(closed_page, query="token=\xff")[0] == 400
    assert asked(open_page, query="view=%ff")[0] == 200


def test_other_names_and_other_sites_are_refused(open_page: Guard) -> None:
    assert asked(open_page, host="evil.example")[0] == 421
    assert asked(open_page, host="localhost:7860")[0] == 200
    assert asked(open_page, host="[::1]:7860")[0] == 200
    assert asked(open_page, "/gradio_api/queue/join", "POST", origin="http://evil.example")[0] == 403
    assert asked(open_page, "/gradio_api/queue/join", "POST", body=CALL, origin="http://127.0.0.1:7860")[0] == 200


def test_answers_tell_browsers_to_ask_nobody_else(open_page: Guard) -> None:
    policy = asked(open_page)[1]["content-security-policy"]
    assert policy.startswith("default-src 'self'")
    assert "http" not in policy


def test_a_token_is_asked_for_and_kept_as_a_cookie(closed_page: Guard) -> None:
    assert asked(closed_page)[0] == 401
    assert asked(closed_page, query="token=wrong")[0] == 401
    status, headers, _ = asked(closed_page, query="run=demo&token=secret")
    assert (status, headers["location"]) == (303, "/?run=demo")
    assert "HttpOnly" in headers["set-cookie"]
    assert asked(closed_page, cookie=headers["set-cookie"].split(";")[0])[0] == 200
    assert asked(closed_page, cookie="unbraid-token=wrong")[0] == 401
    assert asked(closed_page, authorization="Bearer secret")[0] == 200
    assert asked(closed_page, authorization="Bearer é")[0] == 401


def test_long_requests_are_refused(open_page: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "MOST_JSON", 5000)
    assert asked(open_page, "/gradio_api/queue/join", "POST", body=CALL + b" " * 4000)[0] == 200
    assert asked(open_page, "/gradio_api/queue/join", "POST", body=b" " * 6000)[0] == 413
    assert asked(open_page, "/gradio_api/queue/join", "POST", content_length="6000")[0] == 413
    assert asked(open_page, "/gradio_api/upload", "POST", body=b"x" * 6000)[0] == 200


def test_a_full_folder_takes_no_uploads(open_page: Guard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "MOST_STORED", 10)
    (tmp_path / "old.png").write_bytes(b"x" * 20)
    assert asked(open_page, "/gradio_api/upload", "POST")[0] == 507
    assert asked(open_page)[0] == 200


def test_what_goes_on_is_what_was_looked_at(tmp_path: Path) -> None:
    seen: list[bytes] = []

    async def keep(scope: Any, receive: Any, send: Any) -> None:
        seen.append((await receive())["body"])
        assert dict(scope["headers"])[b"content-length"] == str(len(seen[0])).encode()
        await inner(scope, receive, send)

    (tmp_path / "x.png").write_bytes(b"x")
    file = {"path": str(tmp_path / "x.png"), "url": "http://elsewhere/", "meta": {"_type": "gradio.FileData"}}
    body = json.dumps({"data": [file], "fn_index": 0, "more": 1}).encode()
    page = Guard(keep, tmp_path, LOOPBACK, None, FUNCTIONS)
    assert asked(page, "/gradio_api/queue/join", "POST", body=body)[0] == 200
    assert "url" not in json.loads(seen[0])["data"][0]
    assert "more" not in json.loads(seen[0])


def test_what_the_page_does_not_send_is_refused_in_words(open_page: Guard) -> None:
    status, _, words = asked(open_page, "/gradio_api/queue/join", "POST", body=b'{"data": 3}')
    assert (status, words[:31]) == (400, "This is not what the page sends")


@pytest.mark.parametrize("path", ["call/upload", "run/upload", "call/v2/upload"])
def test_only_the_one_upload_address_is_spared_the_check(path: str, open_page: Guard) -> None:
    large = json.dumps({"data": ["x" * guard.MOST_JSON]}).encode()
    assert asked(open_page, f"/gradio_api/{path}", "POST", body=large)[0] == 413
    assert asked(open_page, f"/gradio_api/{path}", "POST", body=b'{"path": "/etc/passwd"}')[0] == 400
    assert asked(open_page, "/gradio_api/upload\n", "POST", body=large)[0] == 404
    assert asked(open_page, "/gradio_api/upload", "POST", body=large)[0] == 200
