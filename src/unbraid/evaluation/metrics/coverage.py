"""How much of the variety of real images a model makes: for the log of training, without any network.

Legend: n real images, m generated ones, s samples for each of q inputs. Images have values in [-1, 1].
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

SIDE = 8
"""Images are compared at so many pixels a side, at most."""


def reduced(images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
    """Returns images of at most SIDE x SIDE, by the mean over areas, laid flat."""
    height, width = images.shape[2:]
    return functional.adaptive_avg_pool2d(images.float(), (min(SIDE, height), min(SIDE, width))).flatten(1)


def coverage(real: Float[Tensor, "n c h w"], generated: Float[Tensor, "m c h w"], k: int = 5) -> float:
    """Returns the percentage of real images with a generated one at most as far as their k-th real neighbour.

    Coverage of Naeem, Oh, Uh, Choi and Yoo 2020, on reduced images. Images like the real ones cover about
    1 - (n / (n + m))^k of them.

    Args:
        real: Two images at least, or ValueError is raised.
        generated: Compared with them.
        k: Of fewer than k + 1 real images the furthest neighbour counts.
    """
    if len(real) < 2:
        raise ValueError("coverage needs two real images at least")
    x, y = reduced(real), reduced(generated)
    # not by a matrix product: an image and its copy are nought apart
    among = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist").fill_diagonal_(torch.inf)
    reach = among.sort(1).values[:, min(k, len(real) - 1) - 1]
    nearest = torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist").amin(1)
    return 100 * (nearest <= reach).cpu().double().mean().item()


def variety(samples: Float[Tensor, "q s c h w"], real: Float[Tensor, "n c h w"]) -> float:
    """Returns the mean root-mean-square distance of two samples for one input, in percent of that of two real images.

    0: an input has one answer. 100: the answers are as unlike as real images, as if the input said nothing. 0 as well
    if the real images are all alike.
    """
    apart = torch.stack([_between(some) for some in samples.flatten(2)]).mean()
    usual = _between(real.flatten(1))
    return (100 * apart / usual).item() if usual > 0 else 0.0


def _between(x: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
    """Mean root-mean-square distance over all pairs; 0 for one item."""
    if len(x) < 2:
        return x.new_zeros(())
    return functional.pdist(x.float()).mean() / x.shape[1] ** 0.5
