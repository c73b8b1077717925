"""Pure functions of tensors that the methods' objectives are made of."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import mse_loss

LOG_VARIANCE_LIMIT = 9.21
"""Log-variances stay below ln(10,000), as in IIAE's published program, and above its negative."""


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


def reversed_gradient(x: Float[Tensor, "*s"]) -> Float[Tensor, "*s"]:
    """x itself, through which gradients come back with their sign turned (Ganin and Lempitsky 2015, lambda 1)."""
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
    """Adaptive instance normalisation: each map of each item to mean `shift` and deviation `scale` (Huang and
    Belongie 2017, eq. 8). Statistics over (h, w)."""
    return _AdaIN.apply(x, scale, shift)  # pyright: ignore[reportReturnType]


class _AdaIN(torch.autograd.Function):
    """`adain` with its gradient written out: half the passes over the maps that autograd makes of it."""

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
    """In float32, or float64 if they are."""
    return values if values.dtype == torch.float64 else values.float()


def _mapped(x: Tensor, factor: Tensor, offset: Tensor) -> Tensor:
    """x * factor + offset, a factor and an offset for each map, in one pass."""
    return torch.addcmul(offset.to(x.dtype)[:, :, None, None], x, factor.to(x.dtype)[:, :, None, None])


def least_squares(scores: Float[Tensor, "*s"], target: float) -> Float[Tensor, ""]:
    """Mean of (scores - target)^2: what least-squares adversaries, and those who would please them, minimise."""
    return mse_loss(scores, torch.full_like(scores, target))


def plateau_then_linear(plateau: float, progress: float) -> float:
    """Factor of a rate: 1 for a share `plateau` of the run, then down to 0 in a straight line."""
    return 1.0 if progress < plateau else (1 - progress) / (1 - plateau)
