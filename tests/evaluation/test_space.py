import torch

from unbraid.evaluation.metrics.retrieval import recall
from unbraid.model.space import CodeSpace


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def pairs(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes of 16 dimensions that a pair has in common, but for the domains' offsets and one loud direction."""
    common, loud = normal(n, 16, seed=seed), normal(16, seed=99)
    a = common + 8 * normal(n, 1, seed=seed + 1) * loud + 5
    b = common + 8 * normal(n, 1, seed=seed + 2) * loud - 3
    return a, b


def test_what_training_pairs_disagree_in_is_weighed_down() -> None:
    space = CodeSpace.fit(*pairs(300, 10))
    a, b = pairs(200, 20)
    figures = {name: recall(a, b, None, name, space)["a->b"]["1"] for name in ("euclidean", "cosine", "whitened")}
    assert figures["euclidean"] < figures["cosine"] < figures["whitened"]
    assert figures["whitened"] > 50


def test_whitening_is_the_inverse_root_of_the_shrunk_covariance() -> None:
    a, b = pairs(300, 10)
    space = CodeSpace.fit(a, b)
    difference = ((a - a.mean(0)) - (b - b.mean(0))).double()
    covariance = difference.T @ difference / len(a)
    shrunk = covariance + torch.diag(covariance.diagonal())
    values, vectors = torch.linalg.eigh(shrunk / covariance.diagonal().sqrt() / covariance.diagonal().sqrt()[:, None])
    root = vectors @ torch.diag(values.rsqrt()) @ vectors.T
    x = normal(5, 16, seed=3)
    expected = ((x - a.mean(0)).double() / covariance.diagonal().sqrt()) @ root
    expected = torch.nn.functional.normalize(expected, dim=1).float()
    torch.testing.assert_close(space.prepared(x, "a", "whitened"), expected, rtol=1e-3, atol=1e-4)


def test_fewer_pairs_than_dimensions_are_enough() -> None:
    space = CodeSpace.fit(normal(10, 4, 3, 3), normal(10, 4, 3, 3, seed=1))
    assert space.directions.shape == (36, 10)
    assert space.prepared(normal(2, 4, 3, 3), "b", "whitened").isfinite().all()


def test_a_dimension_that_never_varies_does_no_harm() -> None:
    a, b = pairs(50, 1)
    a[:, 0] = b[:, 0] = 1.0
    assert CodeSpace.fit(a, b).prepared(a, "a", "whitened").isfinite().all()
