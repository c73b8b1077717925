"""Where codes are compared: what is taken away, and what is weighed down, before the distance of two codes means much.

Fitted on training pairs, kept with the model, so that one query is compared as a thousand are.
Legend: n items, d = size of a code laid flat, k directions.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from unbraid.core.config import Distance
from unbraid.core.short import Short
from unbraid.core.types import Domain

DIRECTIONS = 512
"""How many directions of disagreement are kept at most."""


@dataclass(frozen=True)
class CodeSpace(Short):
    """The geometry of shared codes: each domain's mean, and the covariance of what differs within pairs.

    centre_a, centre_b: (d,). scale: (d,), the inverse deviation of a dimension within pairs. directions: (d, k),
    orthonormal, in which scaled codes of a pair still differ together, and shrink: (k,), how far codes are pulled
    together there.
    """

    centre_a: Float[Tensor, " d"]
    centre_b: Float[Tensor, " d"]
    scale: Float[Tensor, " d"]
    directions: Float[Tensor, "d k"]
    shrink: Float[Tensor, " k"]

    @classmethod
    def fit(cls, a: Float[Tensor, "n ..."], b: Float[Tensor, "n ..."]) -> "CodeSpace":
        """From the codes of n training pairs.

        The covariance W of the difference of a pair's codes is estimated as the mean of W and its diagonal, which is
        well behaved when n < d; codes are multiplied by its inverse square root. This is the within-class covariance
        normalisation of Hatch, Kajarekar and Stolcke (Interspeech 2006), a pair being a class.
        """
        x, y = a.flatten(1).double(), b.flatten(1).double()
        difference = (x - x.mean(0)) - (y - y.mean(0))
        scale = (difference.var(0, correction=0) + 1e-9).rsqrt()
        _, deviations, directions = torch.linalg.svd(difference * scale / len(x) ** 0.5, full_matrices=False)
        deviations, directions = deviations[:DIRECTIONS], directions[:DIRECTIONS]
        # scaled differences have covariance V s^2 V', with the unit matrix added (1 + s^2) along V;
        # its inverse root is I - V (1 - 1/sqrt(1 + s^2)) V'
        shrink = 1 - (1 + deviations.square()).rsqrt()
        parts = (x.mean(0), y.mean(0), scale, directions.T.contiguous(), shrink)
        return cls(*(part.float() for part in parts))

    def prepared(self, codes: Float[Tensor, "n ..."], domain: Domain, distance: Distance) -> Float[Tensor, "n d"]:
        """Returns codes as vectors whose Euclidean distance is the one asked for.

        Args:
            codes: (n, ...) shared codes.
            domain: Of them.
            distance: "euclidean", "cosine" or "whitened".
        """
        flat = codes.flatten(1).float()
        if distance == "euclidean":
            return flat
        flat = flat - (self.centre_a if domain == "a" else self.centre_b).to(flat.device)
        if distance == "whitened":
            scale, directions, shrink = (part.to(flat.device) for part in (self.scale, self.directions, self.shrink))
            flat = flat * scale
            flat = flat - (flat @ directions * shrink) @ directions.T
        return torch.nn.functional.normalize(flat, dim=1)

    def tensors(self) -> dict[str, Tensor]:
        """Its parts by name, to be stored."""
        return dict(vars(self))
