"""Functions of tensors of which the methods' objectives consist."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import mse_loss

LOG_VARIANCE_LIMIT = 9.21
"""Upper bound of log-variances, ln(10,000), as in IIAE's published program; its negative is the lower bound."""


def bounded_log_variance(x: Float[Tensor, "*s"]) -> Float[Tensor, "*s"]:
    """Clamps log-variances to at most LOG_VARIANCE_LIMIT and at least its negative.

    Gradients pass inside these bounds, and below them where a step against the gradient leads back up: no variance is
    stuck at the lower bound. Above the upper bound they are 0, as the published program has it.
    """
    return _Bounded.apply(x)  # pyright: ignore[reportReturnType]


class _Bounded(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp(-LOG_VARIANCE_LIMIT, LOG_VARIANCE_LIMIT)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        (x,) = ctx.saved_tensors
        stopped = (x > LOG_VARIANCE_LIMIT) | ((x < -LOG_VARIANCE_LIMIT) & (gradient > 0))
        return gradient.masked_fill(stopped, 0.0)


def reparameterise(mean: Float[Tensor, "*s"], log_variance: Float[Tensor, "*s"]) -> Float[Tensor, "*s"]:
    """Samples N(mean, exp(log_variance)), differentiably in both (Kingma and Welling 2014, section 2.4)."""
    return mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)


def kl_normal(
    mean: Float[Tensor, "n ..."],
    log_variance: Float[Tensor, "n ..."],
    prior_mean: Float[Tensor, "n ..."] | None = None,
    prior_log_variance: Float[Tensor, "n ..."] | None = None,
) -> Float[Tensor, ""]:
    """Computes KL(N(mean, variance) || prior) of diagonal normal distributions, in nats and float32.

    Args:
        mean: Means, (n, ...).
        log_variance: Log-variances, (n, ...).
        prior_mean: Means of the prior, (n, ...).
        prior_log_variance: Log-variances of the prior, (n, ...). Without both, the prior is N(0, I).

    Returns:
        The divergence, summed over dimensions and averaged over the batch.
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
    """Repeats flat codes at every place of a map of this height and width. See `FitSize`."""
    return codes[:, :, None, None].expand(-1, -1, height, width)


def reversed_gradient(x: Float[Tensor, "*s"]) -> Float[Tensor, "*s"]:
    """Returns x, and reverses the sign of its gradient (Ganin and Lempitsky 2015, with lambda 1)."""
    return _Reversed.apply(x)  # pyright: ignore[reportReturnType]


class _Reversed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return -gradient


def adain(
    x: Float[Tensor, "n c h w"], scale: Float[Tensor, "n c"], shift: Float[Tensor, "n c"]
) -> Float[Tensor, "n c h w"]:
    """Applies adaptive instance normalisation (Huang and Belongie 2017, eq. 8).

    Args:
        x: Maps, (n, c, h, w).
        scale: Standard deviation of each map of the result, (n, c).
        shift: Mean of each map of the result, (n, c).
    """
    return _AdaIN.apply(x, scale, shift)  # pyright: ignore[reportReturnType]


class _AdaIN(torch.autograd.Function):
    """`adain` with an explicit gradient, which needs half as many passes over the maps as autograd."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        variance, mean = torch.var_mean(x, (2, 3), correction=0)
        variance, mean = _exact(variance), _exact(mean)
        root = (variance + 1e-5).rsqrt()
        factor = _exact(scale) * root
        ctx.save_for_backward(x, mean, root, factor)
        ctx.dtypes = scale.dtype, shift.dtype
        return _mapped(x, factor, _exact(shift) - mean * factor)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, mean, root, factor = ctx.saved_tensors
        count, wide = x.shape[2] * x.shape[3], mean.dtype
        total = gradient.sum((2, 3), dtype=wide)
        along = root * ((gradient * x).sum((2, 3), dtype=wide) - mean * total)  # sum of gradient x normalised map
        back = -factor * root * along / count
        rest = _mapped(x, back, -factor * total / count - back * mean)
        moved = torch.addcmul(rest, gradient, factor.to(x.dtype)[:, :, None, None])
        return moved, along.to(ctx.dtypes[0]), total.to(ctx.dtypes[1])


def _exact(values: Tensor) -> Tensor:
    """Converts to float32, except float64."""
    return values if values.dtype == torch.float64 else values.float()


def _mapped(x: Tensor, factor: Tensor, offset: Tensor) -> Tensor:
    """Computes x * factor + offset with a factor and an offset for each map, in one pass."""
    return torch.addcmul(offset.to(x.dtype)[:, :, None, None], x, factor.to(x.dtype)[:, :, None, None])


def least_squares(scores: Float[Tensor, "*s"], target: float) -> Float[Tensor, ""]:
    """Returns the mean of (scores - target)^2: the least-squares GAN loss (Mao et al. 2017)."""
    return mse_loss(scores, torch.full_like(scores, target))


def plateau_then_linear(plateau: float, progress: float) -> float:
    """Returns the factor of a learning rate: 1 for a fraction `plateau` of the run, then decreasing linearly to 0."""
    return 1.0 if progress < plateau else (1 - progress) / (1 - plateau)
