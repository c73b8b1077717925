"""The measures; a new one is a file here and a line in `MEASURES`."""

from typing import Any

from unbraid.evaluation.measure import Measure
from unbraid.evaluation.measures.analogies import Analogies
from unbraid.evaluation.measures.fidelity import FeatureDistances, Fidelity
from unbraid.evaluation.measures.leakage import Leakage
from unbraid.evaluation.measures.nearest_view import NearestView
from unbraid.evaluation.measures.residual import Residual
from unbraid.evaluation.measures.retrieval import Retrieval
from unbraid.evaluation.measures.samples import Samples
from unbraid.evaluation.measures.semantics import Semantics
from unbraid.evaluation.measures.steganography import Steganography
from unbraid.evaluation.measures.through_translation import ThroughTranslation
from unbraid.evaluation.measures.transfer import Transfer
from unbraid.evaluation.measures.translation import Translation
from unbraid.evaluation.measures.unpaired import UnpairedScore
from unbraid.evaluation.measures.zero_shot import ZeroShot

MEASURES: tuple[Measure[Any], ...] = (
    Retrieval(),
    ZeroShot(),
    Residual(),
    Transfer(),
    ThroughTranslation(),
    Translation(),
    Fidelity(),
    FeatureDistances(),
    Analogies(),
    NearestView(),
    Samples(),
    UnpairedScore(),
    Steganography(),
    Semantics(),
    Leakage(),
)
"""In the order in which they are computed, kept and printed."""
