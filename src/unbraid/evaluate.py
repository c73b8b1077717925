"""Measures a run on its test part: metrics.json, pictures, example files, and the model card."""

import datetime
import json
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

import unbraid
from unbraid.apply import Trained
from unbraid.codes import encode_part, read, same_view, spread
from unbraid.config import Distance
from unbraid.data.parts import Data, PairedPart
from unbraid.files import read_json, write_atomically, write_json
from unbraid.metrics.retrieval import recall
from unbraid.run import Run
from unbraid.show import grid, save_gif, save_picture, to_picture
from unbraid.types import DOMAINS, Codes, Domain, ImageSpec, UserError, other

PICTURED = 8
"""Items in a picture."""


def measure(run: Run, model: Trained, data: Data, distance: Distance | None = None) -> dict[str, Any]:
    """Recall both ways on the test part, of shared and exclusive codes and of pixels; what metrics.json holds.

    Raises UserError if the data has no pairs.
    """
    part = data.test
    if not isinstance(part, PairedPart):
        raise UserError(f"{data.name} has no known pairs, so there is nothing to measure retrieval by")
    distance = distance or run.config.train.distance
    if model.space is None:
        distance = "euclidean"
    codes: dict[Domain, Codes] = {domain: encode_part(model.method, part, domain) for domain in DOMAINS}
    labels = None if part.labels is None else torch.from_numpy(part.labels[part.rows])
    views = same_view(data, len(part))
    metrics: dict[str, Any] = {
        "protocol": {
            "data": data.name,
            "part": "test",
            "queries": len(part),
            "gallery": len(part),
            "hit": "pair" if views is None else f"any of the {data.test_views} pairs with the same image of domain a",
            "distance": distance,
            "exclusive and pixel distance": "euclidean",
            "model": f"{model.name}, step {model.step}, chosen on the validation part ({len(data.val)} pairs)",
            "seed": run.config.train.seed,
            "remark": data.remark,
            "version": unbraid.__version__,
            "date": datetime.date.today().isoformat(),
        },
        "recall": _recalls(codes, part, distance, model, views),
    }
    if labels is not None:
        metrics["recall_label"] = _recalls(codes, part, distance, model, labels)
    for elsewhere in get_args(Distance):
        if elsewhere not in (distance, *(() if model.space else ("whitened", "cosine"))):
            figures = recall(codes["a"].shared, codes["b"].shared, views, elsewhere, model.space)
            metrics[f"recall_{elsewhere}"] = {"shared": figures}
    return metrics


def _recalls(
    codes: dict[Domain, Codes], part: PairedPart, distance: Distance, model: Trained, labels: Tensor | None
) -> dict[str, Any]:
    a, b = codes["a"], codes["b"]
    table = {"shared": recall(a.shared, b.shared, labels, distance, model.space)}
    if a.exclusive.shape == b.exclusive.shape:
        table["exclusive"] = recall(a.exclusive, b.exclusive, labels)
    x, y = read(part, "a"), read(part, "b")
    if x.shape == y.shape:
        table["pixels"] = recall(x, y, labels)
    return table


def pictures(model: Trained, data: Data, folder: Path) -> list[Path]:
    """Translations, analogies and interpolations of test images, drawn into `folder`; the files. Vectors have none."""
    if not all(isinstance(model.spec[domain], ImageSpec) for domain in DOMAINS) or not isinstance(
        data.test, PairedPart
    ):
        return []
    files = []
    items = {domain: read(data.test, domain, PICTURED) for domain in DOMAINS}
    for domain in DOMAINS:
        x, y = items[domain], items[other(domain)]
        files.append(_translations(model, x, y, domain, folder / f"translate-{domain}-to-{other(domain)}.png"))
        made = model.analogy(x[:5], x[-5:], domain)
        rows = [[None, *x[-5:]], *([item, *row] for item, row in zip(x[:5], made, strict=True))]
        picture = grid(rows, ["shared", "exclusive"])
        files.append(folder / f"analogy-{domain}.png")
        save_picture(picture, files[-1])
        for what in ("shared", "exclusive"):
            frames = model.interpolate(x[:1], x[-1:], what, domain)
            files.append(folder / f"interpolate-{what}-{domain}.png")
            save_picture(grid([[x[0], *frames, x[-1]]], ["first", *[""] * len(frames), "second"]), files[-1])
            save_gif(list(frames), files[-1].with_suffix(".gif"))
    return files


def _translations(model: Trained, x: Tensor, y: Tensor, source: Domain, path: Path) -> Path:
    target = other(source)
    samples = model.translate(x, source, target, samples=4)
    guided = torch.cat([model.translate(x[i : i + 1], source, target, like=y[i : i + 1])[:, 0] for i in range(len(x))])
    rows = [[x[i], *samples[i], guided[i], y[i]] for i in range(len(x))]
    save_picture(grid(rows, ["input", *(f"sample {i + 1}" for i in range(4)), "guided", "true"]), path)
    return path


def examples(data: Data, folder: Path, count: int = PICTURED) -> None:
    """A few test images as PNG files, to try the commands on: folder/a/NAME.png and folder/b/NAME.png."""
    part = data.test
    if not isinstance(part, PairedPart):
        return
    for domain in DOMAINS:
        if not isinstance(data.spec[domain], ImageSpec):
            continue
        for row, x in zip(spread(part.rows, count), read(part, domain, count), strict=True):
            name = str(part.names[int(row)]).replace("/", "_")
            save_picture(to_picture(x), folder / domain / f"{name}.png")


def table(metrics: dict[str, Any]) -> str:
    """The recalls as lines of text."""
    lines = [f"{'recall, %':<22}{'way':<8}" + "".join(f"@{k:<8}" for k in ("1", "5", "10"))]
    keys = [("recall", "pair"), ("recall_label", "label")]
    keys += [
        (key, key.removeprefix("recall_")) for key in metrics if key.startswith("recall_") and key != "recall_label"
    ]
    for key, label in keys:
        for what, ways in metrics.get(key, {}).items():
            for way, values in ways.items():
                figures = "".join(f"{values[k]:<9.2f}" for k in ("1", "5", "10"))
                lines.append(f"{f'{what} ({label})':<22}{way:<8}{figures}")
    return "\n".join(lines)


def card(run: Run, metrics: dict[str, Any], model: Trained, command: str) -> str:
    """The run's README.md: what it is, how it was made, what it scores, how to use it."""
    protocol = "\n".join(f"- {key}: {value}" for key, value in metrics["protocol"].items() if value != "")
    return f"""# {model.name} on {metrics["protocol"]["data"]}

Domain a: {model.spec.a}. Domain b: {model.spec.b}. Made by unbraid {unbraid.__version__}.

## What it scores

```
{table(metrics)}
```

{protocol}

## How to use it

```python
import unbraid
model = unbraid.load("{run.path}")
answers = model.translate(images, "a", "b", samples=4)   # images: (n, c, h, w) in [-1, 1]
```

    {command}

## Configuration

```json
{json.dumps(json.loads((run.path / "config.json").read_text())["config"], indent=1)}
```
"""


def evaluate(run: Run, model: Trained, data: Data, distance: Distance | None = None) -> dict[str, Any]:
    """Measures, draws, writes everything into the run's folder. Returns what metrics.json holds."""
    metrics = measure(run, model, data, distance)
    path = run.path / "metrics.json"
    if path.exists():  # what other measurements wrote stays
        before = {key: value for key, value in read_json(path).items() if not key.startswith("recall")}
        metrics = {**before, **metrics}
    write_json(path, metrics)
    pictures(model, data, run.path / "pictures")
    examples(data, run.path / "examples")
    text = card(run, metrics, model, f"unbraid translate {run.path} IMAGE... --source a --target b --out answers")
    write_atomically(run.path / "README.md", lambda file: file.write_text(text))
    return metrics
