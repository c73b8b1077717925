"""pix2pix: the generator's shape, the objective against its equations, and the ways that are trained."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from helpers import IMAGES, VECTORS, Repeated, random_batch
from unbraid.core.method import Clock
from unbraid.core.types import DataSpec, ImageSpec, Paired, UserError
from unbraid.methods.pix2pix import SMALL_IMAGES, Pix2Pix, Pix2PixConfig, UNet

SMALL = Pix2PixConfig(width=4, discriminator_width=4)


def test_the_papers_generator_has_the_papers_layers() -> None:
    net = UNet(ImageSpec(256, 256), 3, 64, 0.5, "transposed")
    ways = [
        [conv for conv in way.modules() if isinstance(conv, (nn.Conv2d, nn.ConvTranspose2d))] for way in net.children()
    ]
    downs, ups, last = (way for way in ways if way)
    assert [conv.out_channels for conv in downs] == [64, 128, 256, 512, 512, 512, 512, 512]
    assert [conv.out_channels for conv in ups] == [512, 512, 512, 512, 256, 128, 64]
    assert [conv.in_channels for conv in ups] == [512, 1024, 1024, 1024, 1024, 512, 256]
    assert (last[0].in_channels, last[0].out_channels) == (128, 3)
    assert sum(isinstance(module, nn.Dropout) for module in net.modules()) == 3


@pytest.mark.parametrize("size", [(8, 8), (17, 22), (64, 48), (100, 130)])
def test_it_takes_any_size(size: tuple[int, int]) -> None:
    net = UNet(ImageSpec(*size), 1, 2, 0.5, "transposed").eval()
    assert net(torch.zeros(1, 3, *size)).shape == (1, 1, *size)


def test_what_is_where_reaches_the_output_past_the_innermost_map() -> None:
    torch.manual_seed(0)
    net = UNet(ImageSpec(32, 32), 3, 4, 0.0, "transposed").eval()
    x = torch.zeros(1, 3, 32, 32, requires_grad=True)
    net(x)[0, :, 5, 9].sum().backward()
    assert x.grad is not None
    reached = x.grad.abs().sum(1)[0] > 0.2 * x.grad.abs().sum(1).max()
    assert reached[3:8, 7:12].any()
    assert not reached[20:].any()


def test_losses_are_the_papers_and_discriminators_see_the_input_too() -> None:
    torch.manual_seed(0)
    model = Pix2Pix(IMAGES, replace(SMALL, dropout=0.0))
    batch = random_batch(IMAGES, needs=Paired)
    assert isinstance(batch, Paired)
    updates = list(model.updates(Repeated(batch), Clock(0, 0.0)))
    generated = model.generators["b"](batch.a)
    terms = updates[0]["generators"]
    torch.testing.assert_close(terms["l1_b"], 100 * (generated - batch.b).abs().mean())
    scores = model.discriminators["b"](torch.cat([batch.a, generated], 1))
    torch.testing.assert_close(terms["generator_b"], -scores.sigmoid().log().mean())
    real = model.discriminators["b"](torch.cat([batch.a, batch.b], 1))
    expected = -(real.sigmoid().log().mean() + (1 - scores.sigmoid()).log().mean()) / 2
    torch.testing.assert_close(updates[1]["discriminators"]["discriminator_b"], expected)
    assert expected.item() == pytest.approx(math.log(2), rel=0.1)  # at the start it can't tell


def test_without_discriminators_there_is_one_player() -> None:
    model = Pix2Pix(IMAGES, replace(SMALL, gan=0.0, towards="b"))
    assert not len(model.discriminators)
    assert model.optimisers("train").keys() == {"generators"}
    updates = list(model.updates(Repeated(random_batch(IMAGES, needs=Paired)), Clock(0, 0.0)))
    assert [update.keys() for update in updates] == [{"generators"}]
    assert updates[0]["generators"].keys() == {"l1_b"}


def test_vectors_are_refused_and_small_images_have_smaller_networks() -> None:
    with pytest.raises(UserError, match="pix2pix works on images"):
        Pix2Pix(VECTORS, SMALL)
    assert Pix2Pix.default_config(IMAGES)[0] == SMALL_IMAGES
    large = DataSpec(ImageSpec(256, 256), ImageSpec(256, 256))
    assert Pix2Pix.default_config(large) == (Pix2PixConfig(), [])
