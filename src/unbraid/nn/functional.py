"""Pure functions of tensors that the methods' objectives are made of."""

import torch
from jaxtyping import Float
from torch import Tensor

LOG_VARIANCE_LIMIT = 9.21
"""Log-variances stay below ln(10,000), as in IIAE's published program."""


def reparameterise(mean: Float[Tensor, "*s"], log_variance: Float[Tensor, "*s"]) -> Float[Tensor, "*s"]:
    """One sample of N(mean, exp(log_variance)), differentiable in both (Kingma and Welling 2014, section 2.4)."""
    return mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)


def kl_normal(
    mean: Float[Tensor, "n ..."],
    log_variance: Float[Tensor, "n ..."],
    prior_mean: Float[Tensor, "n ..."] | None = None,
    prior_log_variance: Float[Tensor, "n ..."] | None = None,
) -> Float[Tensor, ""]:
    """KL(N(mean, variance) || prior) of diagonal normals, in nats, summed over dimensions, averaged over the batch.

    The prior is N(0, I) if none is given. Computed in float32 whatever comes in.
    """
    mean, log_variance = mean.float(), log_variance.float()
    if prior_mean is None or prior_log_variance is None:
        divergence = mean.square() + log_variance.exp() - log_variance - 1
    else:
        prior_mean, prior_log_variance = prior_mean.float(), prior_log_variance.float()
        ratio = (log_variance - prior_log_variance).exp()
        distance = (mean - prior_mean).square() * (-prior_log_variance).exp()
        divergence = ratio + distance - 1 - (log_variance - prior_log_variance)
    return 0.5 * divergence.flatten(1).sum(1).mean()


def tile(codes: Float[Tensor, "n d"], height: int, width: int) -> Float[Tensor, "n d {height} {width}"]:
    """A flat code repeated at every place of a map."""
    return codes[:, :, None, None].expand(-1, -1, height, width)


def adain(
    x: Float[Tensor, "n c h w"], scale: Float[Tensor, "n c"], shift: Float[Tensor, "n c"]
) -> Float[Tensor, "n c h w"]:
    """Adaptive instance normalisation: each map of each item to mean `shift` and deviation `scale` (Huang and
    Belongie 2017, eq. 8). Statistics over (h, w)."""
    variance, mean = torch.var_mean(x, (2, 3), correction=0)
    factor = scale.float() * (variance.float() + 1e-5).rsqrt()
    offset = shift.float() - mean.float() * factor
    # one pass over the maps: x * factor + offset
    return torch.addcmul(offset.to(x.dtype)[:, :, None, None], x, factor.to(x.dtype)[:, :, None, None])
