"""How far codes follow the residual and the content that drawn data were made of."""

from typing import TypedDict

import torch
from jaxtyping import Float
from torch import Tensor

from unbraid.core.types import VectorSpec
from unbraid.evaluation.measure import Block, Figures, Measure, ValidationFigures
from unbraid.evaluation.networks import FEWEST
from unbraid.evaluation.subject import Subject


class ResidualResult(TypedDict, total=False):
    """Correlations, in [0, 1]."""

    residual: Figures


class Residual(Measure[ResidualResult]):
    """Correlations with the true residual and content, as `correlations` says."""

    name = "residual"
    says = "correlation of codes with the residual and the content that drawn data were made of"

    def applies(self, subject: Subject) -> str | None:
        """See `Measure.applies`."""
        if not (subject.paired and "residual" in subject.paired.factors):
            return "the true residual isn't known"
        return None if subject.codes else f"{subject.model.name} has no codes"

    def compute(self, subject: Subject) -> ResidualResult:
        """See `Measure.compute`."""
        if len(subject.part) < FEWEST or not (found := correlations(subject)):
            return {}
        return {"residual": {name: round(value, 5) for name, value in found.items()}}

    def missing(self, subject: Subject, result: ResidualResult) -> dict[str, str]:
        """See `Measure.missing`."""
        if "residual" in result:
            return {}
        return {"residual": f"a correlation of fewer than {FEWEST} items says nothing"}

    def rows(self, metrics: ResidualResult) -> list[Block]:
        """See `Measure.rows`."""
        lines = [(name, f"{value:.4f}") for name, value in metrics.get("residual", {}).items()]
        return [Block(("correlation with the truth", ""), lines)]

    def watch(self, subject: Subject) -> ValidationFigures:
        """See `Measure.watch`."""
        if len(subject.part) < FEWEST:
            return ValidationFigures()
        return ValidationFigures({f"{name}, %": 100 * value for name, value in correlations(subject).items()})


def correlations(subject: Subject) -> Figures:
    """Returns correlations, in [0, 1], of what is found in items of a with the true residual and content.

    residual: of the exclusive code and the true residual; content: of the translation and the true item of b; leak: of
    the exclusive code and the true content. Empty where these aren't known as single numbers.
    """
    part = subject.paired
    if not part or "residual" not in part.factors or subject.model.spec.b != VectorSpec(1) or not subject.codes:
        return {}
    codes = subject.encoded("a")
    if codes.exclusive.shape[1] != 1 or codes.shared.shape[1:] != (1,):
        return {}
    true = torch.from_numpy(part.factors["residual"][part.rows]).float()
    items, rows = part.domain("b")
    content, exclusive = items.read(rows, 0)[:, 0], codes.exclusive[:, 0]
    return {
        "residual": correlation(exclusive, true),
        "content": correlation(codes.shared[:, 0], content),
        "leak": correlation(exclusive, content),
    }


def correlation(x: Float[Tensor, " n"], y: Float[Tensor, " n"]) -> float:
    """Returns the size of Pearson's correlation, in [0, 1]: cov(x, y) / (deviation of x, deviation of y), unsigned.

    A network may absorb sign and scale of a residual in its weights (Harley et al. 2019, section 4.1). A constant
    follows nothing: 0.

    Example:
        >>> import torch
        >>> round(correlation(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.0, -2.0, -4.0])), 6)
        1.0
    """
    x, y = x.double() - x.double().mean(), y.double() - y.double().mean()
    size = x.norm() * y.norm()
    return float((x @ y).abs() / size) if size > 0 else 0.0
