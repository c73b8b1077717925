"""What a trained model does: translate, analogies, interpolation, codes. Written once, on the protocols.

model = unbraid.load("runs/demo")
answers = model.translate(images, "a", "b", samples=4)
"""

import contextlib
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from unbraid.core.device import Precision, choose_device, precision_on
from unbraid.core.method import AnyMethod, Disentangler, Latent, Translator
from unbraid.core.types import Codes, DataSpec, Domain, ImageSpec, UserError, VectorSpec
from unbraid.data.features import Extractor, load_features
from unbraid.model.codes import BATCH, encode_all, evaluating
from unbraid.model.drawing import Picture
from unbraid.model.inputs import (
    Fitting,
    Items,
    as_images,
    as_vectors,
    as_views,
    batch_size,
    floats,
    is_images,
    one_of,
    whole_number,
)
from unbraid.model.outputs import Size, check_tiles, rendered
from unbraid.model.remote import fetched, is_address
from unbraid.model.run import load_model
from unbraid.model.space import CodeSpace

PARTS = ("shared", "exclusive")


class Trained:
    """A trained model in evaluation mode, on the device where `load` put it.

    precision: its device, and the type it computes in. spec: what its domains look like. space: how shared codes are
    compared, if pairs were known. step: when it was best. extractor: what makes its vectors of images, if it was
    trained on a network's features.
    Items go in as `unbraid.model.inputs.Items` says: images as files, Pillow's, arrays or tensors, vectors as arrays or
    tensors, one or several. Images of another size are scaled to cover the model's and cut to the middle; a warning
    says so where something is cut off. They come out as (n, c, h, w) float32 in [-1, 1], vectors as (n, d), on the
    processor. Whatever can't be taken raises UserError.
    """

    def __init__(
        self,
        method: AnyMethod,
        space: CodeSpace | None,
        name: str,
        step: int,
        extractor: Extractor | None = None,
        precision: Precision | None = None,
    ) -> None:
        self.method, self.space, self.name, self.step, self.extractor = method, space, name, step, extractor
        own = next(method.parameters(), torch.empty(0, device="cpu"))
        self.precision = precision or precision_on(own.device, "fp32")
        self.spec: DataSpec = method.spec
        self._shapes: dict[Domain, dict[str, torch.Size]] = {}

    def __repr__(self) -> str:
        a, b = self.spec.names
        return f"Trained({self.name}, {a}: {self.spec.a}, {b}: {self.spec.b}, step {self.step})"

    def translator(self) -> Translator | None:
        """Returns the method, if it translates."""
        return self.method.as_translator()

    def disentangler(self) -> Disentangler | None:
        """Returns the method, if it takes items apart into codes."""
        return self.method.as_disentangler()

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.precision.device

    @contextlib.contextmanager
    def computing(self) -> Iterator[None]:
        """Puts the method into evaluation mode, without gradients, in the model's precision, inside the block."""
        with evaluating(self.method), self.precision.autocast():
            yield

    def items(self, given: Items, domain: str) -> Float[Tensor, "n ..."]:
        """Returns items of a domain as the method takes them, (n, *spec[domain].shape).

        Raises UserError for what can't be brought to that, and for a domain that isn't there.
        """
        domain = self.spec.domain(domain)
        spec = self.spec[domain]
        if isinstance(spec, VectorSpec) and not (self.extractor and is_images(given)):
            return as_vectors(given, spec)
        images, fit = as_images(given, self.image_spec(domain))
        if note := str(fit):
            warnings.warn(note, stacklevel=3)
        return self.preprocess(images)

    def encode(self, x: Items, domain: str) -> Codes:
        """Returns the shared and exclusive codes of items of `domain`."""
        self._disentangler("codes")
        domain = self.spec.domain(domain)
        x = self.items(x, domain)
        with self.computing():
            codes = encode_all(self.method, x, domain)
        return Codes(codes.shared.cpu(), codes.exclusive.cpu())

    def exclusive_size(self, domain: str) -> int:
        """Returns the size of an exclusive code of this domain; 0 if nothing varies on its own, or without codes."""
        return self.code_shapes(domain)["exclusive"].numel() if self.disentangler() else 0

    def code_shapes(self, domain: str) -> dict[str, torch.Size]:
        """Returns the shapes of a shared and an exclusive code of a domain, by part. Raises UserError without codes."""
        self._disentangler("codes")
        domain = self.spec.domain(domain)
        if domain not in self._shapes:
            own = encode_all(self.method, torch.zeros(1, *self.spec[domain].shape, device=self.device), domain)
            self._shapes[domain] = {name: getattr(own, name).shape[1:] for name in PARTS}
        return self._shapes[domain]

    def image_spec(self, domain: str) -> ImageSpec:
        """Returns the spec that image files are brought to. Raises UserError for vectors not made of images."""
        domain = self.spec.domain(domain)
        spec = self.spec[domain]
        if isinstance(spec, ImageSpec):
            return spec
        if self.extractor is None:
            raise UserError(f"{self.name} works on vectors of your own; image files can't be read for it")
        return self.extractor.images[domain]

    def preprocess(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n ..."]:
        """Returns images as the method takes them: themselves, or their features."""
        if self.extractor is None or images.ndim != 4:
            return images
        # networks of features need much memory for an image
        return torch.cat([self.extractor(some) for some in images.split(BATCH)])

    def decode(self, codes: Codes, domain: str) -> Float[Tensor, "n ..."]:
        """Returns the items of `domain` with these codes. Raises UserError for codes of other sizes."""
        method = self._disentangler("codes")
        domain = self.spec.domain(domain)
        codes = self._codes(codes, domain)
        size = batch_size(self.spec[domain].shape)
        parts = zip(codes.shared.split(size), codes.exclusive.split(size), strict=True)
        with self.computing():
            outputs = (
                method.decode(Codes(shared.to(self.device), exclusive.to(self.device)), domain)
                for shared, exclusive in parts
            )
            return torch.cat([some.float().cpu() for some in outputs])

    def translate(
        self,
        x: Items,
        source: str,
        target: str,
        samples: int = 1,
        like: Items | None = None,
        seed: int = 0,
    ) -> Float[Tensor, "n k ..."]:
        """Translates items, `samples` times each.

        Args:
            x: items of the source domain.
            source: their domain.
            target: the domain to translate to.
            samples: translations of each item.
            like: an item of the target domain whose exclusive code all translations take; ask for one sample then.
            seed: of the prior that exclusive codes are drawn from without `like`; column j has the same for every item.

        Returns:
            (n, samples, *spec[target].shape).

        Raises:
            UserError: for a method that doesn't translate, or `like` where the target domain has no exclusive code.
        """
        method, coder = self.translator(), self.disentangler()
        if method is None:
            raise UserError(f"{self.name} does not translate")
        source, target = self.spec.domain(source), self.spec.domain(target, "target domain")
        whole_number(samples, "samples", 1)
        whole_number(seed, "seed", -(2**63), 2**63 - 1)
        x = self.items(x, source)
        style = (
            None if like is None else self._exclusive(self.encode(self._single(like, target, "like"), target), target)
        )
        generator = torch.Generator().manual_seed(seed)
        styles: list[Tensor | None] = [style] * samples
        if style is None and coder is not None:
            with evaluating(self.method):
                styles = [coder.prior(1, target, generator) for _ in range(samples)]
        answers: list[Tensor] = []
        for some in x.split(batch_size(self.spec[target].shape)):
            some = some.to(self.device)
            with self.computing():
                outputs = [
                    method.translate(
                        some, source, target, None if one is None else one.to(self.device).expand(len(some), -1)
                    )
                    for one in styles
                ]
            answers.append(torch.stack(outputs, 1).float().cpu())
        return torch.cat(answers)

    def translate_images(
        self,
        images: Any,
        source: str,
        target: str,
        samples: int = 1,
        like: Items | None = None,
        seed: int = 0,
        fit: Fitting = "cover",
        size: Size = "input",
        deep: bool = False,
    ) -> Iterator[list[Picture]]:
        """Translates images of any size, a few at a time.

        Args:
            images: files, Pillow's images, uint8 or uint16 arrays (h, w) or (h, w, c), or several, or a generator.
            source: their domain.
            target: the domain to translate to.
            samples: translations of each.
            like: see `translate`.
            seed: see `translate`.
            fit: cover (scaled, the middle kept), contain (scaled and padded) or tile (overlapping, not scaled).
            size: the model's, or that of the image, or of what was kept of it. Tiles give the image's.
            deep: whether to give 16 bits a value instead of 8.

        Yields:
            For each image its translations, (H, W, 1 or 3) uint8 or uint16.

        Raises:
            UserError: as `translate`, and for tiles where the domains differ in size.
        """
        source, target = self.spec.domain(source), self.spec.domain(target, "target domain")
        one_of(fit, "fit", ("cover", "contain", "tile"))
        one_of(size, "size", ("model", "input"))
        specs = self._images(source), self._images(target)
        check_tiles(fit, specs)
        reference = None if like is None else self._single(like, target, "like")
        views = enumerate(as_views(images, specs[0], fit))
        answering = partial(self.translate, source=source, target=target, samples=samples, like=reference, seed=seed)
        for _, _, outputs in rendered(views, specs, answering, 2 + samples, size, deep):
            yield outputs

    def analogy(self, shared: Items, exclusive: Items, domain: str) -> Float[Tensor, "r c ..."]:
        """Combines the shared code of each item of `shared` with the exclusive code of each item of `exclusive`.

        Args:
            shared: r items.
            exclusive: c items.
            domain: of all.

        Returns:
            (r, c, *spec[domain].shape): row i, column j has the shared code of item i and the exclusive code of item j.

        Raises:
            UserError: for a domain without exclusive codes.
        """
        return torch.stack(list(self.analogies(shared, exclusive, domain)))

    def analogies(self, shared: Items, exclusive: Items, domain: str) -> Iterator[Float[Tensor, "c ..."]]:
        """Yields the rows of `analogy` one by one. See `Trained.analogy`."""
        domain = self.spec.domain(domain)
        columns = self._exclusive(self.encode(exclusive, domain), domain)
        for row in self.encode(shared, domain).shared:
            yield self.decode(Codes(row.expand(len(columns), *row.shape), columns), domain)

    def swap(self, x: Items, label: str, value: str) -> Float[Tensor, "n ..."]:
        """Replaces one label's value in each image and keeps everything else. Needs a method with class codes.

        Args:
            x: images.
            label: name of the label.
            value: name of its new value.

        Raises:
            UserError: with what there is, for a label or a value that the model doesn't know.
        """
        method, number, at = self._label_value(label, value)
        codes = self.encode(x, "a")
        with evaluating(self.method):
            exclusive = method.with_value(codes.exclusive.to(self.device), number, at).cpu()
        return self.decode(Codes(codes.shared, exclusive), "a")

    def check_value(self, label: str, value: str) -> None:
        """Raises UserError, with what there is, for a label or a value that `swap` can't give."""
        self._label_value(label, value)

    def interpolate(
        self,
        first: Items,
        second: Items,
        part: Literal["shared", "exclusive"],
        domain: str,
        steps: int = 9,
    ) -> Float[Tensor, "k ..."]:
        """Interpolates linearly between two items along one part of the code; the other part stays the first item's.

        Args:
            first: the item to begin with.
            second: the item to end with.
            part: "shared" or "exclusive".
            domain: of both items.
            steps: items of the result, at least 2.

        Returns:
            (steps, *spec[domain].shape).

        Raises:
            UserError: along the exclusive part of a domain without exclusive codes.
        """
        one_of(part, "part", PARTS)
        whole_number(steps, "steps", 2)
        domain = self.spec.domain(domain)
        start = self.encode(self._single(first, domain, "first"), domain)
        end = self.encode(self._single(second, domain, "second"), domain)
        if part == "exclusive":
            self._exclusive(start, domain)
        shared, exclusive = start.shared, start.exclusive
        frames = []
        for share in torch.linspace(0, 1, steps):
            moved = Codes(
                shared.lerp(end.shared, share) if part == "shared" else shared,
                exclusive.lerp(end.exclusive, share) if part == "exclusive" else exclusive,
            )
            frames.append(self.decode(moved, domain)[0])
        return torch.stack(frames)

    def _label_value(self, label: str, value: str) -> tuple[Latent, int, int]:
        """Returns the method, and the numbers of a label and of its value."""
        self._disentangler("codes")
        method = self.method.as_latent()
        if method is None or not self.spec.labels:
            raise UserError(f"{self.name} has no labels to change")
        if label not in self.spec.labels:
            raise UserError(f"There is no label {label!r}; there are: {', '.join(self.spec.labels)}")
        number = self.spec.labels.index(label)
        known = self.spec.values[number]
        if value not in known:
            some = ", ".join(known[:20]) + (f" and {len(known) - 20} more" if len(known) > 20 else "")
            raise UserError(f"{label} has no value {value!r}; it has: {some}")
        return method, number, known.index(value)

    def _images(self, domain: str) -> ImageSpec:
        """Returns the spec of a domain of images."""
        spec = self.spec[self.spec.domain(domain)]
        if not isinstance(spec, ImageSpec):
            raise UserError(f"{self.name} works on vectors here, not on images")
        return spec

    def _single(self, given: Items, domain: Domain, name: str) -> Tensor:
        """Returns one item of a domain, (1, *spec[domain].shape)."""
        x = self.items(given, domain)
        if len(x) != 1:
            raise UserError(f"{name}: one item is needed; found {len(x)}")
        return x

    def _codes(self, codes: Codes, domain: Domain) -> Codes:
        """Returns codes as the method takes them. Raises UserError for others than it makes."""
        found = {name: floats(getattr(codes, name, None), f"{name} codes") for name in PARTS}
        for name, wanted in self.code_shapes(domain).items():
            # an encoder of training items alone has no shared codes to give, and they can be decoded all the same
            if found[name].shape[1:] != wanted and wanted.numel():
                raise UserError(
                    f"The {name} codes of {self.spec.called(domain)} have shape {tuple(wanted)} in this model of "
                    f"{self.name}; found {tuple(found[name].shape[1:])}"
                )
        counts = [len(part) for part in found.values()]
        if counts[0] != counts[1] or not counts[0]:
            raise UserError(
                f"Found {counts[0]} shared and {counts[1]} exclusive codes: give as many of both, one at least"
            )
        return Codes(found["shared"], found["exclusive"])

    def _exclusive(self, codes: Codes, domain: Domain) -> Tensor:
        """Returns the exclusive codes. Raises UserError if they are empty."""
        if codes.exclusive.shape[1] == 0:
            raise UserError(
                f"Images of {self.spec.called(domain)} have no exclusive code in this model of {self.name}: there is "
                "none to take from one of them"
            )
        return codes.exclusive

    def _disentangler(self, what: str) -> Disentangler:
        method = self.disentangler()
        if method is None:
            raise UserError(f"{self.name} has no {what}: it doesn't take items apart into shared and exclusive codes")
        return method


def load(run: str | Path, device: str = "auto", precision: str = "fp32") -> Trained:
    """Loads the best model of a run. Needs the run's folder alone.

    Args:
        run: the folder, hf://user/name, or the URL of a model's .zip or .safetensors with #sha256=HASH.
        device: where it computes: auto (the GPU if there is one), cpu, cuda, cuda:N or mps. What it gives comes back to
            the processor.
        precision: fp32, or bf16 or fp16, which round, or auto: bf16 where the device computes faster in it.

    Raises:
        UserError: there is no model yet, it is damaged or of another version, or there is no such device.
    """
    if is_address(run):
        run = fetched(run)
    setting = precision_on(choose_device(device), precision)
    method, space, saved = load_model(Path(run))
    extractor = load_features(Path(run))[0]
    if extractor is not None:
        extractor.device = setting.device
    return Trained(method.to(setting.device), space, saved.method, saved.step, extractor, setting)
