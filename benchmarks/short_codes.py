"""Why Euclidean distance finds maps' photos so rarely: photos with short codes are near to every map.

    python benchmarks/short_codes.py RUN

Prints the lengths of a run's shared codes on the test part, their variances on the training part, how often the most
frequent answers are given, and recall@1 by pair when the codes of domain a are changed: docs/notes/short-codes.md.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor

import unbraid
from unbraid.core.types import DOMAINS
from unbraid.data.loading import load as load_data
from unbraid.data.parts import PairedPart
from unbraid.model.codes import encode_part
from unbraid.model.run import Run


def found(a: Tensor, b: Tensor) -> str:
    """Returns the percentage of items whose counterpart is the nearest by Euclidean distance, a->b and b->a."""
    distances, own = torch.cdist(a, b), torch.arange(len(a))
    return " / ".join(f"{100 * (distances.argmin(way) == own).float().mean():.1f}" for way in (1, 0))


def flat(part: PairedPart, run: Path) -> tuple[Tensor, Tensor]:
    """Returns the shared codes of both domains, (n, d) each."""
    with torch.inference_mode():
        a, b = (encode_part(unbraid.load(run).method, part, domain).shared for domain in DOMAINS)
    return a.flatten(1).float(), b.flatten(1).float()


def main() -> None:
    """Prints it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    run: Path = parser.parse_args().run
    data = load_data(Run.existing(run).config.data)
    assert isinstance(data.test, PairedPart)
    assert isinstance(data.train, PairedPart)
    (a, b), (train_a, train_b) = flat(data.test, run), flat(data.train, run)
    x, y = a - train_a.mean(0), b - train_b.mean(0)
    for name, codes, train in (("a", a, train_a), ("b", b, train_b)):
        print(f"{name}: length {codes.norm(dim=1).mean():.1f}, variance {train.var(0).sum():.0f}")
    together = (train_a - train_a.mean(0)) * (train_b - train_b.mean(0))
    print(f"covariance: {together.mean(0).sum():.0f}")
    times = torch.bincount(torch.cdist(a, b).argmin(0), minlength=len(a)).topk(2)
    lengths = [round(float(length), 1) for length in a.norm(dim=1)[times.indices]]
    print(f"the two most frequent answers to {len(b)} queries: {times.values.tolist()}, of lengths {lengths}")
    print(f"as they are: {found(a, b)}")
    print(f"centred: {found(x, y)}")
    for scale in (0.5, 0.25):
        print(f"a scaled by {scale}: {found(scale * x, y)}")
    print(f"standardised: {found(x / train_a.std(0).clamp(min=1e-3), y / train_b.std(0).clamp(min=1e-3))}")


if __name__ == "__main__":
    main()
