"""Runs by name, opened when they are first used: model, data, codes of the test part.

Everything that computes holds one lock: pages ask at once, and a model answers them one after another.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from unbraid.core.config import Distance
from unbraid.core.types import DOMAINS, Codes, Domain, ImageSpec, UserError, other
from unbraid.data.equal import Pairing
from unbraid.data.items import identities
from unbraid.data.parts import Data, listing
from unbraid.model.codes import encode_all, evenly_spaced
from unbraid.model.run import Run
from unbraid.model.trained import Trained, load
from unbraid.search.query import identity, open_index
from unbraid.training.experiment import changed_since, read_data

PATIENCE = 30.0
"""Seconds that a request waits for those before it."""
MOST_OPEN = 3
"""Models with their data in memory at once; the one that was not used for longest makes room."""
MOST_CODES = 5000
"""Items of each domain whose codes are kept, at most."""
CODE_BYTES = 200_000_000
"""Memory of one domain's codes, at most: fewer items are kept where codes are large."""
ENCODED = 50
"""Items that are encoded at a time."""


@dataclass(frozen=True)
class Gallery:
    """Codes of test items. at: (n,) their positions in the test part."""

    at: np.ndarray
    codes: Codes


@dataclass
class Opened:
    """A run with its best model, and its data if they could be read.

    without_data: why there are none. remark: what to say with everything that is shown. indexes: those that may have
    been made by this model.
    """

    name: str
    run: Run
    model: Trained
    data: Data | None
    without_data: str = ""
    remark: str = ""
    indexes: Sequence[str] = ()
    _galleries: dict[Domain, Gallery] = field(default_factory=dict)

    @property
    def domains(self) -> tuple[Domain, ...]:
        """Both, or `a` alone if the model was trained on labelled images of one kind."""
        return ("a",) if self.model.spec.classes and not self.model.spec.domains else DOMAINS

    @property
    def distance(self) -> Distance:
        """The distance of shared codes that `evaluate` uses."""
        return self.run.config.train.distance if self.model.space else "euclidean"

    @cached_property
    def sizes(self) -> dict[Domain, tuple[int, int]]:
        """Sizes of the shared and the exclusive code of an item; (0, 0) for a method without codes."""
        found: dict[Domain, tuple[int, int]] = dict.fromkeys(DOMAINS, (0, 0))
        for domain in self.domains if self.model.disentangler() else ():
            shared, exclusive = self.model.code_shapes(domain).values()
            found[domain] = shared.numel(), exclusive.numel()
        return found

    @property
    def index(self) -> str | None:
        """The first of the indexes that was made by this model: one may be made, or go, while the page is open."""
        for place in self.indexes:
            try:
                with closing(open_index(place)) as index:
                    index.identity.check(identity(self.model, index.identity.distance), place)
                return place
            except UserError:
                continue  # another run's, or one that has gone
        return None

    def called(self, domain: Domain) -> str:
        """Returns what a domain is called."""
        return self.model.spec.name(domain)

    def of(self, domain: Domain) -> str:
        """Returns the words that say of which domain an item is; none where there is one."""
        return f" of {self.called(domain)}" if len(self.domains) > 1 else ""

    def choices(self, domains: Sequence[Domain]) -> list[tuple[str, str]]:
        """Returns domains by their names, as something to choose from."""
        return [(self.called(domain), domain) for domain in domains]

    def image_spec(self, domain: Domain) -> ImageSpec:
        """Returns the size of the domain's images. Raises UserError for vectors and for a domain that isn't there."""
        spec = self.model.spec[self.known(domain)]
        if not isinstance(spec, ImageSpec):
            raise UserError(f"{self.name} works on vectors; there is nothing to see")
        return spec

    def known(self, domain: str) -> Domain:
        """Returns the domain, if the run has it. Raises UserError."""
        for mine in self.domains:
            if domain == mine:
                return mine
        raise UserError(f"{self.name} has no domain {domain!r}; it has: {', '.join(self.domains)}")

    def first(self, domain: str | None, among: Sequence[Domain] = ()) -> Domain:
        """Returns the domain that a view begins with: the one that is asked for, or else the first. among: not all."""
        there = among or self.domains
        for mine in there:
            if domain == mine:
                return mine
        return there[0]

    def count(self, domain: Domain) -> int:
        """Returns how many items of the test part this domain has."""
        return 0 if self.data is None else len(self.data.test.domain(domain)[1])

    def item(self, domain: Domain, at: int) -> Tensor:
        """Returns (1, *spec.shape): one item of the test part. Raises UserError, with the range, if there is none."""
        if self.data is None:
            raise UserError(f"There are no test images to pick from: {self.without_data}. Upload one")
        items, rows = self.data.test.domain(domain)
        if not 0 <= at < len(rows):
            raise UserError(f"There is no test item {at}{self.of(domain)}; they are numbered 0 to {len(rows) - 1}")
        return items.read(rows[at : at + 1], 0)

    def title(self, domain: Domain, at: int) -> str:
        """Returns what the item is called in the data."""
        assert self.data is not None
        part = self.data.test
        return part.names_of(domain)[int(part.domain(domain)[1][at])]

    def counterpart(self, domain: Domain, at: int) -> Tensor | None:
        """Returns the true counterpart of a test item, if pairs are known. (1, *spec.shape)."""
        if self.data is None or not self.data.test.pairs():
            return None
        return self.item(other(domain), at)

    def things(self, at: np.ndarray) -> np.ndarray | None:
        """Returns a number for each pair at these positions, the same for pairs that are connected through common
        items. None if pairs aren't known."""
        pairs = self.data.test.pairs() if self.data else None
        return Pairing.of(pairs).things()[at] if pairs is not None else None

    def identity(self, domain: Domain, at: np.ndarray) -> np.ndarray:
        """Returns a number for each position, the same for those that show the same item."""
        assert self.data is not None
        items, rows = self.data.test.domain(domain)
        return identities(items, rows[at])

    def labels(self, domain: Domain, at: np.ndarray) -> dict[str, list[str]]:
        """Returns the labels of test items that are known, by what each is called."""
        return self.data.test.label_words(domain, at) if self.data else {}

    def gallery(self, domain: Domain) -> Gallery:
        """Returns codes of the test part, or of as many of it as the limits allow, spread over it. Computed once."""
        if domain not in self._galleries:
            if self.data is None:
                raise UserError(f"There is no test part to look at: {self.without_data}")
            items, rows = self.data.test.domain(domain)
            most = max(2, min(MOST_CODES, CODE_BYTES // (4 * max(1, sum(self.sizes[domain])))))
            at = evenly_spaced(np.arange(len(rows)), most)
            parts = np.array_split(rows[at], -(-len(at) // ENCODED))
            found = [encode_all(self.model.method, items.read(some, 0), domain) for some in parts]
            codes = Codes(torch.cat([c.shared for c in found]).cpu(), torch.cat([c.exclusive for c in found]).cpu())
            self._galleries[domain] = Gallery(at, codes)
        return self._galleries[domain]


class Runs:
    """Run folders under short names, at most MOST_OPEN of them open at once.

    root: where known data sets lie, if not where they were in training. device: where models compute. indexes: of
    images to search, each made by the model of one of the runs.
    """

    def __init__(
        self,
        paths: list[Path],
        root: Path | None = None,
        patience: float = PATIENCE,
        device: str = "auto",
        indexes: Sequence[str] = (),
    ) -> None:
        self.paths = dict(zip(_short(paths), paths, strict=True))
        self.root, self.patience, self.device, self.indexes = root, patience, device, indexes
        self._open: OrderedDict[str, tuple[int, Opened]] = OrderedDict()
        self._lock = threading.RLock()

    @property
    def names(self) -> list[str]:
        """In the order they were given."""
        return list(self.paths)

    def path(self, name: str) -> Path:
        """Returns the folder of a run. Raises UserError, with the names there are."""
        if name not in self.paths:
            raise UserError(f"There is no run {name!r} here; there are: {', '.join(self.names)}")
        return self.paths[name]

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Waits for this thread's turn to compute. Raises UserError if it doesn't come within the patience."""
        if not self._lock.acquire(timeout=self.patience):
            raise UserError("Too many requests at once. Try again in a moment")
        try:
            yield
        finally:
            self._lock.release()

    @contextmanager
    def using(self, name: str) -> Iterator[Opened]:
        """Yields a run, opened if need be, or opened again if training has written a better model since.

        Raises UserError if it can't be opened: no model yet, a damaged one, a folder that has gone.
        """
        path = self.path(name)
        with self.turn():
            try:
                yield self._opened(name, path)
            except UserError as error:
                # the page needn't know where on this machine the run lies
                raise UserError(str(error).replace(str(path), name)) from error

    def _opened(self, name: str, path: Path) -> Opened:
        file = path / "model.safetensors"
        stamp = file.stat().st_mtime_ns if file.exists() else 0
        before = self._open.pop(name, None)
        if before is None or before[0] != stamp:
            run, model = Run.existing(path), load(path, self.device)
            same_data = before is not None and before[1].data is not None
            data, trouble, remark = (
                (before[1].data, "", before[1].remark) if before and same_data else self._data(name, run)
            )
            before = stamp, Opened(name, run, model, data, trouble, remark, self.indexes)
        elif before[1].data is None:  # which may have come back
            data, trouble, remark = self._data(name, before[1].run)
            if data is None:
                before[1].without_data = trouble
            else:
                before = stamp, replace(before[1], data=data, without_data="", remark=remark)
        self._open[name] = before
        while len(self._open) > MOST_OPEN:
            self._open.popitem(last=False)
        return before[1]

    def _data(self, name: str, run: Run) -> tuple[Data | None, str, str]:
        """Returns the run's data, why there are none, and what is to be said with them."""
        try:
            data = read_data(run, {"root": self.root} if self.root else {})
        except UserError as error:
            return None, str(error).replace(str(run.path), name), ""
        words = "the images are others than in training; some of these may have been trained on"
        changed = changed_since(run.path, listing(data))
        return data, "", "; ".join(filter(None, (data.remark, words if changed else "")))


def _short(paths: list[Path]) -> list[str]:
    """Returns the folders' own names, with as many of those above as it takes to tell them apart."""
    whole = [path.absolute() for path in paths]
    if len({path.resolve() for path in whole}) < len(whole):
        raise UserError("Give each run once")
    for depth in range(1, max(len(path.parts) for path in whole) + 1):
        names = ["/".join(path.parts[-depth:]) for path in whole]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in whole]
