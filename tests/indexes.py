"""Runs with small models whose codes can be indexed."""

from pathlib import Path

import torch

from helpers import IMAGES, random_items
from unbraid.core.config import RunConfig, TrainConfig
from unbraid.core.data_config import DataConfig
from unbraid.core.types import DataSpec
from unbraid.methods.iiae import IIAE, IIAEConfig
from unbraid.model.codes import encode_all
from unbraid.model.run import Run
from unbraid.model.space import CodeSpace

SMALL = IIAEConfig(widths=(8, 8), decoder_widths=(8, 8), map_size=4, shared=4, exclusive=3)


def write_run(folder: Path, seed: int = 0, config: IIAEConfig = SMALL, spec: DataSpec = IMAGES) -> Path:
    """A run that was never trained; its model makes codes all the same."""
    torch.manual_seed(seed)
    method = IIAE(spec, config).eval()
    a, b = (random_items(IMAGES.a, 40, n).x for n in (1, 2))
    space = CodeSpace.fit(encode_all(method, a, "a").shared, encode_all(method, b, "b").shared)
    run = Run.open(folder, "iiae", RunConfig(config, DataConfig(set="digits"), TrainConfig(steps=1)))
    run.save_model(method, space, 1)
    return folder
