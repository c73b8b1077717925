"""Inception v3 by which FID and KID are defined: the network and its resizing from the package torch-fidelity (Obukhov
et al. 2020), which has TensorFlow's weights of 2015 in torch's layout. Needs `pip install 'unbraid[fid]'`.

Legend: n images, c channels, h height, w width.
"""

import importlib
import tempfile
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unbraid.core.types import UserError
from unbraid.nn.pretrained.perceptual import checkpoints, read_tensors_of

FILE = "weights-inception-2015-12-05-6726825d.pth"
URL = f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{FILE}"
CACHED = "auto"
"""What stands for the file in torch's cache."""
BATCH = 32
"""Images that go through the network at a time, at 299 x 299 each."""


class Inception(nn.Module):
    """Inception v3 up to its last pooling.

    Args:
        extractor: Takes images (n, 3, h, w) of 8 bits, and returns a tuple of (n, d).
    """

    def __init__(self, extractor: nn.Module) -> None:
        super().__init__()
        self.extractor = extractor

    @classmethod
    def find(cls, file: str) -> "Inception":
        """Loads it. Nothing is downloaded.

        Args:
            file: Weights as torch-fidelity has them; "auto" for those in torch's cache.

        Raises:
            UserError: There are none, or others; or torch-fidelity isn't installed.
        """
        path = checkpoints() / FILE if file == CACHED else Path(file)
        if not path.is_file():
            raise UserError(
                f"FID and KID need the weights of Inception, and there is no file {path}. Download {URL} and "
                "put it there, or name it: --inception FILE"
            )
        try:
            module = importlib.import_module("torch_fidelity.feature_extractor_inceptionv3")
        except ModuleNotFoundError as error:
            raise UserError("FID and KID need torch-fidelity: pip install 'unbraid[fid]'") from error
        weights = read_tensors_of(path)
        try:
            with tempfile.TemporaryDirectory() as folder:
                # the package runs what stands in a file of weights, so it gets one that holds tensors alone
                copy = Path(folder, "inception.pth")
                torch.save({name: value.detach() for name, value in weights.items()}, copy)
                extractor = module.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], str(copy))
        except (RuntimeError, AttributeError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"{path} does not hold torch-fidelity's weights of Inception ({reason})") from error
        return cls(extractor)

    @torch.no_grad()
    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        """Returns 2,048 features of each grey or colour image in [-1, 1], which are rounded to 8 bits first."""
        x = ((images.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).expand(-1, 3, -1, -1)
        return torch.cat([self.extractor(some)[0] for some in x.split(BATCH)])
