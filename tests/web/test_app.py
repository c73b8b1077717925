"""The page's endpoints, as programs call them; and what it answers to those who mean harm."""

import html
import json
import os
import re
import shutil
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import numpy as np
import pytest
import torch
from PIL import Image

from helpers import write_png
from unbraid.evaluation.metrics.retrieval import distances
from unbraid.model.trained import load
from unbraid.web.app import _described, _from_link
from unbraid.web.runs import Runs
from unbraid.web.views.codes import _leak_table
from unbraid.web.views.search import nearest
from unbraid.web.views.training import FolderState, _followed, _sampled, series
from web.conftest import Served, serving

gradio, client_module = (pytest.importorskip(name) for name in ("gradio", "gradio_client"))
VIEWS = ("translate", "analogies", "interpolate", "search", "codes", "training", "samples", "compare")


@pytest.fixture(scope="module")
def client(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return client_module.Client(served.address, verbose=False, download_files=tmp_path_factory.mktemp("answers"))


def opened_picture(path: str) -> Image.Image:
    with Image.open(path) as picture:
        picture.load()
        return picture


def refused(client: Any, match: str, **values: Any) -> None:
    name = values.pop("api_name", "/translate")
    with pytest.raises(client_module.exceptions.AppError, match=match) as caught:
        client.predict(**values, api_name=name)
    assert "Traceback" not in str(caught.value)


def test_every_view_is_an_endpoint(client: Any) -> None:
    found = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert set(found) == {f"/{view}" for view in VIEWS}


def test_a_translation_is_the_models_and_says_what_it_is(client: Any, folder: Path, runs: Runs) -> None:
    path, words, link = client.predict(run="pairs", source="a", item=1, samples=2, seed=5, api_name="/translate")
    picture = opened_picture(path)
    assert (picture.info["run"], picture.info["seed"], picture.info["source"]) == ("pairs", "5", "a")
    assert "test item 1 of photo" in words
    assert "item=1&amp;samples=2&amp;seed=5" in link
    with runs.using("pairs") as opened:
        made = load(folder / "pairs").translate(opened.item("a", 1), "a", "b", 2, seed=5)[0]
    # the second sample stands third; each pixel of 16 is 11 of the sheet
    cell = np.asarray(picture)[8 : 8 + 176, 8 + 2 * 184 : 8 + 2 * 184 + 176]
    true = ((made[1].clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    assert np.array_equal(cell[5::11, 5::11], true)


def test_an_upload_is_translated(client: Any, tmp_path: Path) -> None:
    mine = client_module.handle_file(str(write_png(tmp_path / "mine.png", 3, (40, 30))))
    _, words, link = client.predict(run="pairs", upload=mine, api_name="/translate")
    assert words.startswith("Uploaded")
    assert "can't be linked" in link
    _, words, _ = client.predict(run="pairs", item=0, like_upload=mine, api_name="/translate")
    assert "guided by uploaded" in words


def test_other_seeds_give_other_samples_and_the_same_the_same(client: Any) -> None:
    paths = [client.predict(run="pairs", seed=seed, samples=1, api_name="/translate")[0] for seed in (1, 2, 1)]
    first, second, third = (np.asarray(opened_picture(path)) for path in paths)
    assert np.array_equal(first, third)
    assert not np.array_equal(first, second)


def test_analogies_interpolations_and_comparisons_are_drawn(
    client: Any, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, words, _ = client.predict(run="pairs", rows="0, 1", columns="2", api_name="/analogies")
    assert opened_picture(path).info["view"] == "analogies"
    assert words.startswith("Each picture")
    path, _, link = client.predict(run="pairs", first=0, second=2, shared=0.2, steps=3, api_name="/interpolate")
    assert opened_picture(path).info["shared"] == "0.2"
    assert "shared=0.2" in link
    path, words, _ = client.predict(run="pairs", runs=["pairs", "plain", "faces"], api_name="/compare")
    assert opened_picture(path).info["runs"] == "pairs, plain, faces"
    assert "Left out: faces, for it was trained" in words
    assert "this is from" not in words
    with runs.using("plain") as opened:
        monkeypatch.setattr(opened.model, "spec", replace(opened.model.spec, names=("map", "aerial")))
    _, words, _ = client.predict(run="pairs", runs=["pairs", "plain"], api_name="/compare")
    assert "from photo to sketch through pairs, plain" in words
    assert "In plain this is from map to aerial." in words


def test_runs_with_a_comma_in_their_name_are_linked(folder: Path, tmp_path: Path, served: Served) -> None:
    names = ["lr=0.1,wd=0", "pairs"]
    for name in names:
        shutil.copytree(folder / "pairs", tmp_path / name)
    with serving(Runs([tmp_path / name for name in names]), served.folder) as started:
        client = client_module.Client(started.address, verbose=False, download_files=tmp_path)
        _, _, link = client.predict(run="pairs", runs=names, api_name="/compare")
    address = re.findall('href="([^"]*)"', html.unescape(link))[0]
    given = dict(parse_qsl(address.partition("?")[2]))["runs"]
    assert _from_link(gradio.CheckboxGroup(), given) == names
    assert _from_link(gradio.CheckboxGroup(), "pairs,plain") == ["pairs", "plain"]


def test_search_ranks_as_evaluate_does(client: Any, runs: Runs) -> None:
    with runs.using("pairs") as opened:
        a, b = (opened.gallery(domain).codes.shared for domain in ("a", "b"))
        if opened.model.space:
            space = opened.model.space
            a, b = space.prepared(a, "a", opened.distance), space.prepared(b, "b", opened.distance)
        far = distances(a.flatten(1), b.flatten(1))
        ranks = (far < far.diagonal()[:, None]).sum(1).tolist()
        for at, rank in enumerate(ranks):
            codes = opened.model.encode(opened.item("a", at), "a")
            found = nearest(opened, codes, "a", "b", "shared", at, opened.count("b"))
            assert found
            assert [i for i, _ in found].index(at) == rank
            own = nearest(opened, codes, "a", "a", "shared", at, opened.count("a"))
            assert own
            assert at not in [i for i, _ in own]
    path, words, _ = client.predict(run="pairs", item=0, neighbours=12, api_name="/search")
    assert "(its pair)" in words
    assert (np.asarray(opened_picture(path)) == (0x1F, 0x9D, 0x63)).all(-1).any()


def test_an_index_is_searched(client: Any, folder: Path) -> None:
    path, words, link = client.predict(run="pairs", item=0, among="index", neighbours=3, api_name="/search")
    assert opened_picture(path).info["among"] == "index"
    assert words.count("sketch/") == 3
    assert ".png at " in words
    assert "exclusive codes of photo are compared with their own kind" in words
    assert str(folder) not in words
    assert "among=index" in link
    refused(client, "no index of faces", run="faces", among="index", api_name="/search")


def test_codes_have_places_and_leakage(client: Any, folder: Path, runs: Runs) -> None:
    maps, _, table = client.predict(run="pairs", items=20, api_name="/codes")
    table = table if isinstance(table, dict) else json.loads(Path(table).read_text())
    assert maps.count("<svg") == 2
    assert "&#9679; sketch</span>" in maps
    probes = ("label from shared, a", "x, a from shared, a, R^2", "size from exclusive")
    with runs.using("pairs") as opened:
        words = _leak_table(opened, {what: {"conclusive": True} for what in probes})
    assert re.findall("<tr><td>(.*?)</td>", words) == [
        "label from shared, photo", "x, a from shared, R^2, photo", "size from exclusive",
    ]  # fmt: skip
    assert {point["domain"] for point in table["shared"]} == {"a", "b"}
    kinds = json.loads((folder / "pairs" / "metrics.json").read_text())["probes"]["domain from shared"]
    shown = table["leakage"]["domain from shared"]
    assert shown["control"] == min(kinds[kind]["control"] for kind in ("linear", "mlp"))
    assert shown["conclusive"] == all(kinds[kind]["conclusive"] for kind in ("linear", "mlp"))


def test_training_is_shown_without_a_model(client: Any, folder: Path, tmp_path: Path) -> None:
    charts, table, _ = client.predict(run="pairs", api_name="/training")
    assert charts.count("<svg") > 3
    assert "photo → sketch" in charts
    assert "a->b" not in charts
    assert "validation" in (table if isinstance(table, dict) else json.loads(table))
    path, words = client.predict(run="pairs", sample=0, api_name="/samples")
    sheet = opened_picture(path)
    assert sheet.size[0] > 50
    assert sheet.getpixel((0, 0)) == (255, 255, 255, 0)  # it stands on the page's own ground
    assert "1 of 2" in words
    shutil.copytree(folder / "pairs", tmp_path / "cut")
    log = tmp_path / "cut" / "log.jsonl"
    whole = series(tmp_path / "cut", "cut")
    log.write_text(log.read_text() + '{"stage": 0, "st')
    assert series(tmp_path / "cut", "cut") == whole
    shutil.rmtree(tmp_path / "cut" / "samples")
    assert _sampled(tmp_path / "cut", "cut", 0) == (
        None,
        "cut has drawn no samples yet: they come with each measurement.",
    )


def test_the_first_curves_and_samples_of_a_run_are_shown_when_they_are_there(folder: Path) -> None:
    path = folder / "pairs"
    found: list[Any] = _followed(path, "pairs", None, None, 0, FolderState())
    curves, choices, large, slider, picture, caption, state = found
    assert "photo → sketch" in curves
    assert choices["value"] == large["y_title"] == "Held-out figures: recall@1"
    assert (slider["value"], slider["maximum"]) == (1, 1)
    assert "2 of 2" in picture["alt_text"]
    assert "2 of 2" in caption
    assert _followed(path, "pairs", choices["value"], None, 1, state)[:6] == [gradio.skip()] * 6
    kept: Any = _followed(path, "pairs", choices["value"], None, 0, FolderState(state.log, state.charts, 2))[3]
    assert "value" not in kept  # an earlier sample stays


def test_a_run_of_one_domain_names_none(client: Any) -> None:
    _, words, _ = client.predict(run="faces", item=1, among="a", api_name="/search")
    assert "(test item 1); nearest of" in words
    assert "test items, euclidean" in words
    _, words, _ = client.predict(run="faces", rows="0", columns="1", api_name="/analogies")
    assert "shares with other classes" in words
    maps, _, _ = client.predict(run="faces", items=20, colour="class", api_name="/codes")
    assert re.search("test item 0, class [xyz]", maps)
    refused(client, "no test item 99; they", run="faces", rows="99", api_name="/analogies")


def test_a_reason_that_views_have_in_common_is_given_once(runs: Runs) -> None:
    with runs.using("plain") as opened:
        words = _described(opened, {"Codes": "it has none", "Search": "there is none", "Analogies": "it has none"})
    assert "Not for this run: Codes, Analogies: it has none; Search: there is none." in words


def test_what_a_run_cant_do_is_said(client: Any) -> None:
    refused(client, "no second domain|has no domain", run="faces", source="a")
    refused(client, "without taking items apart|has no exclusive", run="plain", api_name="/analogies")
    refused(client, "nothing that is particular", run="plain", like=1)


@pytest.mark.parametrize(
    ("values", "match"),
    [({"run": "../../etc"}, "no run"), ({"item": 10**6}, "whole number"), ({"item": "x"}, "whole number"),
     ({"source": "c"}, "one of a, b"), ({"samples": 1000}, "from 1 to 12"), ({"seed": -1}, "Seed"),
     ({"seed": "<img src=x onerror=alert(1)>"}, "&lt;img")],
)  # fmt: skip
def test_bad_values_are_answered_in_words(client: Any, values: dict[str, Any], match: str) -> None:
    refused(client, match, **values)


ODD: tuple[Any, ...] = (None, True, "\ud800", 10**300, float("nan"), [[]], {"a": 1}, "9" * 400, "x" * 3000)
GOOD: dict[str, list[Any]] = {
    "translate": ["pairs", "a", 0, None, 1, 0, None, None],
    "analogies": ["pairs", "a", "0", "0", None, None],
    "interpolate": ["pairs", "a", 0, 1, None, None, 0.5, 0.5, "shared", 2],
    "search": ["pairs", "a", 0, None, "b", "shared", 1],
    "codes": ["pairs", "pca", "domain", 4, 0],
    "compare": ["pairs", "a", ["pairs"], 0, None, 1, 0],
    "training": ["pairs"],
    "samples": ["pairs", 0],
}


@pytest.mark.parametrize("view", GOOD)
def test_values_that_nobody_expected_are_answered_in_words(client: Any, served: Served, view: str) -> None:
    good = GOOD[view]
    with ThreadPoolExecutor(4) as pool:
        bodies = [[*good[:at], odd, *good[at + 1 :]] for at in range(len(good)) for odd in ODD]
        for body, answer in zip(bodies, pool.map(lambda body: answered(served, body, view), bodies), strict=True):
            assert "went wrong" not in answer, body
            assert "event: complete" in answer or "event: error" in answer or answer in ("400", "422"), (body, answer)


def answered(served: Served, body: Any, view: str) -> str:
    """The answer, or the status of a refusal."""
    try:
        return called(served, body, view)
    except urllib.error.HTTPError as error:
        error.close()
        return str(error.code)


def test_values_of_no_function_leave_no_traceback(
    client: Any, served: Served, capfd: pytest.CaptureFixture[str]
) -> None:
    file = {"path": str(write_png(served.folder / "received" / "odd.png", 1)), "meta": {"_type": "gradio.FileData"}}
    odd: list[Any] = [
        file,
        {**file, "path": 3},
        {**file, "meta": None},
        {**file, "size": "x"},
        {},
        [file],
        3,
        None,
        "x",
    ]
    with urllib.request.urlopen(f"{served.address}config", timeout=20) as answer:
        config = json.load(answer)
    refusals = set[int]()
    for function in config["dependencies"]:
        for at, value in enumerate(odd):
            session = f"odd-{function['id']}-{at}"
            body = {"fn_index": function["id"], "session_hash": session, "data": [value] * len(function["inputs"])}
            kind = {"content-type": "application/json"}
            place = f"{served.address}gradio_api/queue/"
            request = urllib.request.Request(f"{place}join", json.dumps(body).encode(), kind)
            try:
                urllib.request.urlopen(request, timeout=20).close()
            except urllib.error.HTTPError as error:
                refusals.add(error.code)
                error.close()
                continue
            with urllib.request.urlopen(f"{place}data?session_hash={session}", timeout=20) as answer:
                assert any(b"process_completed" in line for line in answer)
    assert refusals == {400}
    said = capfd.readouterr().err
    assert "Traceback" not in said, said[:4000]


def test_bad_uploads_are_answered_in_words(client: Any, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("not a picture")
    refused(client, "not an image", upload=client_module.handle_file(str(tmp_path / "text.png")))


def called(served: Served, body: Any, view: str = "translate") -> str:
    """What the server says to a request as no client would send it."""
    kind = {"content-type": "application/json"}
    data = json.dumps({"data": body}).encode()
    request = urllib.request.Request(f"{served.address}gradio_api/call/{view}", data, kind)
    with urllib.request.urlopen(request, timeout=20) as answer:
        event = json.load(answer)["event_id"]
    with urllib.request.urlopen(f"{served.address}gradio_api/call/{view}/{event}", timeout=20) as answer:
        return answer.read().decode()


@pytest.mark.parametrize("place", ["/etc/passwd", "{folder}/pairs/examples/a/x.png", "http://127.0.0.1:9/x.png", "."])
def test_no_path_of_a_client_is_opened(
    served: Served, folder: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[str] = []
    from gradio import processing_utils

    async def fetch(url: str, *_: Any) -> str:
        fetched.append(url)
        raise AssertionError(url)

    monkeypatch.setattr(processing_utils, "async_ssrf_protected_download", fetch)
    file = {
        "path": place.format(folder=folder),
        "url": "http://127.0.0.1:9/y.png",
        "meta": {"_type": "gradio.FileData"},
    }
    for data in (["pairs", "a", 0, file, 1, 0, None, None], ["pairs", file, 0, None, 1, 0, None, None], [[file]]):
        with pytest.raises(urllib.error.HTTPError) as caught:
            called(served, data)
        assert caught.value.code == 400
        caught.value.close()
    assert not fetched
    assert not [path for path in served.folder.rglob("*") if path.name in ("passwd", "x.png", "y.png")]


def test_addresses_beside_a_received_file_are_not_fetched(served: Served, tmp_path: Path) -> None:
    mine = write_png(served.folder / "received" / "mine.png", 1)
    file = {"path": str(mine), "url": "http://127.0.0.1:9/y.png", "meta": {"_type": "gradio.FileData"}}
    assert "event: complete" in called(served, ["pairs", "a", 0, file, 1, 0, None, None])


def status(address: str, **headers: str) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def test_files_of_the_machine_are_not_served(served: Served, folder: Path) -> None:
    config = folder / "pairs" / "config.json"
    assert config.exists()
    for path in (config, "/etc/passwd", f"{served.folder}/../{config.name}", Path(__file__)):
        assert status(f"{served.address}gradio_api/file={path}") in (403, 404)
    assert status(f"{served.address}gradio_api/file=..%2f..%2fetc/passwd") in (403, 404)


def test_twenty_at_once_are_all_answered(client: Any) -> None:
    def ask(seed: int) -> str:
        return client.predict(run="pairs", seed=seed, samples=1, api_name="/translate")[1]

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(ask, range(20)))
    assert all(f"seed {seed}" in words for seed, words in enumerate(answers))


def test_an_answer_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncio

    import gradio as gr

    from unbraid.web import page

    monkeypatch.setattr(page, "SECONDS", 0.05)
    with pytest.raises(gr.Error, match="too long"):
        asyncio.run(page.friendly(lambda: time.sleep(0.3))())


def test_errors_that_nobody_foresaw_stay_out_of_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    import asyncio

    import gradio as gr

    from unbraid.web import page

    def broken() -> None:
        raise RuntimeError("/secret/place")

    with pytest.raises(gr.Error) as caught:
        asyncio.run(page.friendly(broken)())
    assert "secret" not in str(caught.value)
    assert "/secret/place" in capsys.readouterr().err


def test_old_files_are_deleted(tmp_path: Path) -> None:
    from unbraid.web.app import tidied

    for name in ("old.png", "new.png"):
        (tmp_path / name).write_bytes(b"x")
    os.utime(tmp_path / "old.png", (1, 1))
    tidied(tmp_path, 60)
    assert [path.name for path in tmp_path.iterdir()] == ["new.png"]


def test_nothing_is_written_into_a_run(client: Any, folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (folder / "pairs").rglob("*")}
    client.predict(run="pairs", api_name="/translate")
    client.predict(run="pairs", items=20, api_name="/codes")
    assert {path: path.stat().st_mtime_ns for path in (folder / "pairs").rglob("*")} == before
    assert torch.is_grad_enabled()


def test_the_example_of_the_documentation_runs(served: Served) -> None:
    text = (Path(__file__).parents[2] / "docs" / "explorer.md").read_text()
    example = text.split("```python\n")[1].split("```")[0]
    replaced = {
        "http://127.0.0.1:7860/": served.address,
        'run="demo"': 'run="pairs"',
        "item=3": "item=1",
    }
    for old, new in replaced.items():
        assert old in example
        example = example.replace(old, new)
    names: dict[str, str] = {}
    exec(compile(example, "explorer.md", "exec"), names)
    assert "test item 1 of photo" in names["words"]
