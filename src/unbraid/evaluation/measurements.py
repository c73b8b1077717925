"""What `evaluate` measures of a trained model on the test part: retrieval, translations, content transfer, leakage."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from unbraid.core.config import PACKAGED, Distance, PerceptualConfig
from unbraid.core.method import Disentangler, Translator
from unbraid.core.types import DOMAINS, Codes, Domain, ImageSpec, UserError, other
from unbraid.data.equal import Pairing, differ
from unbraid.data.parts import Data, LabelledPart, PairedPart, Part, side, strangers
from unbraid.evaluation.metrics.images import (
    Lpips,
    features,
    frechet_distance,
    kernel_distance,
    known_features,
    psnr,
    ssim,
)
from unbraid.evaluation.metrics.probes import Kind, probe, regress
from unbraid.evaluation.metrics.retrieval import NEIGHBOURS, recall, union, union_chance
from unbraid.evaluation.metrics.transfer import transferred, transfers
from unbraid.evaluation.validation import PER_CLASS, PROBED, residual_figures
from unbraid.model.codes import (
    BATCH,
    decode_all,
    encode_part,
    encode_rows,
    encode_sides,
    evaluating,
    read,
    spread,
)
from unbraid.model.trained import Trained
from unbraid.nn.pretrained.perceptual import SMALLEST, Vgg16, find_weights

TRANSLATED = 500
"""Images of each domain that are translated and compared, at most."""
TRANSFERS = 2000
"""Content transfers that are compared, at most."""
FEWEST = 8
"""Items that a distance of sets, or a correlation, needs at least."""
TRIED = 5
"""Items that a probe is tried on, at least: of fewer, guesses between two classes are all right once in 20 times."""
QUERIES = 2000
"""Items of each domain whose neighbours among the items of both are counted, at most."""
LARGEST_COMPARED = 64
"""Pixels a side of the images whose pixels are compared."""
LARGEST_PROBED = 20_000
"""Values of a code that is probed, at most."""


@dataclass(frozen=True)
class Judges:
    """The networks that images are compared by. Without weights both are missing, and `remark` says so."""

    lpips: Lpips | None
    vgg: Vgg16 | None
    remark: str = ""

    @classmethod
    def find(cls, config: PerceptualConfig) -> "Judges":
        """As `config` names them. Raises UserError if a file or a download that the user asked for is no good."""
        try:
            lpips = Lpips(find_weights("alexnet", config, "--perceptual"))
            return cls(lpips, Vgg16(find_weights("vgg16", config, "--perceptual")))
        except UserError as error:
            if config != PACKAGED:
                raise
            return cls(None, None, f"LPIPS, Fréchet and kernel distances are not measured. {error}")

    def pairs(self, made: Tensor, true: Tensor) -> dict[str, float]:
        """Mean LPIPS, PSNR and SSIM of images and what they should be."""
        return {name: mean(values) for name, values in self.each(made, true).items()}

    def each(self, made: Tensor, true: Tensor) -> dict[str, Tensor]:
        """LPIPS, PSNR and SSIM of each image and what it should be: (n,) each."""
        return {**self.looks(made, true), "psnr": psnr(made, true), "ssim": ssim(made, true)}

    def looks(self, made: Tensor, true: Tensor) -> dict[str, Tensor]:
        """LPIPS of each image and what it should be, (n,). Empty without weights, or for other than grey and colour."""
        if self.lpips is None or made.shape[1] not in (1, 3):
            return {}
        return {"lpips": self.lpips(made, true)}

    def seen(self, images: Tensor, real: bool = False) -> Tensor:
        """The features that are named in the protocol, (n, d): those of real images are kept for the next model.

        (n, 0) without weights, and for images that VGG16 can't see.
        """
        if self.vgg is None or min(images.shape[2:]) < SMALLEST or images.shape[1] not in (1, 3):
            return torch.zeros(len(images), 0)
        return known_features(self.vgg, images) if real else features(self.vgg, images)

    def sets(self, x: Tensor, y: Tensor) -> dict[str, float]:
        """Fréchet and kernel distance of two sets of images by what was seen of them; empty for nothing, and for fewer
        than FEWEST."""
        if min(len(x), len(y)) < FEWEST or not x.shape[1]:
            return {}
        return {"frechet": frechet_distance(x, y), "kernel": kernel_distance(x, y)}


def mean(values: Tensor) -> float:
    """The figure that is given for so many images."""
    return round(float(values.clamp(max=100).mean()), 4)  # equal images have an infinite PSNR


def retrieval(model: Trained, part: PairedPart, distance: Distance) -> dict[str, Any]:
    """Recall both ways, of shared and exclusive codes and of pixels, by pair and by label; by other distances too.

    And what their neighbours are among the items of both domains. What can't fail is left out.
    """
    compared, items = _compared(model, part), Pairing.of(part)
    labels = part.label(np.arange(len(part)))
    metrics: dict[str, Any] = {"recall": _recalls(compared, distance, model, items)}
    if labels is not None:
        metrics["recall_label"] = _recalls(compared, distance, model, items, torch.from_numpy(labels))
    for elsewhere in get_args(Distance):
        if elsewhere not in (distance, *(() if model.space else ("whitened", "cosine"))):
            metrics[f"recall_{elsewhere}"] = _recalls({"shared": compared["shared"]}, elsewhere, model, items)
    metrics["union"] = _unions(compared, part, distance, model, items)
    return {name: figures for name, figures in metrics.items() if figures}


def _compared(model: Trained, part: PairedPart) -> dict[str, tuple[Tensor, Tensor]]:
    """What retrieval compares, of a and of b: codes and pixels, (n, ...) each, of those that have one shape and hold
    something."""
    a, b = encode_sides(model.method, part)
    others = {"exclusive": (a.exclusive, b.exclusive), "pixels": (_pixels(part, "a"), _pixels(part, "b"))}
    alike = {name: (x, y) for name, (x, y) in others.items() if x.shape == y.shape and x.shape[1]}
    return {"shared": (a.shared, b.shared), **alike}


def _pixels(part: PairedPart, domain: Domain) -> Tensor:
    """One side as it is stored, images of more than `LARGEST_COMPARED` pixels a side averaged down to that: ten
    thousand of 256 x 256 would take 8 gigabytes."""
    items, rows = side(part, domain)
    kept = []
    for some in np.array_split(rows, -(-len(rows) // BATCH)):
        x = items.read(some, 0)
        if x.ndim == 4 and max(x.shape[2:]) > LARGEST_COMPARED:
            x = interpolate(x, [min(length, LARGEST_COMPARED) for length in x.shape[2:]], mode="area")
        kept.append(x)
    return torch.cat(kept)


def _recalls(
    compared: dict[str, tuple[Tensor, Tensor]],
    distance: Distance,
    model: Trained,
    items: Pairing,
    labels: Tensor | None = None,
) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for name, (a, b) in compared.items():
        measured, space = (distance, model.space) if name == "shared" else ("euclidean", None)
        ways = recall(a, b, labels, measured, space, (items.number["a"], items.number["b"]))
        table[name] = {way: figures for way, figures in ways.items() if figures}
    return {name: ways for name, ways in table.items() if ways}


def _unions(
    compared: dict[str, tuple[Tensor, Tensor]], part: PairedPart, distance: Distance, model: Trained, items: Pairing
) -> dict[str, Any]:
    """Neighbours among the items of both domains, each of which is there once, and what chance would give. Empty where
    all other items are neighbours."""
    once = [torch.from_numpy(items.first[domain]) for domain in DOMAINS]
    if sum(map(len, once)) - 1 <= NEIGHBOURS:
        return {}
    pairs = torch.from_numpy(items.pairs)
    labels = part.label(np.arange(len(part)))
    table: dict[str, Any] = {"neighbours": NEIGHBOURS, "queries": {}, "chance": {}, **{name: {} for name in compared}}
    for own, (source, target) in enumerate((("a", "b"), ("b", "a"))):
        way, mine, theirs = f"{source}->{target}", once[own], once[1 - own]
        at = torch.from_numpy(spread(np.arange(len(mine)), QUERIES))
        partners = pairs if own == 0 else pairs.flip(1)
        classes = None if labels is None else (torch.from_numpy(labels)[mine], torch.from_numpy(labels)[theirs])
        table["queries"][way] = len(at)
        table["chance"][way] = union_chance(len(mine), len(theirs), partners, classes, at)
        for name, pair in compared.items():
            vectors = [x.flatten(1).float() for x in pair]
            if name == "shared" and model.space:
                vectors = [model.space.prepared(x, d, distance) for x, d in zip(pair, DOMAINS, strict=True)]
            table[name][way] = union(vectors[own][mine], vectors[1 - own][theirs], partners, classes, at)
    return table


def translation(model: Trained, part: Part, judges: Judges, limit: int | None) -> dict[str, Any]:
    """Translations both ways, against true counterparts where they are known, and as a set against the target domain.

    sample: exclusive code drawn, one for each image. guided: exclusive code of the true counterpart. random: another
    image of the target domain in place of an answer. real: one half of the target domain against the other.
    Empty for vectors and for what doesn't translate.
    """
    if not (isinstance(model.method, Translator) and all(isinstance(model.spec[d], ImageSpec) for d in DOMAINS)):
        return {}
    table: dict[str, Any] = {}
    for source in DOMAINS:
        target = other(source)
        x, y = (read(part, domain, min(TRANSLATED, limit or TRANSLATED)) for domain in (source, target))
        made = sampled(model, x, source)
        figures: dict[str, Any] = {"images": len(x)}
        if isinstance(part, PairedPart):
            figures["sample"] = judges.pairs(made, y)
            if isinstance(model.method, Disentangler):
                figures["guided"] = judges.pairs(guided(model, x, y, source), y)
            items, rows = side(part, target)
            rows = spread(rows, len(y))
            others = strangers(len(y))
            if len(apart := np.flatnonzero(differ(items, rows, rows[others]))):
                figures["random"] = judges.pairs(y[others[apart]], y[apart])
        real = judges.seen(y, real=True)
        figures["sample set"] = judges.sets(judges.seen(made), real)
        figures["real set"] = judges.sets(real[::2], real[1::2])
        table[f"{source}->{target}"] = figures
    return table


def guided(model: Trained, x: Tensor, y: Tensor, source: Domain) -> Tensor:
    """A translation of each item of x, with the exclusive code of that of y."""
    made = []
    for some, others in zip(x.split(BATCH), y.split(BATCH), strict=True):
        codes = Codes(model.encode(some, source).shared, model.encode(others, other(source)).exclusive)
        made.append(decode_all(model.method, codes, other(source)))
    return torch.cat(made)


def sampled(model: Trained, x: Tensor, source: Domain) -> Tensor:
    """A translation of each item, its exclusive code drawn for it alone."""
    target, method = other(source), model.method
    assert isinstance(method, Translator)
    generator = torch.Generator().manual_seed(0)
    answers = []
    with evaluating(model.method):
        for some in x.split(BATCH):
            style = method.prior(len(some), target, generator) if isinstance(method, Disentangler) else None
            answers.append(method.translate(some, source, target, style))
    return torch.cat(answers)


def residual(model: Trained, part: PairedPart) -> dict[str, float]:
    """How far what is found follows the residual and the content that the data were made of: correlations, in [0, 1],
    as `residual_figures` says. Empty where these aren't known, and for fewer than FEWEST items."""
    if len(part) < FEWEST:
        return {}
    return {name: round(value, 5) for name, value in residual_figures(model.method, part).items()}


def content_transfer(
    model: Trained, part: LabelledPart, judges: Judges, limit: int | None, seed: int
) -> dict[str, Any]:
    """The class of one image with the content of another, against the image that shows both.

    class image: the image that gives the class in place of an answer. again: the true image, from its own codes.
    Empty if content isn't known.
    """
    tasks = transfers(part, min(TRANSFERS, limit or TRANSFERS), seed)
    if not len(tasks):
        return {}
    true = part.x.read(part.rows[tasks.truth], 0)
    made = transferred(model.method, part, tasks)
    codes = encode_rows(model.method, part, tasks.truth)
    return {
        "tasks": len(tasks),
        "transfer": {**judges.pairs(made, true), **judges.sets(judges.seen(made), judges.seen(true, real=True))},
        "again": judges.pairs(decode_all(model.method, codes, "a"), true),
        "class image": judges.pairs(part.x.read(part.rows[tasks.class_from], 0), true),
    }


def probes(model: Trained, data: Data, limit: int | None, seed: int) -> dict[str, Any]:
    """What a reader finds in each code: accuracy in percent beside chance and a control, or R^2 beside one.

    A quarter of the items is held out from each probe. Empty for a method without codes.
    """
    if not isinstance(model.method, Disentangler):
        return {}
    if isinstance(data.test, LabelledPart):
        # by image: classes seen in training have a probe of their own, and so have those of the test part
        assert isinstance(data.train, LabelledPart)
        assert isinstance(data.val, LabelledPart)
        seen = replace(data.train, rows=np.sort(np.concatenate([data.train.rows, data.val.rows])))
        parts = {"training classes": seen, "test part": data.test}
        return {name: _labelled(model, part, limit, seed) for name, part in parts.items()}
    count = min(PROBED // 2, limit or PROBED // 2)  # of each domain
    a, b = (
        encode_part(
            model.method,
            data.test,
            domain,
            count,
            exclusive=model.exclusive_size(domain) <= LARGEST_PROBED,
        )
        for domain in DOMAINS
    )
    table: dict[str, Any] = {}
    held_out = _quarter(len(a.shared), seed)
    domains = torch.cat([torch.zeros(len(a.shared)), torch.ones(len(b.shared))]).long()
    both = torch.cat([held_out, _quarter(len(b.shared), seed)])
    for name, pair in {"shared": (a.shared, b.shared), "exclusive": (a.exclusive, b.exclusive)}.items():
        if pair[0].shape[1:] == pair[1].shape[1:] and pair[0].shape[1]:  # no code need hold the domain: each by itself
            table |= _read(probe, "domain", {name: torch.cat(pair).flatten(1)}, domains, both, seed)
    if isinstance(data.test, PairedPart) and data.test.labels is not None:
        labels = torch.from_numpy(data.test.labels[spread(data.test.rows, count)])
        for domain, codes in (("a", a), ("b", b)):
            named = {"shared": codes.shared.flatten(1), "exclusive": codes.exclusive.flatten(1)}
            table |= _read(probe, "label", named, labels, held_out, seed, f", {domain}")
    if isinstance(data.test, PairedPart):
        named = {"shared": a.shared.flatten(1), "exclusive": a.exclusive.flatten(1)}
        for factor, values in data.test.factors.items():
            wanted = torch.from_numpy(values[spread(data.test.rows, count)]).float()
            table |= _read(regress, factor, named, wanted, held_out, seed, ", a, R^2")
    return table


def _labelled(model: Trained, part: LabelledPart, limit: int | None, seed: int) -> dict[str, Any]:
    every = part.label(np.arange(len(part)))
    columns = [*every.T, *([] if part.content is None else [part.content[part.rows]])]
    most = max(PROBED, PER_CLASS * max(len(np.unique(column)) for column in columns))
    at = spread(np.arange(len(part)), min(most, limit or most))
    found = encode_rows(model.method, part, at)
    codes = {"content": found.shared.flatten(1), "class": found.exclusive.flatten(1)}
    labels, held_out = torch.from_numpy(every[at]), _quarter(len(at), seed)
    table: dict[str, Any] = {}
    for column in range(labels.shape[1]):
        what = "class" if labels.shape[1] == 1 else f"label {column + 1}"
        table |= _read(probe, what, codes, labels[:, column], held_out, seed)
    if part.content is not None:
        content = part.content[part.rows[at]]
        known = np.flatnonzero(content >= 0)
        if len(known) > 8:
            some = {name: code[known] for name, code in codes.items()}
            table |= _read(probe, "content", some, torch.from_numpy(content[known]), held_out[known], seed)
    for factor, values in part.factors.items():
        wanted = torch.from_numpy(values[part.rows[at]]).float()
        table |= _read(regress, factor, codes, wanted, held_out, seed, ", R^2")
    return table


def _read(
    read: Callable[..., Any],
    what: str,
    codes: dict[str, Tensor],
    wanted: Tensor,
    held_out: Tensor,
    seed: int,
    after: str = "",
) -> dict[str, Any]:
    """What a linear and a one-hidden-layer reader find in each code, or why there is nothing to find.

    Where one code says more than the other, it is the other's control too: that a code doesn't tell the class says
    nothing of a model none of whose codes does.

    Args:
        read: `probe` or `regress`.
        what: what is looked for.
        codes: one or two by name, each (n, d).
        wanted: (n,), a label or a number.
        held_out: (n,) bool.
        seed: of the readers.
        after: ends a row's name.

    Returns:
        "WHAT from CODE": {kind: result as a dictionary}.
    """
    table: dict[str, Any] = {}
    results: dict[str, dict[str, Any]] = {}
    tried = int(held_out.sum())
    if tried < TRIED:
        why = f"a probe is tried on {TRIED} items at least, and of these {tried} would be held out"
        return {f"{what} from {name}{after}": {"not measured": why} for name in codes}
    for name, code in codes.items():
        row = f"{what} from {name}{after}"
        table[row] = {"not measured": f"codes of 1 to {LARGEST_PROBED} values are probed, and these have none or more"}
        if 0 < code.shape[1] <= LARGEST_PROBED:
            try:
                results[row] = {kind: read(code, wanted, held_out, kind, seed) for kind in get_args(Kind)}
            except ValueError as error:  # too few items, or too few classes
                table[row] = {"not measured": str(error)}
    for row, kinds in results.items():
        other = next((found for name, found in results.items() if name != row), kinds)
        table[row] = {kind: asdict(result.beside(other[kind])) for kind, result in kinds.items()}
    return table


def _quarter(count: int, seed: int) -> Tensor:
    """(n,) bool: a quarter of the items, drawn by the seed; one at least."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    chosen = torch.zeros(count, dtype=torch.bool)
    chosen[order[: max(1, count // 4)]] = True
    return chosen
