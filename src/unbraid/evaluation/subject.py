"""What is measured: a model, a part of data, and what several measures need of them, computed once."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from unbraid.core.config import Distance
from unbraid.core.method import Disentangler, Translator
from unbraid.core.short import Short
from unbraid.core.types import DOMAINS, Codes, Domain, other
from unbraid.data.equal import Pairing
from unbraid.data.items import Items, Rows
from unbraid.data.parts import Data, LabelledPart, PairedPart, Part
from unbraid.evaluation.networks import NO_NETWORKS, PerceptualNetworks
from unbraid.model.codes import (
    BATCH,
    device_of,
    encode_all,
    encode_part,
    evaluating,
    sample_codes,
)
from unbraid.model.trained import Trained

KEPT_BYTES = 2**28
"""Codes or images that are kept for the next measure, at most; larger ones are computed again."""
T = TypeVar("T", Tensor, Codes)
V = TypeVar("V")


@dataclass
class Subject(Short):
    """A model with the part of the data that it is measured on.

    Args:
        model: The model.
        data: The data, as the model trains on them.
        part: The part to measure on: the test part, or in training the validation part.
        distance: The distance of shared codes.
        networks: Networks that images are compared by.
        limit: Items of a figure at most; None for each measure's own limit.
        seed: Of everything that is drawn.
        log: The log of training, if there is one.
        chosen_by: How training chose the model, in words.
        encodes: Whether items that training doesn't see have codes; not in the first stage of some methods.
    """

    model: Trained
    data: Data
    part: Part
    distance: Distance = "euclidean"
    networks: PerceptualNetworks = NO_NETWORKS
    limit: int | None = None
    seed: int = 0
    log: Path | None = None
    chosen_by: str = ""
    encodes: bool = True
    _kept: dict[tuple[object, ...], Tensor | Codes] = field(default_factory=dict)
    _figures: dict[str, Any] = field(default_factory=dict)

    @property
    def paired(self) -> PairedPart | None:
        """The part if its pairs are known."""
        return self.part.pairs()

    @property
    def labelled(self) -> LabelledPart | None:
        """The part if it has items of one kind with labels."""
        return self.part.labelled()

    @property
    def classes(self) -> bool:
        """True if the part's items have classes, and no pairs are known."""
        return has_classes(self.part)

    @property
    def codes(self) -> Disentangler | None:
        """The method if it takes items apart into codes."""
        return self.model.method.as_disentangler()

    @property
    def translator(self) -> Translator | None:
        """The method if it translates, and both domains are images."""
        return self.model.method.as_translator() if self.model.spec.of_images else None

    @property
    def device(self) -> torch.device:
        """Where the model computes, and what is measured of it too."""
        return device_of(self.model.method)

    @cached_property
    def pairing(self) -> Pairing:
        """The pairing of the part: which items of a part with pairs are equal, and belong together."""
        assert self.paired
        return Pairing.of(self.paired)

    @property
    def sources(self) -> tuple[Domain, ...]:
        """The domains whose items the method translates."""
        return self.model.method.sources()

    def at_most(self, count: int) -> int:
        """Returns a measure's own limit, or the smaller one that was asked for."""
        return min(count, self.limit or count)

    def encoded(self, domain: Domain, count: int | None = None, exclusive: bool = True) -> Codes:
        """Returns the codes of `count` items spread over a domain of the part, or of all. See `encode_part`."""
        size = len(self.part.domain(domain)[1])
        key = ("codes", domain, min(count or size, size), exclusive)
        return self._computed(key, lambda: encode_part(self.model.method, self.part, domain, count, exclusive))

    def read(self, items: Items, rows: Rows) -> Tensor:
        """Returns items as they are stored, (len(rows), *spec.shape), on the model's device."""
        return items.read(rows, 0).to(self.device)

    def codes_of(self, domain: Domain, rows: Rows) -> Codes:
        """Returns the codes of these rows of a domain of the part; of those of all its items, where these are kept."""
        items, known = self.part.domain(domain)
        kept = self._kept.get(("codes", domain, len(known), True))
        if not isinstance(kept, Codes):
            return encode_all(self.model.method, items.read(rows, 0), domain)
        order = np.argsort(known, kind="stable")
        at = torch.from_numpy(order[np.searchsorted(known, rows, sorter=order)])
        return Codes(kept.shared[at], kept.exclusive[at])

    def samples(self, source: Domain, rows: Rows, count: int, generator: torch.Generator) -> Tensor:
        """Returns translations of rows of a domain, (len(rows), count, *spec.shape). See `sample_all`."""
        return sample_codes(self.model.method, self.codes_of(source, rows).shared, other(source), count, generator)

    def both_encoded(self) -> tuple[Codes, Codes]:
        """Returns the codes of a and of b; exclusive ones if they have one size, else (n, 0)."""
        one, two = (self.model.exclusive_size(domain) for domain in DOMAINS)
        a, b = (self.encoded(domain, exclusive=one == two) for domain in DOMAINS)
        return a, b

    def translated(self, source: Domain, rows: Rows) -> Tensor:
        """Returns a translation of each item in these rows of a domain, its exclusive code drawn for it alone."""
        items, _ = self.part.domain(source)
        return self._computed(
            ("translations", source, np.asarray(rows).tobytes()),
            lambda: sampled(self.model, items.read(rows, 0), source),
        )

    def translated_features(self, source: Domain, rows: Rows) -> Tensor:
        """Returns the features of `translated`, see `PerceptualNetworks.features`."""
        key = ("features", source, np.asarray(rows).tobytes())
        return self._computed(key, lambda: self.networks.features(self.translated(source, rows)))

    def figures(self, name: str, compute: Callable[[], V]) -> V:
        """Returns figures that several measures give, computed once."""
        if name not in self._figures:
            self._figures[name] = compute()
        return self._figures[name]

    def _computed(self, key: tuple[object, ...], compute: Callable[[], T]) -> T:
        if key in self._kept:
            return self._kept[key]  # type: ignore[return-value]
        found = compute()
        tensors = [found] if isinstance(found, Tensor) else [found.shared, found.exclusive]
        if sum(x.nbytes for x in tensors) <= KEPT_BYTES:
            self._kept[key] = found
        return found


def has_classes(part: Part) -> bool:
    """Returns whether the items of both domains have classes, and no pairs are known."""
    return not (part.pairs() or part.labelled()) and all(part.labels_of(domain) is not None for domain in DOMAINS)


def sampled(model: Trained, x: Tensor, source: Domain) -> Tensor:
    """Returns a translation of each item, its exclusive code drawn for it alone. See `Trained.translate`."""
    target, translator, codes = other(source), model.method.as_translator(), model.method.as_disentangler()
    assert translator
    device, generator = device_of(model.method), torch.Generator().manual_seed(0)
    answers = []
    with evaluating(model.method):
        for some in x.split(BATCH):
            style = codes.prior(len(some), target, generator).to(device) if codes else None
            answers.append(translator.translate(some.to(device), source, target, style))
    return torch.cat(answers)
