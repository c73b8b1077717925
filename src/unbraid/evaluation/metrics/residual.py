"""How a residual that was found follows the true one.

Legend: n items.
"""

from jaxtyping import Float
from torch import Tensor


def correlation(x: Float[Tensor, " n"], y: Float[Tensor, " n"]) -> float:
    """Returns the size of Pearson's correlation, in [0, 1]: cov(x, y) / (deviation of x, deviation of y), unsigned.

    A network may absorb sign and scale of a residual in its weights (Harley et al. 2019, section 4.1). A constant
    follows nothing: 0.

    Example:
        >>> import torch
        >>> round(correlation(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.0, -2.0, -4.0])), 6)
        1.0
    """
    x, y = x.double() - x.double().mean(), y.double() - y.double().mean()
    size = x.norm() * y.norm()
    return float((x @ y).abs() / size) if size > 0 else 0.0
