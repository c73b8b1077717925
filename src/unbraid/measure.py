"""What is measured on the validation part during training, with sample pictures. Keeps the best model."""

import dataclasses
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unbraid.codes import code_space, decode_all, encode_part, encode_rows, evaluating, read, same_view, spread
from unbraid.data.parts import Data, LabelledPart, PairedPart
from unbraid.log import Log
from unbraid.method import Disentangler, Latent, Method
from unbraid.metrics.images import psnr
from unbraid.metrics.probes import probe
from unbraid.metrics.retrieval import recall
from unbraid.metrics.space import CodeSpace
from unbraid.metrics.transfer import transferred, transfers
from unbraid.run import Position, Run
from unbraid.show import sample_grid, save_picture, transfer_grid
from unbraid.types import DOMAINS, Labelled

MEASURED = 500
"""Items, or transfers, that are measured in validation at most."""
PROBED = 2000
"""Training images whose codes are probed at most."""


def validate(run: Run, method: Method[Any], data: Data, position: Position, log: Log) -> Position:
    """Measures, logs, draws, and saves the model if it is the best so far (the later one, if equal).

    A method on pairs scores its mean recall@1 over both directions, in percent; where several neighbouring pairs have
    the same image of domain a, each of them is a hit. A method on labels scores how well it makes held-out images
    again, in PSNR, for that needs no labels; while it can't encode such images, and where there are neither codes nor
    pairs, the latest model is kept.
    """
    encodes = isinstance(method, Disentangler) and method.stages()[position.stage].encodes
    score, figures = 0.0, {}
    space = None
    if encodes and method.needs is Labelled:
        figures = reconstruction_figures(method, data)
        score = figures["psnr"]
    elif encodes and isinstance(data.val, PairedPart):
        space = code_space(method, data.train) if isinstance(data.train, PairedPart) else None
        figures = retrieval_figures(run, method, data.val, same_view(data, len(data.val)), space)
        score = (figures["a->b"] + figures["b->a"]) / 2
    if run.config.train.probe and isinstance(data.train, LabelledPart) and isinstance(method, Disentangler):
        figures = {**figures, **leakage_figures(method, data.train, encodes)}
    log.validation(position, figures)
    picture = run.path / "samples" / f"{position.stage}-{position.step:07d}.png"
    save_picture(_picture(method, data, encodes, run.config.train.seed), picture)
    if score >= position.best:
        run.save_model(method, space, position.step)
        position = dataclasses.replace(position, best=score, best_step=position.step)
    return position


def _picture(method: Method[Any], data: Data, encodes: bool, seed: int) -> Any:
    if not encodes and isinstance(data.train, LabelledPart):
        return transfer_grid(method, data.train, seed, found=True)
    if isinstance(data.val, LabelledPart):
        return transfer_grid(method, data.val, seed)
    return sample_grid(method, data.val, seed)


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


def leakage_figures(method: Method[Any], part: LabelledPart, encodes: bool) -> dict[str, float]:
    """Accuracy of a linear reader of the class in content codes, percent, and chance: of those found for training
    images while nothing else can be encoded, then of those an encoder gives. A quarter of the images is held out."""
    at = spread(np.arange(len(part)), PROBED)
    labels = torch.from_numpy(part.label(at))
    device = next(method.parameters()).device
    content = torch.empty(0, 0)
    if not encodes and isinstance(method, Latent):
        with evaluating(method):
            content = method.found(labels.to(device), torch.from_numpy(at).to(device)).shared.cpu()
    if content.shape[1] == 0:  # there are none in tables
        content = encode_rows(method, part, at).shared.flatten(1)
    order = np.random.default_rng(0).permutation(len(at))
    quarter = len(at) // 4
    try:
        found = probe(content, labels[:, 0], (order[quarter:], order[:quarter]))
    except ValueError:  # too few images, or classes, to read anything
        return {}
    return {"class from content": found.accuracy, "chance": found.chance}


def retrieval_figures(
    run: Run, method: Method[Any], part: PairedPart, same: Tensor | None, space: CodeSpace | None
) -> dict[str, float]:
    """Recall@1 of shared codes both ways, percent, and of exclusive ones. same: as from `same_view`."""
    a, b = encode_part(method, part, "a"), encode_part(method, part, "b")
    distance = run.config.train.distance if space else "euclidean"
    shared = recall(a.shared, b.shared, same, distance, space)
    figures = {way: values["1"] for way, values in shared.items()}
    if a.exclusive.shape == b.exclusive.shape:
        exclusive = recall(a.exclusive, b.exclusive, same)
        figures.update({f"exclusive {way}": values["1"] for way, values in exclusive.items()})
    return figures
