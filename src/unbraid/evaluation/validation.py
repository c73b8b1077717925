"""What is measured on the validation part during training, with sample pictures. Keeps the best model."""

import dataclasses
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unbraid.core.method import Disentangler, Latent, Method, Translator
from unbraid.core.types import DOMAINS, Domain, ImageSpec, Labelled, Unpaired, UserError, VectorSpec, other
from unbraid.data.equal import equal_items
from unbraid.data.parts import Data, LabelledPart, PairedPart, Part, UnpairedPart, once, side
from unbraid.evaluation.metrics.coverage import coverage, variety
from unbraid.evaluation.metrics.images import psnr
from unbraid.evaluation.metrics.probes import probe
from unbraid.evaluation.metrics.residual import correlation
from unbraid.evaluation.metrics.retrieval import recall
from unbraid.evaluation.metrics.transfer import transferred, transfers
from unbraid.evaluation.zeroshot import both_ways, class_count, has_classes, prepared
from unbraid.model.codes import (
    code_space,
    decode_all,
    encode_part,
    encode_rows,
    encode_sides,
    evaluating,
    read,
    sample_all,
    spread,
)
from unbraid.model.drawing import sample_grid, save_picture, transfer_grid
from unbraid.model.log import Log
from unbraid.model.run import Position, Run
from unbraid.model.space import CodeSpace

MEASURED = 500
"""Items, or transfers, that are measured in validation at most."""
PROBED = 2000
"""Items of a part whose codes are probed, at most; `PER_CLASS` of each class, if these are more."""
PER_CLASS = 50
"""A reader of many classes needs so many codes of each, a quarter of them held out, to find what is there."""
SAMPLED = 100
"""Held-out images of each domain that are shown in the other, at most."""
SAMPLES = 4
"""Samples for each of them."""


def validate(run: Run, method: Method[Any], data: Data, position: Position, log: Log) -> Position:
    """Measures, logs, draws, and saves the model unless an earlier one was better.

    A method on pairs scores its mean recall@1 over both directions, in percent, or its mean average precision, where
    validation has classes and no pairs. Each item is in the gallery once, and any of its partners is a hit. A method on
    labels scores how well it makes held-out images again, in PSNR, for that needs no labels; while it can't encode such
    images, and where there are neither codes nor pairs, or no query can miss, the latest model is kept. So it is for a
    method on unpaired data: recall is logged where validation has pairs, but pairs that are hidden from training don't
    choose the model either.

    Recall counts as better by more than its standard error, and the later of like models is kept (the rule of Breiman,
    Friedman, Olshen and Stone 1984, with the longer training for the simpler tree): chance would choose among them
    otherwise, and samples get better for longer than retrieval does. Other scores count as they are.
    """
    encodes = isinstance(method, Disentangler) and method.stages()[position.stage].encodes
    score, figures, counted = 0.0, {}, 0
    space = None
    if encodes and method.needs is Labelled:
        figures = reconstruction_figures(method, data)
        score = figures["psnr"]
    elif encodes and isinstance(data.val, PairedPart):
        space = code_space(method, data.train) if isinstance(data.train, PairedPart) else None
        figures = retrieval_figures(run, method, data.val, space)
        if method.needs is not Unpaired and "a->b" in figures and "b->a" in figures:
            score, counted = (figures["a->b"] + figures["b->a"]) / 2, len(data.val)
        found = residual_figures(method, data.val)
        figures.update({f"{name}, %": 100 * value for name, value in found.items()})
    elif encodes and isinstance(data.val, UnpairedPart) and has_classes(data.val):
        space = code_space(method, data.train) if isinstance(data.train, PairedPart) else None
        figures = class_figures(run, method, data.val, space)
        score = sum(figures.values()) / 2
    if encodes and not isinstance(data.val, LabelledPart):
        figures = {**figures, **sample_figures(method, data.val)}
    if run.config.train.probe and isinstance(data.train, LabelledPart) and isinstance(method, Disentangler):
        figures = {**figures, **leakage_figures(method, data.train, encodes)}
    log.validation(position, figures)
    picture = run.path / "samples" / f"{position.stage}-{position.step:07d}.png"
    save_picture(_picture(method, data, encodes, run.config.train.seed), picture)
    highest = max(score, position.best, position.highest)
    if score >= highest - standard_error(highest, counted):
        run.save_model(method, space, position.step)
        position = dataclasses.replace(position, best=score, best_step=position.step)
    return dataclasses.replace(position, highest=highest)


def standard_error(percent: float, count: int) -> float:
    """Of a share of so many items, percent; 0 for what isn't a share, of no items."""
    return math.sqrt(percent * (100 - percent) / count) if count else 0.0


def _picture(method: Method[Any], data: Data, encodes: bool, seed: int) -> Any:
    if not encodes and isinstance(data.train, LabelledPart):
        return transfer_grid(method, data.train, seed, found=True)
    if isinstance(data.val, LabelledPart):
        return transfer_grid(method, data.val, seed)
    return sample_grid(method, data.val, seed)


def residual_figures(method: Method[Any], part: PairedPart) -> dict[str, float]:
    """Correlations, in [0, 1], of what is found in items of a with the true residual and content, where these are known
    as single numbers: residual: of the exclusive code and the true residual; content: of the translation and the true
    item of b; leak: of the exclusive code and the true content. Empty where they aren't."""
    if "residual" not in part.factors or method.spec.b != VectorSpec(1) or not isinstance(method, Disentangler):
        return {}
    codes = encode_part(method, part, "a")
    if codes.exclusive.shape[1] != 1 or codes.shared.shape[1:] != (1,):
        return {}
    true = torch.from_numpy(part.factors["residual"][part.rows]).float()
    content, exclusive = read(part, "b")[:, 0], codes.exclusive[:, 0]
    return {
        "residual": correlation(exclusive, true),
        "content": correlation(codes.shared[:, 0], content),
        "leak": correlation(exclusive, content),
    }


def reconstruction_figures(method: Method[Any], data: Data) -> dict[str, float]:
    """Mean PSNR of held-out images made again from their codes; of content transfers too, where the truth is known."""
    if not isinstance(data.val, LabelledPart):
        limit = MEASURED // 2
        made = [decode_all(method, encode_part(method, data.val, domain, limit), domain) for domain in DOMAINS]
        true = [read(data.val, domain, limit) for domain in DOMAINS]
        return {"psnr": float(psnr(torch.cat(made), torch.cat(true)).mean())}
    part = data.val
    at = spread(np.arange(len(part)), MEASURED)
    made = decode_all(method, encode_rows(method, part, at), "a")
    figures = {"psnr": float(psnr(made, part.x.read(part.rows[at], 0)).mean())}
    tasks = transfers(part, MEASURED, seed=0)
    if len(tasks):
        made = transferred(method, part, tasks)
        figures["transfer_psnr"] = float(psnr(made, part.x.read(part.rows[tasks.truth], 0)).mean())
    return figures


def sample_figures(method: Method[Any], part: Part) -> dict[str, float]:
    """How many of the held-out images' ways samples cover, and how much samples for one image vary, percent, both ways.

    Empty for what doesn't draw images. Codes come from generators of their own.
    """
    images = all(isinstance(method.spec[domain], ImageSpec) for domain in DOMAINS)
    if not (images and isinstance(method, Disentangler) and isinstance(method, Translator)):
        return {}
    figures: dict[str, float] = {}
    varieties: dict[str, float] = {}
    for source in DOMAINS:
        x, real = (_distinct(part, domain) for domain in (source, other(source)))
        generator = torch.Generator().manual_seed(0)
        try:
            made = sample_all(method, x, source, SAMPLES, generator)
        except UserError:  # it has nothing to draw codes from
            return {}
        way = f"{source}->{other(source)}"
        if len(real) > 1:
            figures[f"coverage {way}"] = coverage(real, made.flatten(0, 1))
            varieties[f"variety {way}"] = variety(made, real)
    return {**figures, **varieties}


def _distinct(part: Part, domain: Domain) -> Tensor:
    items, rows = side(part, domain)
    return items.read(spread(once(items, rows), SAMPLED), 0)


def leakage_figures(method: Method[Any], part: LabelledPart, encodes: bool) -> dict[str, float]:
    """Accuracy of a linear reader of the class in content codes, percent, chance, and control, its accuracy in class
    codes: of those found for training images while nothing else can be encoded, then of those an encoder gives. A
    quarter of the images is held out."""
    at = spread(np.arange(len(part)), max(PROBED, PER_CLASS * len(np.unique(part.label(np.arange(len(part)))[:, 0]))))
    labels = torch.from_numpy(part.label(at))
    device = next(method.parameters()).device
    codes = None
    if not encodes and isinstance(method, Latent):
        with evaluating(method):
            codes = method.training_codes(labels.to(device), torch.from_numpy(at).to(device))
    if codes is None or codes.shared.shape[1] == 0:  # there are none in tables
        codes = encode_rows(method, part, at)
    order = np.random.default_rng(0).permutation(len(at))
    quarter = len(at) // 4
    split = (order[quarter:], order[:quarter])
    try:
        found, control = (
            probe(code.detach().cpu().flatten(1), labels[:, 0], split) for code in (codes.shared, codes.exclusive)
        )
    except ValueError:  # too few images, or classes, to read anything
        return {}
    return {"class from content": found.accuracy, "chance": found.chance, "control": control.accuracy}


def class_figures(run: Run, method: Method[Any], part: UnpairedPart, space: CodeSpace | None) -> dict[str, float]:
    """Mean average precision of shared codes both ways, percent, where any item of the query's class is a hit. Empty
    for a single class."""
    if class_count(part) < 2:
        return {}
    codes = [encode_part(method, part, domain, exclusive=False).shared for domain in DOMAINS]
    vectors = prepared((codes[0], codes[1]), run.config.train.distance, space)
    return {f"mAP {way}": 100 * values["map"] for way, values in both_ways(vectors, part).items()}


def retrieval_figures(run: Run, method: Method[Any], part: PairedPart, space: CodeSpace | None) -> dict[str, float]:
    """Recall@1 of shared codes both ways, percent, and of exclusive ones. Empty where no query can miss."""
    a, b = encode_sides(method, part)
    distance = run.config.train.distance if space else "euclidean"
    items = equal_items(*side(part, "a")), equal_items(*side(part, "b"))
    found = {"": recall(a.shared, b.shared, None, distance, space, items)}
    if a.exclusive.shape[1]:
        found["exclusive "] = recall(a.exclusive, b.exclusive, items=items)
    return {f"{name}{way}": values["1"] for name, ways in found.items() for way, values in ways.items() if values}
