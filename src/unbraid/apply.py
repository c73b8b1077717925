"""What a trained model does: translate, analogies, interpolation, codes. Written once, on the protocols.

model = unbraid.load("runs/demo")
answers = model.translate(images, "a", "b", samples=4)
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from unbraid.codes import BATCH, encode_all, evaluating, exclusive_size
from unbraid.data.features import Extractor, load_features
from unbraid.method import Disentangler, Latent, Method, Translator
from unbraid.metrics.space import CodeSpace
from unbraid.run import load_model
from unbraid.types import Codes, DataSpec, Domain, ImageSpec, UserError

if TYPE_CHECKING:
    from unbraid.retrieval.search import Hit


class Trained:
    """A trained model, on the processor, in evaluation mode.

    spec: what its domains look like. space: how shared codes are compared, if pairs were known. step: when it was best.
    extractor: what makes its vectors of images, if it was trained on a network's features.
    Images go in and come out as (n, c, h, w) float32 in [-1, 1], vectors as (n, d);
    `unbraid.data.images.read_image` reads files so.
    """

    def __init__(
        self,
        method: Method[Any],
        space: CodeSpace | None,
        name: str,
        step: int,
        extractor: Extractor | None = None,
    ) -> None:
        self.method, self.space, self.name, self.step, self.extractor = method, space, name, step, extractor
        self.spec: DataSpec = method.spec

    def __repr__(self) -> str:
        return f"Trained({self.name}, a: {self.spec.a}, b: {self.spec.b}, step {self.step})"

    def encode(self, x: Float[Tensor, "n ..."], domain: Domain) -> Codes:
        """The shared and exclusive codes of items of `domain`. Raises UserError for items of another shape."""
        self._disentangler("codes")
        return encode_all(self.method, self._checked(x, domain), domain)

    def exclusive_size(self, domain: Domain) -> int:
        """How many values the exclusive code of an item of this domain has; 0 if nothing of it varies on its own, or
        the method has no codes."""
        if not isinstance(self.method, Disentangler):
            return 0
        return exclusive_size(self.method, domain)

    def image_spec(self, domain: Domain) -> ImageSpec:
        """What image files of a domain are brought to. Raises UserError for vectors that were made of no images."""
        spec = self.spec[domain]
        if isinstance(spec, ImageSpec):
            return spec
        if self.extractor is None:
            raise UserError(f"{self.name} works on vectors of your own; image files can't be read for it")
        return self.extractor.images[domain]

    def seen(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n ..."]:
        """Images as the method takes them: themselves, or their features."""
        if self.extractor is None or images.ndim != 4:
            return images
        # networks of features need much memory for an image
        return torch.cat([self.extractor(some) for some in images.split(BATCH)])

    def decode(self, codes: Codes, domain: Domain) -> Float[Tensor, "n ..."]:
        """The items of `domain` that these codes describe."""
        method = self._disentangler("codes")
        with evaluating(self.method):
            return method.decode(codes, domain)

    def translate(
        self,
        x: Float[Tensor, "n ..."],
        source: Domain,
        target: Domain,
        samples: int = 1,
        like: Float[Tensor, "1 ..."] | None = None,
        seed: int = 0,
    ) -> Float[Tensor, "n {samples} ..."]:
        """`samples` answers for each item, shown in `target`: (n, samples, *spec[target].shape).

        The exclusive code of an answer is drawn from the prior by `seed`, the same for every item in a column, or
        taken from the item `like` of the target domain (then all answers are alike; ask for one).
        Raises UserError for items of another shape, a method that doesn't translate, or `like` where the target domain
        has nothing alone.
        """
        if not isinstance(self.method, Translator):
            raise UserError(f"{self.name} does not translate")
        x = self._checked(x, source)
        style = self._alone(self.encode(like, target), target) if like is not None else None
        generator = torch.Generator().manual_seed(seed)
        answers = []
        with evaluating(self.method):
            for _ in range(samples):
                drawn = style
                if style is None and isinstance(self.method, Disentangler):
                    drawn = self.method.prior(1, target, generator)
                answers.append(
                    self.method.translate(x, source, target, None if drawn is None else drawn.expand(len(x), -1))
                )
        return torch.stack(answers, 1)

    def analogy(
        self, shared: Float[Tensor, "r ..."], exclusive: Float[Tensor, "c ..."], domain: Domain
    ) -> Float[Tensor, "r c ..."]:
        """Row i, column j: the shared part of item i of `shared` with the exclusive part of item j of `exclusive`.

        Raises UserError for items of another shape, or a domain that has nothing alone.
        """
        columns = self._alone(self.encode(exclusive, domain), domain)
        rows = self.encode(shared, domain).shared
        return torch.stack([self.decode(Codes(row.expand(len(columns), *row.shape), columns), domain) for row in rows])

    def swap(self, x: Float[Tensor, "n ..."], label: str, value: str) -> Float[Tensor, "n ..."]:
        """Each image with another value of one label, and everything else as it was. Needs a method with class codes.

        Raises UserError, with what there is, for a label or a value that the model doesn't know.
        """
        method = self._disentangler("codes")
        if not isinstance(method, Latent) or not self.spec.labels:
            raise UserError(f"{self.name} has no labels to change")
        if label not in self.spec.labels:
            raise UserError(f"There is no label {label!r}; there are: {', '.join(self.spec.labels)}")
        number = self.spec.labels.index(label)
        if value not in self.spec.values[number]:
            known = self.spec.values[number]
            some = ", ".join(known[:20]) + (f" and {len(known) - 20} more" if len(known) > 20 else "")
            raise UserError(f"{label} has no value {value!r}; it has: {some}")
        codes = self.encode(x, "a")
        with evaluating(self.method):
            exclusive = method.with_value(codes.exclusive, number, self.spec.values[number].index(value))
        return self.decode(Codes(codes.shared, exclusive), "a")

    def interpolate(
        self,
        first: Float[Tensor, "1 ..."],
        second: Float[Tensor, "1 ..."],
        part: Literal["shared", "exclusive"],
        domain: Domain,
        steps: int = 9,
    ) -> Float[Tensor, "{steps} ..."]:
        """From `first` towards `second` along one part of the code, in a straight line; the rest stays `first`'s.

        Raises UserError for items of another shape, or along the exclusive part of a domain that has nothing alone.
        """
        start, end = self.encode(first, domain), self.encode(second, domain)
        if part == "exclusive":
            self._alone(start, domain)
        frames = []
        for share in torch.linspace(0, 1, steps):
            moved = Codes(
                start.shared.lerp(end.shared, share) if part == "shared" else start.shared,
                start.exclusive.lerp(end.exclusive, share) if part == "exclusive" else start.exclusive,
            )
            frames.append(self.decode(moved, domain)[0])
        return torch.stack(frames)

    def search(
        self,
        index: str | Path,
        images: Float[Tensor, "n ..."],
        k: int = 10,
        domain: Domain | None = None,
        by: Literal["shared", "exclusive"] = "shared",
        among: Domain | None = None,
        where: Mapping[str, str] | None = None,
        but: Sequence[Path | None] = (),
    ) -> "list[list[Hit]]":
        """The k nearest items of an index for each image, nearest first; an index is what `unbraid index` makes.

        index: a folder, or milvus://HOST:PORT/COLLECTION. images: as `image_spec` says, or vectors for a model of
        vectors. domain: of the images; default: by shared codes the one that the index doesn't hold, by exclusive ones
        the one that it holds. by: what they show, or their style. among: the domain to find items of; default: all, by
        exclusive codes those of `domain`. where: metadata that items must have. but: for each image, a file that is
        not to be found.
        Raises UserError for items of another shape, or an index that was made by another model.
        """
        from unbraid.retrieval.search import open_index, query

        opened = open_index(index)
        try:
            return query(opened, self, images, k, domain, by, among, where, but)
        finally:
            opened.close()

    def _alone(self, codes: Codes, domain: Domain) -> Tensor:
        """The exclusive codes, of which there must be something."""
        if codes.exclusive.shape[1] == 0:
            raise UserError(
                f"Images of domain {domain} have nothing alone in this model of {self.name}: no exclusive code to take "
                "from one of them"
            )
        return codes.exclusive

    def _disentangler(self, what: str) -> Disentangler:
        if not isinstance(self.method, Disentangler):
            raise UserError(f"{self.name} has no {what}: it doesn't take items apart into shared and exclusive codes")
        return self.method

    def _checked(self, x: Tensor, domain: Domain) -> Tensor:
        if tuple(x.shape[1:]) != self.spec[domain].shape:
            raise UserError(
                f"Domain {domain} of this model has {self.spec[domain]}, shape {self.spec[domain].shape}; "
                f"found items of shape {tuple(x.shape[1:])}"
            )
        return x


def load(run: str | Path) -> Trained:
    """The best model of a run. Needs the run's folder alone.

    Raises UserError if there is none yet, it is damaged, or of another version.
    """
    method, space, meta = load_model(Path(run))
    return Trained(method, space, meta["method"], meta["step"], load_features(Path(run))[0])
