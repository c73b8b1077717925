"""The explorer as one application: views in tabs, gradio's queue with limits, the guard before it all."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import fastapi
import gradio as gr
import msgspec
from gradio.components import Component
from gradio.themes import Default

from unbraid.core.types import UserError
from unbraid.web.bodies import functions
from unbraid.web.guard import LOOPBACK, Guard
from unbraid.web.page import Page, Updates, View, now, plain
from unbraid.web.runs import Opened, Runs
from unbraid.web.uploads import MOST_BYTES
from unbraid.web.values import MOST_NUMBER
from unbraid.web.views.analogies import Analogies
from unbraid.web.views.codes import CodesView
from unbraid.web.views.compare import Compare
from unbraid.web.views.interpolate import Interpolate
from unbraid.web.views.search import Search
from unbraid.web.views.training import Training
from unbraid.web.views.translate import Translate

WAITING = 64
"""Requests in the queue; one more is told to come back."""
VISITORS = 100
"""Visits that gradio keeps the state of, a quarter of a megabyte each; a program's every request is one."""
KEPT_SECONDS = 3600
"""How long uploads and answers stay in the temporary folder."""
STYLE = (Path(__file__).parent / "page.css").read_text("utf-8")
SCRIPT = (Path(__file__).parent / "page.js").read_text("utf-8")
FONTS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
"""Fonts of the machine that shows the page: none is fetched."""
INTRODUCTION = "What a model holds to be shared by two domains, and what it keeps apart."

TERMS = """<details><summary>What the words mean</summary><dl>
<dt>shared</dt><dd>what both kinds of images show of a thing: it stays in a translation</dd>
<dt>exclusive</dt><dd>what one kind alone shows: it is drawn anew, or taken from another image</dd>
<dt>coverage</dt><dd>how many real images have a generated one near them, in percent</dd>
<dt>variety</dt><dd>how far translations of one image differ from each other</dd>
</dl></details>"""


def application(runs: Runs, folder: Path, hosts: frozenset[str] | None = LOOPBACK, token: str | None = None) -> Guard:
    """Builds the ASGI application.

    Args:
        runs: The runs that it shows.
        folder: For uploads and answers, the only place that is written to.
        hosts: Names that the page answers under; None for any.
        token: What visitors must show; None for nothing.
    """
    # gradio reads these when it is built; what it keeps lies in the folder, and it tells nobody
    os.environ |= {"GRADIO_TEMP_DIR": str(folder), "GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1"}
    blocks = _blocks(runs, folder)
    blocks.state_session_capacity = VISITORS
    blocks.queue(max_size=WAITING, default_concurrency_limit=2, api_open=False)

    @asynccontextmanager
    async def tidying(_: fastapi.FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(_tidy(folder))
        yield
        task.cancel()

    server = fastapi.FastAPI(openapi_url=None, lifespan=tidying)
    gr.mount_gradio_app(
        server,
        blocks,
        "/",
        server_name="127.0.0.1",
        footer_links=["api"],
        run_history=False,
        allowed_paths=[],
        show_error=True,
        max_file_size=MOST_BYTES,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=Default(primary_hue="indigo", font=FONTS, font_mono=["ui-monospace", "monospace"]),
        css=STYLE,
        head=f"<script>{SCRIPT}</script>",
    )
    return Guard(server, folder, hosts, token, functions(blocks))


async def _tidy(folder: Path) -> None:
    # gradio's own cleaning ends for good when a file is written while it looks
    while True:
        await asyncio.sleep(60)
        await asyncio.to_thread(tidied, folder, KEPT_SECONDS)


def tidied(folder: Path, seconds: float) -> None:
    """Deletes the files of a folder, and below it, that were written longer ago than this."""
    for file in folder.rglob("*"):
        with contextlib.suppress(OSError):  # gone meanwhile
            if file.is_file() and time.time() - file.stat().st_mtime > seconds:
                file.unlink()


def _blocks(runs: Runs, folder: Path) -> gr.Blocks:
    views: list[View] = [
        Translate(), Analogies(), Interpolate(), Search(), CodesView(), Training(), Compare(runs.names),
    ]  # fmt: skip
    with gr.Blocks(analytics_enabled=False, title="Unbraid explorer", fill_width=True) as blocks:
        gr.Markdown(f"# Unbraid explorer\n{INTRODUCTION}")
        with gr.Row(elem_classes="head"):
            run = gr.Dropdown(runs.names, value=runs.names[0], label="Run", filterable=False, scale=1, min_width=220)
            state = gr.HTML(elem_id="state")
        gr.HTML(TERMS, elem_id="terms")
        absent = gr.HTML(elem_id="absent")
        page = Page(runs, folder, run)
        current = gr.Textbox(views[0].name, visible=False)
        page.starts = {view.name: gr.State(0) for view in views}
        tabs: dict[str, gr.Tab] = {}
        with gr.Tabs(selected=views[0].name) as all_tabs:
            for view in views:
                with gr.Tab(view.title, id=view.name, elem_id=f"tab-{view.name}") as tabs[view.name]:
                    view.build(page)

        def choose(name: str, query: dict[str, str]) -> Updates:
            """Returns everything that depends on the run, for the view that is wanted or else the first there is."""
            runs.path(name)
            wanted, asked = query.get("view", views[0].name), query.get("source", query.get("domain"))
            updates: Updates = {run: name}
            reasons = {}
            try:
                with runs.using(name) as opened:
                    reasons = {view.name: view.missing(opened) for view in views}
                    for view in views:
                        if not reasons[view.name]:
                            updates |= view.refresh(opened, asked if view.name == wanted else None)
                    updates[state] = _described(opened, {v.title: reasons[v.name] for v in views})
            except UserError as error:
                reasons = {view.name: "" if view.name == "training" else str(error) for view in views}
                updates[state] = plain(f"{error}. There are curves of its training, if it has begun.")
            there = [name for name, reason in reasons.items() if not reason]
            wanted = wanted if wanted in there else there[0]
            _wish(updates, page.controls[wanted], query)
            updates[absent] = _without([view.name for view in views if view.name not in there])
            updates[all_tabs] = gr.update(selected=wanted)
            updates[current] = wanted
            updates[page.starts[wanted]] = now()
            return updates

        def opened_link(request: gr.Request) -> Updates:
            return _linked(runs, choose, state, _query(request))

        outputs = [
            run, state, current, all_tabs, absent, *page.starts.values(),
            *dict.fromkeys(c for view in views for c in _changing(view, page)),
        ]  # fmt: skip
        page.event(opened_link, [], outputs, [blocks.load])
        page.event(lambda name, view: choose(name, {"view": view}), [run, current], outputs, [run.input])
        for view in views:
            page.event(_chosen(view.name), [current], [current, page.starts[view.name]], [tabs[view.name].select])
    return blocks


def _linked(
    runs: Runs, choose: Callable[[str, dict[str, str]], Updates], state: Component, query: dict[str, str]
) -> Updates:
    """Returns what a link asks for, by `choose`, or what there is, with the reason before the run's state."""
    name = query.get("run", runs.names[0])
    try:
        return choose(name, query)
    except UserError as error:  # a link of another time
        updates = choose(name if name in runs.names else runs.names[0], {})
        return {**updates, state: f"{plain(f'{error}.')}{updates[state]}"}


def _query(request: gr.Request) -> dict[str, str]:
    return {key: str(value) for key, value in dict(request.query_params).items()}


def _wish(updates: Updates, controls: Mapping[str, Component], query: Mapping[str, str]) -> None:
    """Adds what a link asks for; a component's new choices stay."""
    for label, component in controls.items():
        if label in query:
            before = updates.get(component)
            wish = _from_link(component, query[label])
            updates[component] = {**before, "value": wish} if isinstance(before, dict) else wish


def _without(names: list[str]) -> str:
    """Returns a style without the tabs of these views: gradio leaves tabs in place whose `visible` an event takes
    away."""
    return f"<style>{' '.join(f'#tab-{name}-button {{ display: none; }}' for name in names)}</style>"


def _chosen(name: str) -> Callable[[str], tuple[object, object]]:
    """Lets a tab's view compute, unless the page itself has just chosen it, which has done so."""
    return lambda before: (gr.skip(), gr.skip()) if before == name else (name, now())


def _changing(view: View, page: Page) -> list[Component]:
    """Components that `refresh` or a link may change."""
    found: list[Component] = list(page.controls[view.name].values())
    for value in vars(view).values():
        if isinstance(value, Component):
            found.append(value)
        elif hasattr(value, "gallery"):
            found += [value.gallery, value.number, value.upload]
    return found


def _from_link(component: Component, value: str) -> object:
    """Returns a parameter of a link as the component's value; views look at it before they believe it."""
    if isinstance(component, gr.CheckboxGroup):
        with contextlib.suppress(msgspec.DecodeError, msgspec.ValidationError):
            return msgspec.json.decode(value, type=list[str])
        return value.split(",")  # as links were before
    if isinstance(component, (gr.Number, gr.Slider)):
        try:
            number = float(value)
            if abs(number) <= MOST_NUMBER:
                return number if "." in value else int(number)
        except (ValueError, OverflowError):
            pass
        raise UserError(f"The link says {value[:40]!r} where a number belongs")
    return value[:200]


def _described(opened: Opened, reasons: dict[str, str]) -> str:
    """Returns the run in a line, and the views it doesn't have, with why, as HTML."""
    spec = opened.model.spec
    looks = f"{spec.names[0]}: {spec.a}; {spec.names[1]}: {spec.b}" if len(opened.domains) > 1 else f"{spec.a}"
    data = f"; {opened.data.name}" if opened.data else ""
    lines = [f"{opened.model.name}, step {opened.model.step}{data}; {looks}."]
    if not opened.data:
        lines.append(f"Its data can't be read, so upload pictures ({opened.without_data}).")
    if opened.indexes and not opened.index:
        lines.append("None of the indexes was made by this model.")
    repeated = f" ({opened.without_data})"  # in a line of its own
    absent: dict[str, list[str]] = {}
    for title, reason in reasons.items():
        if reason:
            absent.setdefault(reason.replace(repeated, ""), []).append(title)
    if absent:
        lines.append("Not for this run: " + "; ".join(f"{', '.join(absent[why])}: {why}" for why in absent) + ".")
    return "".join(map(plain, lines))
