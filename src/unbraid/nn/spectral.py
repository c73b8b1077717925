"""Layers with spectral normalisation (Miyato et al. 2018): the weight is divided by its largest singular value.

Equivalent to torch's parametrisation with one power iteration per forward pass in training, at half the cost. Only the
left singular vector is stored; the right one follows from it.
"""

from jaxtyping import Float
from torch import Tensor, mv, nn, no_grad, randn
from torch.linalg import vector_norm


class _Spectral(nn.Module):
    """Spectral normalisation of a layer. u, (outputs,), estimates the left singular vector and is part of the state."""

    weight: Tensor
    u: Tensor

    def _start(self) -> None:
        self.register_buffer("u", randn(len(self.weight)))
        self.estimate()

    def estimate(self) -> None:
        """Estimates u for the present weight, such as after initialisation."""
        with no_grad():
            for _ in range(15):
                self._iterate(self.weight.flatten(1))

    def _iterate(self, matrix: Tensor) -> Tensor:
        u = mv(matrix, mv(matrix.t(), self.u))
        u /= vector_norm(u).clamp(min=1e-12)
        self.u.copy_(u)
        return u

    def normalised_weight(self) -> Float[Tensor, "o ..."]:
        """Returns the normalised weight; its gradient treats u as a constant (eq. 12)."""
        matrix, u = self.weight.flatten(1), self.u
        if 1 in matrix.shape:  # one singular value, which needs no search
            return self.weight / vector_norm(matrix)
        if self.training:
            with no_grad():
                u = self._iterate(matrix)
        return self.weight / vector_norm(mv(matrix.t(), u))  # |W'u| = u'Wv for v = W'u / |W'u|


class SpectralLinear(_Spectral, nn.Linear):
    """Fully connected layer with spectral normalisation."""

    def __init__(self, size: int, width: int) -> None:
        super().__init__(size, width)
        self._start()

    def forward(self, input: Float[Tensor, "n d"]) -> Float[Tensor, "n _"]:
        """Applies the layer: (n, size) -> (n, width)."""
        return nn.functional.linear(input, self.normalised_weight(), self.bias)


class SpectralConv(_Spectral, nn.Conv2d):
    """Convolution with spectral normalisation of the kernel as a matrix (outputs, inputs * h * w)."""

    def __init__(self, channels: int, width: int, kernel: int, stride: int, padding: int, *, bias: bool = True) -> None:
        super().__init__(channels, width, kernel, stride, padding, bias=bias)
        self._start()

    def forward(self, input: Float[Tensor, "n c h w"]) -> Float[Tensor, "n _ _ _"]:
        """Applies the convolution: (n, channels, h, w) -> (n, width, ...)."""
        return nn.functional.conv2d(input, self.normalised_weight(), self.bias, self.stride, self.padding)
