"""Codes: test items on two maps, by their shared and by their exclusive code, and what probes read out of these."""

import html
from typing import Literal

import gradio as gr
import numpy as np
import torch

from unbraid.core.files import Json
from unbraid.core.types import UserError
from unbraid.evaluation.measures.leakage import parted
from unbraid.model.codes import evenly_spaced
from unbraid.web.figures import download, scatter, tiles
from unbraid.web.page import Page, Updates, about, linked
from unbraid.web.runs import Opened
from unbraid.web.values import MOST_SEED, one_of, whole

Layout = Literal["pca", "t-sne"]
MOST_POINTS = 600
"""Items on a map: t-SNE takes seconds for these, and their pictures half a megabyte."""
FEWEST = 8
"""Items that a t-SNE is made of, at least."""
LARGEST = 20_000
"""Values of a code that is mapped, at most."""
DIRECTIONS = 30
"""Principal components that t-SNE starts from."""


class CodesView:
    """The view."""

    name, title = "codes", "Codes"

    def missing(self, opened: Opened) -> str:
        """Returns why this run has no such view; empty if it has."""
        if not opened.model.spec.of_images:
            return "its items are vectors, without pictures"
        if not any(shared for shared, _ in opened.sizes.values()):
            return f"{opened.model.name} has no codes"
        return "" if opened.data else f"its test part can't be read ({opened.without_data})"

    def build(self, page: Page) -> None:
        """Builds components and events."""
        with gr.Row():
            layout = gr.Radio(["pca", "t-sne"], value="pca", label="Layout", min_width=140)
            self.colour = gr.Radio(["domain"], value="domain", label="Coloured by", min_width=140)
            items = gr.Slider(20, MOST_POINTS, 300, step=20, label="Test items", min_width=140)
            seed = gr.Number(0, label="Seed of t-SNE", precision=0, min_width=80)
            show = gr.Button("Draw", variant="primary", min_width=100)
        maps = gr.HTML(elem_id="codes-maps")
        link = gr.HTML(elem_id="codes-link")
        table = gr.JSON(visible=False)

        def codes(run: str, layout: str, colour: str, items: object, seed: object) -> tuple[str, str, Json]:
            """Returns two maps as SVG, a link, and positions, labels and leakage figures as JSON."""
            way: Layout = "pca" if one_of(layout, "The layout", ("pca", "t-sne")) == "pca" else "t-sne"
            count = whole(items, "Test items", 4, MOST_POINTS)
            start = whole(seed if seed is not None else 0, "Seed", 0, MOST_SEED)
            with page.serving(self, run) as opened:
                drawn, numbers = _maps(opened, way, colour, count, start)
            query = {"run": run, "layout": way, "colour": colour, "items": count, "seed": start}
            return drawn, linked(self.name, query), numbers

        triggers = [show.click, layout.input, self.colour.input, items.release, seed.input, page.start(self)]
        inputs = {"layout": layout, "colour": self.colour, "items": items, "seed": seed}
        page.event(codes, [page.run, *inputs.values()], [maps, link, table], triggers, self.name)
        page.controls[self.name] = inputs

    def refresh(self, opened: Opened, domain: str | None) -> Updates:
        """Returns what points can be coloured by."""
        names = colours(opened)
        return {self.colour: gr.update(choices=names, value=names[0])}


def colours(opened: Opened) -> list[str]:
    """Returns what is known of test items."""
    labels = list(opened.labels("a", np.array([0])))
    return (["domain"] if len(opened.domains) > 1 else []) + labels or ["nothing"]


def _maps(opened: Opened, layout: Layout, colour: str, count: int, seed: int) -> tuple[str, Json]:
    one_of(colour, "The colour", colours(opened))
    each = max(2, count // len(opened.domains))
    groups: list[str] = []
    words: list[str] = []
    where: list[tuple[str, int]] = []
    pictures: list[torch.Tensor] = []
    parts: dict[str, list[torch.Tensor]] = {"shared": [], "exclusive": []}
    for domain in opened.domains:
        gallery = opened.gallery(domain)
        chosen = evenly_spaced(np.arange(len(gallery.at)), each)
        at = gallery.at[chosen]
        rows = torch.from_numpy(chosen)
        parts["shared"].append(gallery.codes.shared[rows].flatten(1))
        parts["exclusive"].append(gallery.codes.exclusive[rows].flatten(1))
        labels = opened.labels(domain, at)
        groups += labels.get(colour, [opened.called(domain)] * len(at))
        where += [(domain, int(i)) for i in at]
        pictures += [opened.item(domain, int(i))[0] for i in at]
        for k, i in enumerate(at):
            known = ", ".join(f"{name} {values[k]}" for name, values in labels.items())
            words.append(
                f"{opened.title(domain, int(i))}, test item {i}{opened.of(domain)}" + (f", {known}" if known else "")
            )
    board = tiles(pictures)
    drawn, numbers = [], {}
    for part, codes in parts.items():
        if len({code.shape[1] for code in codes}) > 1 or not 0 < codes[0].shape[1] <= LARGEST:
            sizes = " and ".join(dict.fromkeys(f"{code.shape[1]} values" for code in codes))
            drawn.append(f'<p class="absent">No map of exclusive codes: they have {sizes}.</p>')
            continue
        at = laid_out(torch.cat(codes).numpy(), layout, seed)
        drawn.append(scatter(f"{part} codes, {layout}", at, groups, words))
        numbers[part] = [
            {"domain": d, "item": i, "group": group, "x": round(float(x), 4), "y": round(float(y), 4)}
            for (d, i), group, (x, y) in zip(where, groups, at, strict=True)
        ]
    leakage = leaks(opened)
    chosen_by = {"layout": layout, "colour": colour, "items": str(count), "seed": str(seed), "data": opened.remark}
    save = download(f"{opened.name}-codes", drawn, about(opened, **chosen_by))
    remark = f"<p>{html.escape(opened.remark)}</p>" if opened.remark else ""
    text = (
        f'<div class="maps" data-tiles="{board.url}" data-columns="{board.columns}" data-rows="{board.rows}" '
        f'data-size="{board.size}">{"".join(drawn)}<div class="hover" hidden aria-live="polite"><div></div><p></p>'
        f"</div></div>{save}{_leak_table(opened, leakage)}{remark}"
    )
    return text, {**numbers, "leakage": leakage}


def laid_out(codes: np.ndarray, layout: Layout, seed: int) -> np.ndarray:
    """Returns codes in two dimensions, (n, 2): principal components, or t-SNE of the first of these.

    Args:
        codes: (n, d).
        layout: Which of the two.
        seed: Of t-SNE.
    """
    x = codes.astype(np.float64) - codes.mean(0)
    left, deviations, _ = np.linalg.svd(x, full_matrices=False)
    components = left[:, :DIRECTIONS] * deviations[:DIRECTIONS]
    if layout == "pca":
        return np.pad(components[:, :2], ((0, 0), (0, max(0, 2 - components.shape[1]))))
    if len(x) < FEWEST:
        raise UserError(f"t-SNE needs {FEWEST} items at least, and there are {len(x)}")
    from sklearn.manifold import TSNE

    far = min(30.0, (len(x) - 1) / 3)
    return TSNE(perplexity=far, init="random", random_state=seed, n_jobs=1).fit_transform(components)


def leaks(opened: Opened) -> Json:
    """Returns the probes of metrics.json: {what: {linear, mlp, chance, ...}}. Empty before `evaluate`."""
    found = opened.run.metrics().get("probes", {})
    table: Json = {}

    def gather(rows: Json, before: str) -> None:
        for what, kinds in rows.items():
            if not isinstance(kinds, dict):
                continue
            if "linear" in kinds:
                figures = {k: kinds[k].get("accuracy", kinds[k].get("r2")) for k in ("linear", "mlp") if k in kinds}
                controls = [kinds[kind]["control"] for kind in figures if "control" in kinds[kind]]
                table[f"{before}{what}"] = {
                    **figures,
                    "chance": kinds["linear"].get("chance"),
                    "control": min(controls, default=None),
                    "conclusive": all(kinds[kind].get("conclusive", False) for kind in figures),
                }
            else:
                gather(kinds, f"{before}{what}: ")

    gather(found, "")
    return table


def _leak_table(opened: Opened, leakage: Json) -> str:
    if not leakage:
        return '<p class="absent">What probes read out of the codes is not measured yet: unbraid evaluate RUN.</p>'

    def named(what: str) -> str:
        name, side = parted(what)
        return f"{name}, {opened.called(opened.known(side))}" if side else name

    rows = "".join(
        f"<tr><td>{html.escape(named(what))}</td>"
        + "".join(
            f"<td>{'' if row.get(k) is None else format(row[k], '.4g')}</td>"
            for k in ("linear", "mlp", "chance", "control")
        )
        + f"<td>{'' if row['conclusive'] else 'says nothing: no high control'}</td></tr>"
        for what, row in leakage.items()
    )
    return (
        '<table class="leaks"><caption>What probes read out of the codes (accuracy in percent, or R^2)</caption>'
        "<thead><tr><th>what</th><th>linear</th><th>one hidden layer</th><th>chance</th><th>control</th><th></th></tr>"
        "</thead>"
        f"<tbody>{rows}</tbody></table>"
    )
