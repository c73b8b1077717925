"""What is measured on the validation part during training: retrieval, a loss, sample pictures. Keeps the best model."""

import dataclasses
from typing import Any

from torch import Tensor

from unbraid.codes import code_space, encode_part, same_view
from unbraid.data.parts import Data, PairedPart
from unbraid.log import Log
from unbraid.method import Disentangler, Method
from unbraid.metrics.retrieval import recall
from unbraid.metrics.space import CodeSpace
from unbraid.run import Position, Run
from unbraid.show import sample_grid, save_picture


def validate(run: Run, method: Method[Any], data: Data, position: Position, log: Log) -> Position:
    """Measures, logs, draws, and saves the model if it is the best so far (the later one, if equal).

    A method's score is its mean recall@1 over both directions, in percent; where several neighbouring pairs have the
    same image of domain a, each of them is a hit. Without codes or pairs the latest model is kept.
    """
    score, figures = 0.0, {}
    space = None
    if isinstance(method, Disentangler) and isinstance(data.val, PairedPart):
        space = code_space(method, data.train) if isinstance(data.train, PairedPart) else None
        figures = retrieval_figures(run, method, data.val, same_view(data, len(data.val)), space)
        score = (figures["a->b"] + figures["b->a"]) / 2
    log.validation(position, figures)
    picture = run.path / "samples" / f"{position.stage}-{position.step:07d}.png"
    save_picture(sample_grid(method, data.val, seed=run.config.train.seed), picture)
    if score >= position.best:
        run.save_model(method, space, position.step)
        position = dataclasses.replace(position, best=score, best_step=position.step)
    return position


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
