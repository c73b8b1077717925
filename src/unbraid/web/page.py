"""The frame that views stand in: controls, events, errors in words, links, time-outs. The only file, with `views`, that
builds gradio components.

Every event takes what the client sends as it is (`preprocess=False`): gradio then opens no file and fetches no
address for it, and `values` and `uploads` look at each value.
"""

import asyncio
import functools
import html
import re
import sys
import time
import traceback
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable
from urllib.parse import urlencode

import gradio as gr
import numpy as np
from gradio.blocks import Block
from gradio.components import Component
from gradio.events import Dependency
from gradio.processing_utils import save_pil_to_cache
from PIL import Image
from torch import Tensor

from unbraid.core.files import Json
from unbraid.core.types import Domain, UserError
from unbraid.model.codes import evenly_spaced
from unbraid.model.drawing import to_picture
from unbraid.web.figures import Cell, described, sheet, thumbnail
from unbraid.web.runs import Opened, Runs
from unbraid.web.uploads import read_upload, readable
from unbraid.web.values import Choice, File, Text, Value, Words, checked, whole

SECONDS = 90.0
"""An answer that takes longer is given up."""
PICKED = 12
"""Test images in a gallery to pick from."""


@dataclass(frozen=True)
class Answer:
    """Pictures in rows, the parameters that their files hold, what stands under them, and the query of a link that
    shows them again.

    query is None where a link can't say it all, as for uploaded pictures.
    """

    rows: Sequence[Sequence[Cell]]
    about: dict[str, str]
    words: str
    query: dict[str, object] | None

    @property
    def columns(self) -> int:
        """Pictures in the longest row."""
        return max(map(len, self.rows))

    def files(self, folder: Path, name: str) -> list[tuple[str, str]]:
        """Writes each picture into its own file, as large as the model makes it: PNG under `folder`. Returns the files,
        row by row, with what is to stand under each; an empty picture, with nothing under it, where there is none."""
        found, cells = [], [cell for row in self.rows for cell in (*row, *[Cell(None)] * (self.columns - len(row)))]
        while cells[-1].x is None:
            cells.pop()
        for cell in cells:
            words = "" if cell.x is None else cell.words
            picture = Image.new("LA", (1, 1)) if cell.x is None else to_picture(cell.x)
            file = "-".join(re.findall(r"\w+", f"{name} {words}"))[:80]
            found.append((_saved(described(picture, {**self.about, "picture": words}), folder, file), words))
        return found


Trigger = Callable[..., Dependency]
"""An event of a component, which takes the function to call."""
Updates = dict[Block, object]
"""By component, what an event sets it to: a value, or what `gr.update` gives."""


@runtime_checkable
class View(Protocol):
    """One tab. `name` is also that of its endpoint."""

    name: str
    title: str

    def missing(self, opened: Opened) -> str:
        """Returns why this run has no such view; empty if it has."""
        ...

    def build(self, page: "Page") -> None:
        """Adds components and events."""
        ...

    def refresh(self, opened: Opened, domain: str | None) -> Updates:
        """Returns what components must know of another run: choices, thumbnails, first values. domain: what a link asks
        for."""
        ...


@dataclass
class Page:
    """Parts that views share while the page is built."""

    runs: Runs
    folder: Path
    run: gr.Dropdown
    controls: dict[str, dict[str, Component]] = field(default_factory=dict)
    """Of each view, the components that a link may set, by the name of its parameter."""
    starts: dict[str, gr.State] = field(default_factory=dict)
    """Of each view, a state that makes it compute when it changes."""

    def answers(
        self,
        view: View,
        compute: Callable[..., Answer],
        inputs: dict[str, Component],
        triggers: Sequence[Trigger],
        label: str,
    ) -> None:
        """Offers a picture, words and a link, computed at each of the triggers and offered to programs as
        /{view.name}.

        Args:
            view: Offers it.
            compute: Takes the run's name and then the inputs, in their order.
            inputs: By name.
            triggers: Events.
            label: Of the picture.
        """
        pictures = gr.Gallery(
            label=label, show_label=False, format="png", interactive=False, height="auto", object_fit="contain",
            buttons=["download", "fullscreen"], elem_classes="cells", elem_id=f"{view.name}-picture",
        )  # fmt: skip
        words = gr.Textbox(visible=False)  # as programs get them
        caption = gr.HTML(elem_id=f"{view.name}-words", elem_classes="words")
        with gr.Row(elem_classes="saving"):
            link = gr.HTML(elem_id=f"{view.name}-link")
            whole = gr.DownloadButton("Save all as one picture", size="sm", min_width=120, elem_id=f"{view.name}-sheet")
        files = gr.State()  # which no program gets

        @functools.wraps(compute)
        def answered(*values: object) -> tuple[str, str, str, tuple[int, list[tuple[str, str]]]]:
            answer = compute(*values)
            name = f"{values[0]}-{view.name}"
            picture = _saved(sheet(answer.rows, answer.about), self.folder, "-".join(re.findall(r"\w+", name)))
            found = answer.columns, answer.files(self.folder, name)
            return picture, answer.words, linked(view.name, answer.query), found

        def laid_out(text: object, found: tuple[int, list[tuple[str, str]]] | None) -> tuple[object, str]:
            columns, cells = found or (1, [])
            return gr.update(value=cells, columns=columns, selected_index=None), plain(str(text or ""))

        done = self.event(
            answered, [self.run, *inputs.values()], [whole, words, link, files], [*triggers, self.start(view)],
            view.name, progress=pictures, clears=[pictures, caption],
        )  # fmt: skip
        self.event(laid_out, [words, files], [pictures, caption], [done.success], queue=False)
        self.controls.setdefault(view.name, {}).update({k: v for k, v in inputs.items() if not isinstance(v, gr.Image)})

    @contextmanager
    def serving(self, view: View, run: str) -> Iterator[Opened]:
        """Returns a run that has this view. Raises UserError, with the reason, for one that hasn't."""
        with self.runs.using(run) as opened:
            reason = view.missing(opened)
            if reason:
                raise UserError(f"{view.title} is not for {opened.name}: {reason}")
            yield opened

    def turns(self, domain: Component, *pickers: "Picker") -> None:
        """Lets pickers show the test items of the domain that is chosen; what was uploaded means nothing in it."""

        def turned(run: str, side: str) -> tuple[object, ...]:
            with self.runs.using(run) as opened:
                found = thumbnails(opened, opened.known(side))
            return *[found] * len(pickers), *[None] * len(pickers)

        outputs = [*(picker.gallery for picker in pickers), *(picker.upload for picker in pickers)]
        self.event(turned, [self.run, domain], outputs, [domain.input], queue=False)  # pyright: ignore[reportAttributeAccessIssue]

    def start(self, view: View) -> Trigger:
        """Returns the event that tells a view to show itself."""
        return self.starts[view.name].change

    def event(
        self,
        fn: Callable[..., object],
        inputs: Sequence[Component],
        outputs: Sequence[Block],
        triggers: Sequence[Trigger],
        name: str | None = None,
        queue: bool = True,
        progress: Component | None = None,
        clears: Sequence[Block] = (),
    ) -> Dependency:
        """Connects one function with some triggers. Where an endpoint fails, its outputs are emptied: what they showed
        answered something else; so are boxes of what was uploaded, if it can't be read.

        Args:
            fn: The function.
            inputs: Its arguments.
            outputs: Take what it returns.
            triggers: Events that call it.
            name: Of an endpoint for programs, if it is one.
            queue: Whether calls wait for each other.
            progress: The component that says that the function is at work; all of its outputs, if not given.
            clears: What is emptied with the outputs.
        """
        about: Json = {
            "inputs": list(inputs),
            "outputs": list(outputs),
            "preprocess": False,
            "queue": queue,
            "show_progress": "full" if name else "hidden",
            "show_progress_on": progress,
            "api_name": name,
            "api_visibility": "public" if name else "private",
            "concurrency_id": "answers" if queue else None,
            "trigger_mode": "always_last" if queue else "once",
        }
        checked = friendly(fn, [kind_of(component) for component in inputs])
        if len(triggers) == 1:
            about.pop("concurrency_id") if not queue else None
            done = triggers[0](checked, **about)
        else:
            done = gr.on(list(triggers), checked, **about)
        if name:
            empty = [*outputs, *clears]
            self.event(lambda: [None] * len(empty), [], empty, [done.failure], queue=False)
            if boxes := [component for component in inputs if isinstance(component, gr.Image)]:

                def refused(*uploads: object) -> Updates:
                    with self.runs.turn():
                        kept = [sent is None or readable(sent, self.folder) for sent in uploads]
                    return {box: gr.skip() if keep else None for box, keep in zip(boxes, kept, strict=True)}

                self.event(refused, boxes, boxes, [done.failure], queue=False)
        return done


def _saved(picture: Image.Image, folder: Path, name: str) -> str:
    """Writes a PNG file with the picture's metadata. Returns its place."""
    return save_pil_to_cache(picture, str(folder), name, "png")


def plain(text: str) -> str:
    """Returns HTML that shows text as it is written. Markdown would read what stands in the names of files."""
    return f"<p>{html.escape(text)}</p>"


def captioned(words: object) -> tuple[object, str]:
    """Returns what gives a picture its alternative text, and these words, or none yet, as HTML."""
    text = str(words or "")
    return gr.update(alt_text=text), plain(text)


def linked(view: str, query: dict[str, object] | None) -> str:
    """Returns a link that shows the view again."""
    if query is None:
        return '<p class="link">An uploaded picture can\'t be linked to; the download holds the other parameters.</p>'
    words = urlencode({"view": view, **{k: v for k, v in query.items() if v not in ("", None)}})
    return f'<p class="link"><a href="./?{html.escape(words)}">Link to this view</a></p>'


def kind_of(component: Component) -> Any:
    """Returns the type of what a component sends, for `checked`; a state, which no client sends, may be anything."""
    if isinstance(component, gr.State):
        return Any
    if isinstance(component, gr.Image):
        return File
    if isinstance(component, gr.CheckboxGroup):
        return Words
    if isinstance(component, gr.Dropdown) and component.value is None:  # there may be nothing to choose from
        return Choice
    return Value if isinstance(component, (gr.Number, gr.Slider, gr.Textbox)) else Text


def friendly(fn: Callable[..., object], kinds: Sequence[object] = ()) -> Callable[..., Coroutine[None, None, object]]:
    """Wraps `fn`: it runs in a thread, is given up after SECONDS, and its errors are put into words. What isn't the
    user's goes to standard error.

    kinds: of its first values, which are checked before.
    """

    @functools.wraps(fn)
    async def guarded(*values: object) -> object:
        try:
            for value, kind in zip(values, kinds, strict=False):
                checked(value, kind)
            return await asyncio.wait_for(asyncio.to_thread(fn, *values), SECONDS)
        except TimeoutError:
            raise _error("This takes too long here and was given up") from None
        except UserError as error:
            raise _error(str(error)) from None
        except Exception:
            traceback.print_exc(file=sys.stderr)
            raise _error("Something went wrong; the command's window says what. The page goes on working") from None

    return guarded


def _error(words: str) -> gr.Error:
    # the page shows it as HTML, and it may hold what a client sent
    return gr.Error(html.escape(words, quote=False), print_exception=False, title="That didn't work")


class Picker:
    """An item of a domain: picked among test images, by its number, or uploaded."""

    def __init__(self, page: Page, label: str, optional: bool = False) -> None:
        self.page, self.label, self.optional = page, label, optional
        key = label.lower().replace(" ", "-")
        self.gallery = small_gallery(f"{label}: pick a test image")
        with gr.Row():
            self.number = gr.Number(
                None if optional else 0, label=f"{label}: number of the test item" + (" (or none)" if optional else ""),
                precision=0, min_width=120, elem_classes=f"number-{key}",
            )  # fmt: skip
            self.upload = upload(f"{label}: your own", label, f"upload-{key}")

    def reset(self, thumbs: list[tuple[Image.Image, str]], number: int | None = 0) -> Updates:
        """Returns what this becomes for another run: these thumbnails, and the test item that is picked."""
        return {self.gallery: thumbs, self.number: number, self.upload: None}

    def follows(self, domain: Component, view: View) -> None:
        """Picking takes an item of the domain that this component says, and lets the view compute."""

        def pick(run: str, side: str, event: gr.EventData) -> tuple[int, None, int]:
            with self.page.runs.using(run) as opened:
                return picked(opened, opened.known(side), event), None, now()

        self.page.event(
            pick,
            [self.page.run, domain],
            [self.number, self.upload, self.page.starts[view.name]],
            [self.gallery.select],
        )

    def read(
        self, opened: Opened, domain: Domain, number: object, upload: object
    ) -> tuple[Tensor, str, str, int | None]:
        """Reads an item: returns it, (1, *shape), its name, what to say of it, its number if it is a test item.

        Args:
            opened: The run.
            domain: Of the item.
            number: Of a test item.
            upload: An image in its place.

        Raises:
            UserError: There is none.
        """
        if upload is not None:
            x, note = read_upload(upload, opened.image_spec(domain), self.page.folder)
            return x, "uploaded", note, None
        if number is None or number == "":
            raise UserError(f"{self.label}: pick a test image, give its number, or upload one")
        at = whole(number, f"{self.label}: number of the test item", 0, max(0, opened.count(domain) - 1))
        return (
            opened.item(domain, at),
            f"{opened.title(domain, at)} (test item {at}{opened.of(domain)})",
            "",
            at,
        )


def small_gallery(label: str) -> gr.Gallery:
    """Returns a gallery of test images to pick from."""
    return gr.Gallery(
        label=label, columns=6, height="auto", allow_preview=False, buttons=[], elem_classes="picker",
        interactive=False, object_fit="contain", format="png",
    )  # fmt: skip


def upload(label: str, what: str, css: str | None = None) -> gr.Image:
    """Returns where an image of one's own is uploaded. what: it is called; css: its class. See `read_upload`."""
    return gr.Image(
        label=label, type="filepath", sources=["upload", "clipboard"], height=120, min_width=120, buttons=[],
        alt_text=f"{what}, as uploaded", elem_classes=css,
    )  # fmt: skip


def directions(opened: Opened) -> list[tuple[str, str]]:
    """Returns both directions of translation in words, with the domain that each begins with."""
    a, b = opened.model.spec.names
    return [(f"from {a} to {b}", "a"), (f"from {b} to {a}", "b")]


def choice(opened: Opened, domains: Sequence[Domain], value: Domain) -> object:
    """Returns what makes a component offer some domains of a run, or hides it where the run has one.

    Args:
        opened: The run.
        domains: To choose from.
        value: The one that is chosen.
    """
    return gr.update(choices=opened.choices(domains), value=value, visible=len(opened.domains) > 1)


def positions(opened: Opened, domain: Domain) -> np.ndarray:
    """Returns where in the test part the thumbnails are from."""
    return evenly_spaced(np.arange(opened.count(domain)), PICKED)


def picked(opened: Opened, domain: Domain, event: gr.EventData) -> int:
    """Returns the test item of the thumbnail that was picked.

    Args:
        opened: The run.
        domain: Of the item.
        event: The choice.
    """
    places = positions(opened, domain)
    return int(places[whole(getattr(event, "index", None), "The picture that was picked", 0, len(places) - 1)])


def thumbnails(opened: Opened, domain: Domain) -> list[tuple[Image.Image, str]]:
    """Returns test images to pick from, with their numbers."""
    return [
        (thumbnail(opened.item(domain, int(at))[0]), f"test item {at}{opened.of(domain)}")
        for at in positions(opened, domain)
    ]


def about(opened: Opened, **parameters: object) -> dict[str, str]:
    """Returns the text chunks of a picture."""
    model = f"{opened.model.name}, step {opened.model.step}"
    given = {key: str(value) for key, value in parameters.items() if value not in (None, "")}
    return {"run": opened.name, "model": model, **given}


def now() -> int:
    """Returns what a start is set to: a number that it never had. Only events in the queue may: others leave it
    unheard."""
    return time.time_ns()


def sentence(*parts: str) -> str:
    """Returns some remarks as sentences. The name of a file stays as it is."""
    named = [any(mark in part.split(" ", 1)[0] for mark in "/._") or "(test item " in part for part in parts]
    kept = [part if name else f"{part[0].upper()}{part[1:]}" for part, name in zip(parts, named, strict=True) if part]
    return " ".join(f"{part.rstrip('.')}." for part in kept)
