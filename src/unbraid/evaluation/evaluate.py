"""Measures a run on its test part: metrics.json, pictures, example files, and the model card."""

import datetime
import json
from typing import Any, get_args

from unbraid.core.config import PACKAGED, Distance, PerceptualConfig
from unbraid.core.files import write_atomically, write_json
from unbraid.core.method import Disentangler
from unbraid.core.types import DOMAINS, Unpaired
from unbraid.core.version import __version__
from unbraid.data.equal import Pairing
from unbraid.data.parts import Data, LabelledPart, PairedPart, Part, UnpairedPart
from unbraid.evaluation.cycles import cycles
from unbraid.evaluation.generation import analogy, diversity, makes_images, nearest_view, through_translation
from unbraid.evaluation.meaning import attributes, domain_probe
from unbraid.evaluation.measurements import FEWEST, Judges, content_transfer, probes, residual, retrieval, translation
from unbraid.evaluation.metrics.images import FEATURES
from unbraid.evaluation.metrics.retrieval import KS
from unbraid.evaluation.pictures import cheat_pictures, examples, pictures
from unbraid.evaluation.zeroshot import class_count, has_classes, zero_shot
from unbraid.model.run import Run
from unbraid.model.trained import Trained

FEW = 20
"""Test items below which it is said that figures say little."""


def measure(
    run: Run,
    model: Trained,
    data: Data,
    distance: Distance | None = None,
    perceptual: PerceptualConfig = PACKAGED,
    limit: int | None = None,
) -> dict[str, Any]:
    """All that metrics.json holds. Raises UserError if weights that were asked for are no good."""
    part, seed = data.test, run.config.train.seed
    distance = (distance or run.config.train.distance) if model.space else "euclidean"
    judges = Judges.find(perceptual)
    chosen = f"chosen on the validation part ({len(data.val)} items)"
    if model.method.needs is Unpaired:
        chosen = "the last that was measured in training"
    elif not _chooses(data.val):
        chosen = "the last, for the validation part is too small to choose by"
    protocol: dict[str, Any] = {
        "data": data.name,
        "part": "test",
        "items": len(part),
        "model": f"{model.name}, step {model.step}, {chosen}",
        "features": FEATURES if judges.vgg else "",
        "seed": seed,
        "remark": "; ".join(filter(None, (_few(part), data.remark, judges.remark))),
        "version": __version__,
        "date": datetime.date.today().isoformat(),
    }
    metrics: dict[str, Any] = {"protocol": protocol}
    if isinstance(part, PairedPart) and isinstance(model.method, Disentangler):
        protocol |= {
            **_asked(Pairing.of(part)),
            "distance": distance,
            "exclusive and pixel distance": "euclidean",
            "interval": "95 %, by Wilson's score, queries taken for independent",
        }
        metrics |= retrieval(model, part, distance)
    if isinstance(part, UnpairedPart) and has_classes(part) and isinstance(model.method, Disentangler):
        if found := zero_shot(model.method, part, distance, model.space):
            metrics["zero_shot"] = found
        protocol |= {"hit": "any item of the query's class, which training never saw", "distance": distance}
    if isinstance(part, LabelledPart):
        measured = {"content_transfer": content_transfer(model, part, judges, limit, seed)}
    else:
        measured = {
            "recall_through_translation": through_translation(model, part, limit, seed),
            "translation": translation(model, part, judges, limit),
            "analogy": analogy(model, part, judges, limit, seed),
            "nearest_view": nearest_view(model, part, judges, limit, seed),
            "diversity": diversity(model, part, judges, limit, seed),
        }
        if isinstance(part, PairedPart):
            measured["residual"] = residual(model, part)
        if model.method.needs is Unpaired:
            measured |= cycles(model, part, judges, limit, seed)
        measured["attributes"] = attributes(model, data, judges, limit)
    measured["probes"] = probes(model, data, limit, seed)
    measured["domain_probe"] = domain_probe(measured["probes"], run.path / "log.jsonl")
    metrics |= {name: figures for name, figures in measured.items() if figures}
    return metrics | ({"not_measured": reasons} if (reasons := _not_measured(model, part, metrics)) else {})


def _chooses(val: Part) -> bool:
    """Whether retrieval on a validation part could fail."""
    if isinstance(val, PairedPart):
        return min(len(first) for first in Pairing.of(val).first.values()) > 1
    return not (isinstance(val, UnpairedPart) and has_classes(val)) or class_count(val) > 1


def _asked(items: Pairing) -> dict[str, Any]:
    """How many items of each domain are queries, and gallery, and what is a hit."""
    p, q = (len(items.first[domain]) for domain in DOMAINS)
    return {
        "queries": p if p == q else {"a->b": p, "b->a": q},
        "gallery": q if p == q else {"a->b": q, "b->a": p},
        "hit": "any counterpart of the query" if items.repeated else "pair",
    }


def _few(part: Part) -> str:
    """What to say of a test part of few items, "" of others."""
    if isinstance(part, PairedPart):
        count = min(len(first) for first in Pairing.of(part).first.values())
    else:
        count = min(len(part.rows_a), len(part.rows_b)) if isinstance(part, UnpairedPart) else len(part)
    if count >= FEW:
        return ""
    what = f"{count} item{'s' * (count != 1)}{'' if isinstance(part, LabelledPart) else ' of a domain'}"
    return f"the test part has {what}, and of fewer than {FEW} figures say little: add images, or raise --data.test"


def _not_measured(model: Trained, part: Part, metrics: dict[str, Any]) -> dict[str, str]:
    """Figures that a part is too small for, and why."""
    reasons: dict[str, str] = {}
    codes = isinstance(model.method, Disentangler)
    if isinstance(part, PairedPart):
        wanted = {"recall": "pair"} | ({} if part.labels is None else {"recall_label": "label"})
        for key, hit in wanted.items() if codes else ():
            ways = [metrics.get(key, {}).get("shared", {}).get(way, {}) for way in ("a->b", "b->a")]
            if missing := [f"@{k}" for k in KS if any(str(k) not in way for way in ways)]:
                reasons[f"recall {', '.join(missing)} ({hit})"] = "with so few items that are no hits no query can miss"
        if codes and "union" not in metrics:
            reasons["neighbours in both domains"] = "all other items would be among them"
        for way, figures in metrics.get("translation", {}).items():
            if "random" not in figures:
                reasons[f"{way} random"] = "there is no other item to take in place of an answer"
        if codes and "residual" in part.factors and "residual" not in metrics:
            reasons["residual"] = f"a correlation of fewer than {FEWEST} items says nothing"
    if isinstance(part, UnpairedPart) and has_classes(part) and codes and "zero_shot" not in metrics:
        reasons["unseen classes"] = "the test part has a single class, so that every item is a hit"
    return reasons


def table(metrics: dict[str, Any]) -> str:
    """The figures as lines of text."""
    return "\n\n".join(
        "\n".join(lines)
        for lines in (
            _recalls(metrics),
            _zero_shot(metrics),
            _union(metrics),
            _residual(metrics),
            _distances(metrics),
            _samples(metrics),
            cheats(metrics),
            _attributes(metrics),
            _probes(metrics),
            ["not measured", *(f"{what}: {why}" for what, why in metrics.get("not_measured", {}).items())],
        )
        if len(lines) > 1
    )


def _recalls(metrics: dict[str, Any]) -> list[str]:
    lines = [f"{'recall, % (95 %)':<22}{'way':<8}" + "".join(f"@{k:<19}" for k in KS).rstrip()]
    keys = [("recall", "pair"), ("recall_label", "label")]
    keys += [(f"recall_{name}", name) for name in get_args(Distance)]
    rows = {f"{what} ({label})": ways for key, label in keys for what, ways in metrics.get(key, {}).items()}
    through = metrics.get("recall_through_translation", {})
    rows |= {f"translated ({label})": through[label] for label in ("pair", "label") if label in through}
    for what, ways in rows.items():
        for way, values in ways.items():
            lines.append(f"{what:<22}{way:<8}{''.join(f'{_share(values, k):<20}' for k in KS)}".rstrip())
    return lines


def _share(recall: dict[str, Any], k: int) -> str:
    """Recall at k with its interval, which older files lack; "-" if it was not measured."""
    if str(k) not in recall:
        return "-"
    bounds = recall.get("interval", {}).get(str(k))
    return f"{recall[str(k)]:.2f}" + (f" ({bounds[0]:.1f}-{bounds[1]:.1f})" if bounds else "")


def _zero_shot(metrics: dict[str, Any]) -> list[str]:
    found = metrics.get("zero_shot", {})
    lines = [f"{'unseen classes':<34}{'way':<8}{'mAP':<9}{'P@100':<9}{'recall@1, % (95 %)':<20}median rank"]
    rows = {f"shared ({name})": ways for name, ways in found.get("shared", {}).items()}
    rows |= {name: found[name] for name in ("binary", "exclusive") if name in found}
    for what, title in (("features", "features"), ("before the head", "raw features")):
        rows |= {f"{title} ({name})": ways for name, ways in found.get(what, {}).items()}
    for what, ways in rows.items():
        for way, values in ways.items():
            cells = f"{values['map']:<9.4f}{values['p_at_100']:<9.4f}{_share(values['recall'], 1):<20}"
            lines.append(f"{what:<34}{way:<8}{cells}{values['median_rank']:g}")
    return lines


def _union(metrics: dict[str, Any]) -> list[str]:
    names = ("other domain", "label", "counterpart")
    found = metrics.get("union", {})
    head = f"both domains, % of {found.get('neighbours')}"
    lines = [f"{head:<22}{'way':<8}" + "".join(f"{name:<14}" for name in names)]
    for what in ("shared", "exclusive", "pixels", "chance"):
        for way, values in found.get(what, {}).items():
            cells = "".join(f"{values[name]:<14.2f}" if name in values else f"{'':<14}" for name in names)
            lines.append(f"{what:<22}{way:<8}{cells}".rstrip())
    return lines


def _residual(metrics: dict[str, Any]) -> list[str]:
    found = metrics.get("residual", {})
    return ["correlation with the truth", *(f"{name:<30}{value:.4f}" for name, value in found.items())]


def _distances(metrics: dict[str, Any]) -> list[str]:
    names = ("lpips", "psnr", "ssim", "frechet", "kernel")
    lines = [f"{'images':<30}" + "".join(f"{name:<10}" for name in names)]
    rows = {"content": metrics.get("content_transfer", {}), **metrics.get("translation", {})}
    for way, figures in rows.items():
        for what, values in figures.items():
            if isinstance(values, dict) and values:
                cells = "".join(f"{values[n]:<10.4f}" if n in values else f"{'':<10}" for n in names)
                lines.append(f"{f'{way} {what}':<30}{cells}".rstrip())
    return lines


def _samples(metrics: dict[str, Any]) -> list[str]:
    names = ("distance", "distance deviation", "lpips", "lpips deviation", "psnr", "ssim")
    heads = ("distance", "+-", "lpips", "+-", "psnr", "ssim")
    lines = [f"{'made images':<36}" + "".join(f"{head:<10}" for head in heads).rstrip()]
    for key, title in {"analogy": "analogy", "nearest_view": "nearest view", "diversity": "diversity"}.items():
        for way, figures in metrics.get(key, {}).items():
            for what, values in figures.items():
                if isinstance(values, dict):
                    cells = "".join(f"{values[n]:<10.4f}" if n in values else f"{'':<10}" for n in names)
                    lines.append(f"{f'{title} {way} {what}':<36}{cells}".rstrip())
    return lines


def cheats(metrics: dict[str, Any]) -> list[str]:
    """The three measures of cycles as lines of text, as `unbraid cheat` prints them."""
    names = ("lpips", "psnr", "ssim", "distance")
    lines = [f"{'there and back':<40}" + "".join(f"{name:<10}" for name in names).rstrip()]
    for way, figures in metrics.get("cheat", {}).items():
        groups = {
            "hidden pair": metrics.get("hidden_pair", {}).get(way, {}),
            "decoding": figures["decoding"],
            "disturbed by": figures["sensitivity"],
        }
        for title, rows in groups.items():
            for what, values in rows.items():
                if isinstance(values, dict):
                    cells = "".join(f"{values[n]:<10.4f}" if n in values else f"{'':<10}" for n in names)
                    lines.append(f"{f'{way} {title}: {what}':<40}{cells}".rstrip())
        lines.append(f"{way} rounded to 8 bits, the way back ends {figures['jump']:.3f} times as far from its input")
    return lines


def _attributes(metrics: dict[str, Any]) -> list[str]:
    kinds = ("translations", "real", "random")
    lines = [f"{'attribute shown, % (balanced)':<40}" + "".join(f"{kind:<18}" for kind in kinds).rstrip()]
    for way, found in metrics.get("attributes", {}).items():
        for name, figures in found.items():
            pairs = [(figures[kind]["accuracy"], f"({figures[kind]['balanced']:.2f})") for kind in kinds]
            cells = "".join(f"{all_alike:<6.2f} {balanced:<11}" for all_alike, balanced in pairs)
            lines.append(f"{f'{way} {name}':<40}{cells}".rstrip())
    return lines


def _probes(metrics: dict[str, Any]) -> list[str]:
    lines = [f"{'probes':<52}{'linear':<10}{'mlp':<10}{'chance':<10}control, linear / mlp"]
    found = metrics.get("probes", {})
    nested = any("linear" not in values and "not measured" not in values for values in found.values())
    for part, rows in (found if nested else {"": found}).items():
        for what, kinds in rows.items():
            if "linear" in kinds:
                both = [kinds["linear"], kinds["mlp"]]
                figures = [kind.get("accuracy", kind.get("r2")) for kind in both]
                chance = both[0].get("chance")
                cells = [*(f"{value:.2f}" for value in figures), "" if chance is None else f"{chance:.2f}"]
                remark = " / ".join(f"{kind['control']:.2f}" for kind in both if "control" in kind)
                remark += silent(kinds)
                text = "".join(f"{cell:<10}" for cell in cells) + remark
                lines.append(f"{f'{part}: {what}' if part else what:<52}{text}".rstrip())
    return lines


def silent(kinds: dict[str, Any]) -> str:
    """Which readers of a probe say nothing, their control being low or not measured; "" if both say something."""
    names = [kind for kind in ("linear", "mlp") if not kinds[kind].get("conclusive")]
    return f" ({' and '.join(names)}: says nothing without a high control)" if names else ""


def card(run: Run, metrics: dict[str, Any], model: Trained) -> str:
    """The run's README.md: what it is, how it was made, what it scores, how to use it."""
    protocol = "\n".join(f"- {key}: {value}" for key, value in metrics["protocol"].items() if value != "")
    if "content_transfer" in metrics or (not model.spec.domains and model.spec.classes):
        about = f"Images: {model.spec.a}; {' x '.join(map(str, model.spec.classes))} classes."
        python = 'grid = model.analogy(content, classes, "a")   # images: (n, c, h, w) in [-1, 1]'
        command = f"unbraid transfer {run.path} --content IMAGE... --class IMAGE... --out grid.png"
    else:
        about = f"Domain a: {model.spec.a}. Domain b: {model.spec.b}."
        python = 'answers = model.translate(images, "a", "b", samples=4)   # images: (n, c, h, w) in [-1, 1]'
        command = f"unbraid translate {run.path} IMAGE... --source a --target b --out answers"
    return f"""# {model.name} on {metrics["protocol"]["data"]}

{about} Made by unbraid {__version__}.

## What it scores

```
{table(metrics)}
```

{protocol}

## How to use it

```python
model = unbraid.load("{run.path}")
{python}
```

    {command}

## Configuration

```json
{json.dumps(json.loads((run.path / "config.json").read_text("utf-8"))["config"], indent=1)}
```
"""


def evaluate(
    run: Run,
    model: Trained,
    data: Data,
    distance: Distance | None = None,
    perceptual: PerceptualConfig = PACKAGED,
    limit: int | None = None,
) -> dict[str, Any]:
    """Measures, draws, writes everything into the run's folder. Returns what metrics.json holds.

    limit: items, or tasks, of a figure, at most; retrieval takes all.
    """
    # what other commands wrote stays; read first, so that nothing is measured for a file that can't be read
    before = {key: value for key, value in run.metrics().items() if not key.startswith(("recall", "not_measured"))}
    metrics = {**before, **measure(run, model, data, distance, perceptual, limit)}
    write_json(run.path / "metrics.json", metrics)
    pictures(model, data, run.path / "pictures", run.config.train.seed)
    if model.method.needs is Unpaired and makes_images(model):
        cheat_pictures(model, data, run.path / "pictures", run.config.train.seed)
    examples(data, run.path / "examples")
    text = card(run, metrics, model)
    write_atomically(run.path / "README.md", lambda file: file.write_text(text, "utf-8"))
    return metrics
