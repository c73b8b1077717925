"""What is measured on the validation part during training, with sample pictures. Keeps the best model."""

import dataclasses
import math
from functools import cache
from typing import Any

from unbraid.core.config import PACKAGED
from unbraid.core.method import AnyMethod
from unbraid.data.parts import Data
from unbraid.evaluation.measure import Measure, ValidationFigures
from unbraid.evaluation.measures.leakage import Leakage
from unbraid.evaluation.measures.residual import Residual
from unbraid.evaluation.measures.retrieval import Retrieval
from unbraid.evaluation.measures.samples import Samples
from unbraid.evaluation.measures.transfer import Transfer
from unbraid.evaluation.measures.translation import Translation
from unbraid.evaluation.measures.unpaired import UnpairedScore
from unbraid.evaluation.measures.zero_shot import ZeroShot
from unbraid.evaluation.networks import NO_NETWORKS, PerceptualNetworks
from unbraid.evaluation.subject import Subject, has_classes
from unbraid.model.codes import code_space, device_of
from unbraid.model.drawing import sample_grid, save_picture, transfer_grid
from unbraid.model.log import Log
from unbraid.model.run import Run
from unbraid.model.saved import Position
from unbraid.model.trained import Trained

MEASURES: tuple[Measure[Any], ...] = (Retrieval(), Residual(), ZeroShot(), Samples())
"""What training watches, as far as it applies, while items that it doesn't see have codes."""
UNPAIRED_MEASURES: tuple[Measure[Any], ...] = (UnpairedScore(),)
"""The same of a method that trains without pairs, whether it has codes or not."""
CODELESS_MEASURES: tuple[Measure[Any], ...] = (Translation(),)
"""The same of a method that trains on pairs and has no codes."""
LABELLED_MEASURES: tuple[Measure[Any], ...] = (Transfer(), Samples())
"""The same of a method that trains on labels."""


def validate(run: Run, method: AnyMethod, data: Data, position: Position, log: Log) -> Position:
    """Measures, logs, draws, and saves the model unless an earlier one was better.

    A method on pairs scores its mean recall@1 over both directions, in percent, or its mean average precision, where
    validation has classes and no pairs. Each item is in the gallery once, and any of its partners is a hit. One without
    codes scores 100 (1 - LPIPS) of translations to the truth, the mean over ways, or PSNR without LPIPS's weights.
    A method on labels scores how well it makes held-out images again, in PSNR, for that needs no labels; while it can't
    encode such images, and where there are neither codes nor pairs, or no query can miss, the latest model is kept. A
    method on unpaired images scores what `UnpairedScore` says, and keeps the latest model where that can't be measured:
    recall is logged where validation has pairs, but pairs that are hidden from training don't choose the model either.

    Recall counts as better by more than its standard error, and the later of like models is kept (the rule of Breiman,
    Friedman, Olshen and Stone 1984, with the longer training for the simpler tree): chance would choose among them
    otherwise, and samples get better for longer than retrieval does. Other scores count as they are.

    Args:
        run: Takes the model.
        method: Is measured.
        data: Its data.
        position: Where training stands.
        log: Takes the figures.
    """
    encodes = method.as_disentangler() is not None and method.stages()[position.stage].encodes
    labelled = method.needs.labelled
    pairs = data.train.pairs() if encodes and not labelled else None
    space = code_space(method, pairs) if pairs else None
    distance = run.config.train.distance if space else "euclidean"
    unpaired = method.needs.hides_pairs
    codeless = method.as_disentangler() is None and not unpaired
    networks = _networks().to(device_of(method)) if unpaired or codeless else NO_NETWORKS
    subject = Subject(Trained(method, space, "", position.step), data, data.val, distance, networks, encodes=encodes)
    measures = (LABELLED_MEASURES if labelled else MEASURES) if encodes else ()
    measures += UNPAIRED_MEASURES if unpaired else CODELESS_MEASURES if codeless else ()
    found = [measure.watch(subject) for measure in measures if measure.watches(subject)]
    if run.config.train.probe and method.as_disentangler():
        found.append(Leakage().watch(subject))
    log.validation(position, {name: value for one in found for name, value in one.figures.items()})
    picture = run.path / "samples" / f"{position.stage}-{position.step:07d}.png"
    save_picture(_picture(method, data, encodes, run.config.train.seed), picture)
    log.picture(position, picture)
    best = next((one for one in found if one.score is not None), ValidationFigures())
    score, before = best.score or 0.0, max(position.best, position.highest)
    highest = max(score, before)
    waited = position.waited + 1 if best.score is not None and score <= before else 0
    if score >= highest - standard_error(highest, best.counted):
        run.save_model(method, space, position.step)
        position = dataclasses.replace(position, best=score, best_step=position.step)
    return dataclasses.replace(position, highest=highest, waited=waited)


def score_in_words(method: AnyMethod, data: Data, score: float) -> str:
    """Returns what chose the best model, with its name and unit. See `validate`."""
    if method.needs.labelled:
        return f"PSNR {score:.1f} dB"
    if method.needs.hides_pairs:
        return f"score without pairs {score:.1f} %"
    if method.as_disentangler() is None:
        return f"similarity to the truth {score:.1f}"
    return f"{'mAP' if has_classes(data.val) else 'recall@1'} {score:.1f} %"


@cache
def _networks() -> PerceptualNetworks:
    return PerceptualNetworks.find(PACKAGED)


def standard_error(percent: float, count: int) -> float:
    """Returns the standard error of a share of so many items, percent; 0 for no items."""
    return math.sqrt(percent * (100 - percent) / count) if count else 0.0


def _picture(method: AnyMethod, data: Data, encodes: bool, seed: int) -> Any:
    train, val = data.train.labelled(), data.val.labelled()
    if not encodes and train:
        return transfer_grid(method, train, seed, found=True)
    if val:
        return transfer_grid(method, val, seed)
    return sample_grid(method, data.val, seed)
