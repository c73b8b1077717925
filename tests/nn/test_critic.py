import pytest
import torch
from torch.nn import functional

from unbraid.core.types import ImageSpec
from unbraid.nn.critic import Critic, VectorCritic, gradient_penalty, interpolated_gradient_norms

SIZES = pytest.mark.parametrize("size", [(32, 32), (33, 21)])
CHUNKS = pytest.mark.parametrize("chunk", [0, 100, 1000])


def judged(size: tuple[int, int], chunk: int = 0) -> tuple[Critic, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    critic = Critic(ImageSpec(16, 16, 1), ImageSpec(*size, 3), (8, 16, 24), chunk)
    return critic, torch.randn(5, 1, 16, 16), torch.randn(5, 3, *size)


@SIZES
@CHUNKS
def test_the_slope_is_the_gradient_with_respect_to_the_image(size: tuple[int, int], chunk: int) -> None:
    critic, source, image = judged(size, chunk)
    image.requires_grad_()
    (expected,) = torch.autograd.grad(critic(source, image).sum(), image)
    torch.testing.assert_close(critic.input_gradient(source, image), expected)


@CHUNKS
def test_chunks_of_the_last_map_are_scored_by_one_layer(chunk: int) -> None:
    """The mean score of chunks, each some places with all channels; what the last lacks counts as nought."""
    critic, source, image = judged((32, 32), chunk)
    features: list[torch.Tensor] = []

    def keep(_module: object, _inputs: object, output: torch.Tensor) -> None:
        features.append(output)

    critic.convolutions[-1].register_forward_hook(keep)
    scores = critic(source, image)
    (last,) = [functional.leaky_relu(x, 0.2).permute(0, 2, 3, 1).flatten(1) for x in features]
    assert last.shape[1] == 384
    size = {0: 384, 100: 100, 1000: 384}[chunk]
    assert critic.score.in_features == size
    padded = functional.pad(last, (0, -384 % size)).unflatten(1, (-1, size))
    torch.testing.assert_close(scores, critic.score(padded).mean((1, 2)))


@SIZES
def test_the_penaltys_gradient_is_that_of_a_second_derivative(size: tuple[int, int]) -> None:
    critic, source, image = judged(size, 100)
    image.requires_grad_()
    weights = [parameter for parameter in critic.parameters() if parameter.ndim > 1]  # biases have none
    (slope,) = torch.autograd.grad(critic(source, image).sum(), image, create_graph=True)
    expected = torch.autograd.grad(gradient_penalty(slope.flatten(1).norm(dim=1)), weights)
    ours = torch.autograd.grad(gradient_penalty(critic.input_gradient(source, image).flatten(1).norm(dim=1)), weights)
    for one, two in zip(ours, expected, strict=True):
        torch.testing.assert_close(one, two)
        assert one.abs().sum() > 0


def test_the_slope_of_a_critic_of_vectors_is_the_gradient() -> None:
    torch.manual_seed(0)
    critic, source, vector = VectorCritic(4, 7, (8, 6)), torch.randn(5, 4), torch.randn(5, 7, requires_grad=True)
    weights = [parameter for parameter in critic.parameters() if parameter.ndim > 1]
    (slope,) = torch.autograd.grad(critic(source, vector).sum(), vector, create_graph=True)
    torch.testing.assert_close(critic.input_gradient(source, vector), slope)
    expected = torch.autograd.grad(gradient_penalty(slope.norm(dim=1)), weights)
    ours = torch.autograd.grad(gradient_penalty(critic.input_gradient(source, vector).norm(dim=1)), weights)
    for one, two in zip(ours, expected, strict=True):
        torch.testing.assert_close(one, two)
    assert interpolated_gradient_norms(critic, source, vector, vector + 1).shape == (5,)


def test_the_penalty_is_nought_at_slope_one_and_grows_on_both_sides() -> None:
    assert gradient_penalty(torch.ones(3)) == 0
    torch.testing.assert_close(gradient_penalty(torch.tensor([0.0, 3.0])), torch.tensor(2.5))


def test_slopes_are_taken_between_the_real_and_the_made_image(monkeypatch: pytest.MonkeyPatch) -> None:
    critic, source, _ = judged((32, 32))
    seen: list[torch.Tensor] = []

    def slope(self: Critic, source: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        seen.append(image)
        return torch.full_like(image, 2.0)

    monkeypatch.setattr(Critic, "input_gradient", slope)
    found = interpolated_gradient_norms(critic, source, torch.zeros(5, 3, 32, 32), torch.ones(5, 3, 32, 32))
    torch.testing.assert_close(found, torch.full((5,), 2 * (3 * 32 * 32) ** 0.5))
    shares = seen[0].flatten(1)
    assert (shares == shares[:, :1]).all()  # one place on the line for all of an image
    assert len(shares[:, 0].unique()) == 5
    assert 0 <= shares.min() < shares.max() <= 1


def test_scores_and_slopes_are_float32_in_bf16() -> None:
    critic, source, image = judged((32, 32))
    plain = critic.input_gradient(source, image)
    with torch.autocast("cpu", torch.bfloat16):
        assert critic(source, image).dtype == torch.float32
        slope = critic.input_gradient(source, image)
    assert slope.dtype == torch.float32
    assert (slope - plain).norm() < 0.2 * plain.norm()  # a few relus stand elsewhere


def test_what_is_answered_to_matters() -> None:
    critic, source, image = judged((32, 32))
    assert not torch.allclose(critic(source, image), critic(source + 1, image))
