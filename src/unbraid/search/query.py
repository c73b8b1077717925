"""Queries to an index: the nearest items, with their files and metadata.

Legend: q queries, k neighbours, d size of a code.
"""

import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from unbraid.core.config import Distance
from unbraid.core.types import DOMAINS, Domain, UserError, other
from unbraid.model.inputs import Items, one_of, whole_number
from unbraid.model.trained import Trained
from unbraid.search.embed import code_sizes, vectors
from unbraid.search.hit import Hit, Index
from unbraid.search.identity import Identity, fingerprint
from unbraid.search.index import Part, Searcher
from unbraid.search.store import Store

MOST = 16_384
"""Neighbours of a query at most: what Milvus gives."""


class FolderIndex:
    """An index that `unbraid index` wrote into a folder."""

    def __init__(self, folder: Path) -> None:
        self._store = Store.reading(folder)
        self.identity, self.place = self._store.identity, str(folder)
        self._searcher = Searcher(folder)

    @property
    def domains(self) -> list[Domain]:
        """The domains that have items."""
        return self._searcher.domains

    def nearest(
        self, domain: Domain, part: Part, queries: np.ndarray, k: int, where: Mapping[str, str]
    ) -> list[list[Hit]]:
        """Returns up to k hits for each query. See `Index.nearest`. Raises UserError for a field that no image has."""
        only = None
        if where:
            fields = self._store.fields()
            if unknown := [field for field in where if field not in fields]:
                raise UserError(
                    f"{self.place} has no metadata {', '.join(unknown)}; it has: {', '.join(fields) or 'none'}"
                )
            only = self._store.matching(domain, dict(where))
        distances, ids = self._searcher.search(domain, part, queries, k, only)
        known = self._store.lookup(np.unique(ids[ids >= 0]).tolist())
        return [
            [
                Hit(Path(known[number][0]), domain, max(0.0, float(distance)) ** 0.5, known[number][1])
                for distance, number in zip(row, row_ids.tolist(), strict=True)
                if number in known
            ]
            for row, row_ids in zip(distances, ids, strict=True)
        ]

    def holds(self, path: Path) -> bool:
        """Returns whether a file is one of the images, by whatever name."""
        return self._store.holds(path)

    def close(self) -> None:
        """Closes the records."""
        self._store.close()


def open_index(place: str | Path) -> Index:
    """Opens the index in a folder, or at milvus://HOST:PORT/COLLECTION. Raises UserError if there is none."""
    if str(place).startswith("milvus://"):
        from unbraid.search.milvus import MilvusIndex

        return MilvusIndex(str(place))
    return FolderIndex(Path(place))


def search(
    index: Index,
    codes: np.ndarray,
    source: Domain,
    part: Part = "shared",
    k: int = 10,
    target_domain: Domain | None = None,
    where: Mapping[str, str] | None = None,
    exclude: Sequence[str | Path | None] = (),
    called: Callable[[Domain], str] = "domain {}".format,
) -> list[list[Hit]]:
    """Returns the k nearest of each query, (q, d) codes as the index compares them, nearest first. See `search_index`.

    called: what errors call a domain. Raises UserError for a domain that isn't there or whose codes have another size.
    """
    whole_number(k, "--k", 1, MOST - 1)
    if exclude and len(exclude) != len(codes):
        raise UserError(
            f"There are {len(codes)} queries and {len(exclude)} files to leave out: give one, or None, for each"
        )
    domains = _among(index, source, part, target_domain, called)
    wanted = k + any(path is not None for path in exclude)
    conditions = {field: str(value) for field, value in (where or {}).items()}
    found: list[list[Hit]] = [[] for _ in codes]
    for domain in domains:
        for row, hits in zip(found, index.nearest(domain, part, codes, wanted, conditions), strict=True):
            row.extend(hits)
    left_out = [None if path is None else Path(path).resolve() for path in exclude] or [None] * len(codes)
    return [
        sorted((hit for hit in row if hit.path != self_), key=lambda hit: hit.distance)[:k]
        for row, self_ in zip(found, left_out, strict=True)
    ]


def query(
    index: Index,
    model: Trained,
    images: Items,
    k: int,
    domain: str | None,
    code: Part,
    target_domain: str | None,
    where: Mapping[str, str] | None,
    exclude: Sequence[str | Path | None] = (),
) -> list[list[Hit]]:
    """Finds in an index that is open. See `search_index`."""
    one_of(code, "part of the code", ("shared", "exclusive"))
    own = model.spec.domain(domain) if domain else None
    target = model.spec.domain(target_domain) if target_domain else None
    source = source_of(index, own, code, model.spec.names)
    index.identity.check(identity(model, index.identity.distance), index.place)
    codes = vectors(model, model.encode(images, source), source, index.identity.distance)
    shared = index.identity.sizes[source][0]
    part = codes[:, :shared] if code == "shared" else codes[:, shared:]
    return search(index, part, source, code, k, target, where, exclude, model.spec.called)


def identity(model: Trained, distance: Distance) -> Identity:
    """Returns the identity of the codes that this model makes, compared by `distance`."""
    sizes = code_sizes(model)
    extractor = model.extractor.state() if model.extractor else {}
    return Identity(fingerprint(model.method, model.space, extractor), model.name, distance, sizes)


def _among(
    index: Index, source: Domain, part: Part, target_domain: Domain | None, called: Callable[[Domain], str]
) -> list[Domain]:
    sizes = {domain: index.identity.sizes[domain][part == "exclusive"] for domain in DOMAINS}
    if not sizes[source]:
        raise UserError(f"{index.identity.method} has no {part} codes in {called(source)} to search by")
    everywhere: list[Domain] = index.domains if part == "shared" else [source]
    domains: list[Domain] = everywhere if target_domain is None else [target_domain]
    for domain in domains:
        if domain not in index.domains:
            there = " and ".join(map(called, index.domains)) or "nothing"
            own_kind = f", and {part} codes of {called(source)} are compared with their own kind"
            advice = "" if target_domain or part == "shared" else own_kind
            raise UserError(f"{index.place} has no images of {called(domain)}; it has {there}{advice}")
        if sizes[domain] != sizes[source]:
            raise UserError(
                f"{part} codes have {sizes[source]} values in {called(source)} and {sizes[domain]} in "
                f"{called(domain)}: they can't be compared"
            )
    return domains


def source_of(index: Index, asked: Domain | None, part: Part = "shared", names: tuple[str, str] = DOMAINS) -> Domain:
    """Returns the domain of the queries, `asked` if it is given. See `search_index`.

    names: what the domains are called. Raises UserError if the index holds both, so that one must be named.
    """
    if not index.domains:
        raise UserError(f"{index.place} holds no images")
    if asked:
        return asked
    if len(index.domains) == 1:
        return other(index.domains[0]) if part == "shared" else index.domains[0]
    a, b = map(shlex.quote, names)
    raise UserError(
        f"{index.place} holds images of both domains: say which one the queries are from, --domain {a} or {b}"
    )


def search_index(
    model: Trained,
    index: str | Path,
    images: Items,
    k: int = 10,
    domain: str | None = None,
    code: Part = "shared",
    target_domain: str | None = None,
    where: Mapping[str, str] | None = None,
    exclude: Sequence[str | Path | None] = (),
) -> list[list[Hit]]:
    """Finds the k nearest items of an index for each image.

    Args:
        model: The one that made the index.
        index: What `unbraid index` makes: a folder, or milvus://HOST:PORT/COLLECTION.
        images: Queries, as `unbraid.model.inputs.Items` says.
        k: Items for each query, at most.
        domain: The queries' domain. Default: by shared codes the one that the index doesn't hold, by exclusive ones
            the one that it holds.
        code: Which codes are compared: "shared", what images show, or "exclusive", their style.
        target_domain: The domain to find items of. Default: both, by exclusive codes the queries' own.
        where: Metadata that items must have.
        exclude: For each query a file that is not to be found, or None.

    Returns:
        A list of hits for each query, nearest first.

    Raises:
        UserError: The index was made by another model, or doesn't hold what is asked for.
    """
    opened = open_index(index)
    try:
        return query(opened, model, images, k, domain, code, target_domain, where, exclude)
    finally:
        opened.close()
