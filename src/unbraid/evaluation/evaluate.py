"""Measures a run on its test part: metrics.json, pictures, example files, and the model card."""

import datetime
import json
import math
import re
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from unbraid.core.config import PACKAGED, Distance, PerceptualConfig
from unbraid.core.files import Json, write_atomically, write_json
from unbraid.core.ranks import SINGLE, Ranks
from unbraid.core.types import DOMAINS, UserError
from unbraid.core.version import __version__
from unbraid.data.equal import Pairing, digest
from unbraid.data.parts import Data, Part
from unbraid.evaluation.card import card
from unbraid.evaluation.measure import Measure
from unbraid.evaluation.measures import MEASURES
from unbraid.evaluation.measures.steganography import Steganography
from unbraid.evaluation.measures.unpaired import SCORE
from unbraid.evaluation.measures.zero_shot import says_nothing
from unbraid.evaluation.metrics.images import FEATURES
from unbraid.evaluation.networks import PerceptualNetworks
from unbraid.evaluation.pictures import draw_cycles, examples, pictures
from unbraid.evaluation.subject import Subject, has_classes
from unbraid.model.log import read_log
from unbraid.model.run import Run
from unbraid.model.trained import Trained

FEW = 20
"""Test items below which it is said that figures say little."""
NO_TIME = "the time was over; `unbraid evaluate` measures it"
PER_RUN = ("date", "version", "remark")
"""Entries of a protocol that may differ between figures that stand in one file."""


def evaluate(
    run: Run,
    model: Trained,
    data: Data,
    distance: Distance | None = None,
    perceptual: PerceptualConfig = PACKAGED,
    limit: int | None = None,
    only: Sequence[str] = (),
    other: bool = False,
    inception: str | None = None,
    named: str | None = None,
    group: Ranks = SINGLE,
    until: float = math.inf,
) -> Json:
    """Measures a run and writes metrics.json, pictures, examples and the model card into its folder.

    Args:
        run: The run.
        model: Its model.
        data: Its data, as it trains on them.
        distance: Distance of shared codes; the one that the run was trained with, if not given.
        perceptual: Where the weights of the networks are that images are compared by.
        limit: Items, or tasks, of a figure, at most; retrieval takes all.
        only: Names of the measures to compute; none for all that apply. Nothing is drawn then but what belongs to them,
            and other figures in metrics.json stay if they were measured in the same way.
        other: Whether the test part is of other images than the run's: what is measured stands in metrics.json under
            `others`, by the name of the data, and what is drawn in `other_folder`. A hash follows the name if other
            images of this name were measured before.
        inception: File of Inception's weights, or "auto", for FID and KID.
        named: Network of the same distances: vgg16, efficientnet-lite0, timm/NAME or timm/NAME@FILE.
        group: The ranks that measure together, of which the first one writes.
        until: When no measure is begun any more, by `time.monotonic`; those left out are named.

    Returns:
        What metrics.json holds, or of other images the part that is theirs.

    Raises:
        UserError: A measure doesn't exist or can't be measured here, or weights that were asked for are no good.
    """
    kept = run.metrics()  # first, so that nothing is measured for a file that can't be read
    data = _named_apart(data, kept.get("others", {})) if other else data
    before = kept.get("others", {}).get(data.name, {}) if other else kept
    subject = subject_of(run, model, data, distance, perceptual, limit, inception, named)
    measures = chosen(subject, only)
    if group.first:  # before measuring, so that figures never lie beside pictures of another model
        _draw(subject, measures, other_folder(run.path, data.name) if other else run.path, whole=not only)
    metrics: Json = {"protocol": _protocol(subject, other), **measured(subject, measures, group, until)}
    if only and _alike(before.get("protocol", {}), metrics["protocol"]):
        reasons = {**before.get("not_measured", {}), **metrics.pop("not_measured", {})}
        metrics = {**before, **metrics} | ({"not_measured": reasons} if reasons else {})
    elif not only:  # what other commands wrote stays
        gone = ("recall", "not_measured")
        metrics = {**{key: value for key, value in before.items() if not key.startswith(gone)}, **metrics}
    if not group.first:
        return metrics
    whole = {**kept, "others": {**kept.get("others", {}), data.name: metrics}} if other else metrics
    write_json(run.path / "metrics.json", whole)
    text = card(run, whole, model)
    write_atomically(run.path / "README.md", lambda file: file.write_text(text, "utf-8"))
    return metrics


def _draw(subject: Subject, measures: Sequence[Measure[Any]], folder: Path, whole: bool) -> None:
    """Draws what belongs to the measures and, of a `whole` measuring, pictures and examples."""
    model, data = subject.model, subject.data
    if whole:
        pictures(model, data, folder / "pictures", subject.seed)
        examples(data, folder / "examples")
    if subject.translator and any(isinstance(measure, Steganography) for measure in measures):
        draw_cycles(model, data, folder / "pictures", subject.seed)


def _named_apart(data: Data, others: Json) -> Data:
    """Returns the data under a name that no other images in `others` have: folders of two sets may be called alike."""
    known, own = others.get(data.name, {}).get("protocol", {}), _digest(data)
    return data if known.get("images", own) == own else replace(data, name=f"{data.name} ({own})")


def _digest(data: Data) -> str:
    return digest(data.test)[:8]


def other_folder(run: Path, name: str) -> Path:
    """Returns the folder in a run for what is drawn of other images than its own."""
    return run / "others" / (re.sub(r"[^\w.-]+", "-", name).strip(".-") or "images")


def subject_of(
    run: Run,
    model: Trained,
    data: Data,
    distance: Distance | None,
    perceptual: PerceptualConfig,
    limit: int | None,
    inception: str | None = None,
    named: str | None = None,
) -> Subject:
    """Returns a run's model with its test part. See `evaluate`. Raises UserError for weights that are no good."""
    return Subject(
        model,
        data,
        data.test,
        (distance or run.config.train.distance) if model.space else "euclidean",
        PerceptualNetworks.find(perceptual, inception, named).to(model.device),
        limit,
        run.config.train.seed,
        run.path / "log.jsonl",
        chosen_by=_chosen_by(run, model, data),
    )


def chosen(subject: Subject, only: Sequence[str] = ()) -> list[Measure[Any]]:
    """Returns the measures of these names, or those that are measured of the subject if nothing is said.

    Raises UserError for a name that doesn't exist, and for a measure that doesn't apply.
    """
    if not only:
        return [one for one in MEASURES if one.applies(subject) is None and one.by_default(subject)]
    by_name = {measure.name: measure for measure in MEASURES}
    for name in only:
        if name not in by_name:
            raise UserError(f"There is no measure {name!r}; there are: {', '.join(by_name)}")
        if reason := by_name[name].applies(subject):
            raise UserError(f"{name} can't be measured of this run: {reason}")
    return [measure for name, measure in by_name.items() if name in only]


def measured(
    subject: Subject, measures: Sequence[Measure[Any]], group: Ranks = SINGLE, until: float = math.inf
) -> Json:
    """Returns the entries of metrics.json of these measures, and `not_measured` if the part is too small for some, or
    the time too short.

    Args:
        subject: The model and the part.
        measures: The measures, all of which apply.
        group: The ranks that measure together: each computes some measures, and returns the entries of all.
        until: See `evaluate`.
    """
    found: dict[str, tuple[Json, dict[str, str]]] = {}
    for measure in measures[group.rank :: group.count]:
        if time.monotonic() > until:
            found[measure.name] = {}, {measure.name: NO_TIME}
            continue
        result = measure.compute(subject)
        found[measure.name] = result, measure.missing(subject, result)
    if group.count > 1:
        found = {name: both for text in group.texts(json.dumps(found)) for name, both in json.loads(text).items()}
    metrics: Json = {}
    reasons: dict[str, str] = {}
    for measure in measures:
        result, missing = found[measure.name]
        metrics |= result
        reasons |= missing
    return metrics | ({"not_measured": reasons} if reasons else {})


def _protocol(subject: Subject, other: bool) -> Json:
    """Returns how it was measured, and what must be said with every figure. other: of images that aren't the run's."""
    model, networks = subject.model, subject.networks
    protocol: Json = {
        "data": subject.data.name,
        "part": "other images, which the run was not given" if other else "test",
        "items": len(subject.part),
        **({"images": _digest(subject.data)} if other else {}),
        "model": f"{model.name}, step {model.step}, {subject.chosen_by}",
        "features": FEATURES if networks.vgg else "",
        "seed": subject.seed,
        **({} if model.spec.names == DOMAINS else {"domains": dict(zip(DOMAINS, model.spec.names, strict=True))}),
        "remark": "; ".join(filter(None, (_few(subject.part, other), subject.data.remark, networks.remark))),
        "version": __version__,
        "date": datetime.date.today().isoformat(),
    }
    if subject.limit is not None:
        protocol["limit"] = subject.limit
    for measure in MEASURES:
        if measure.applies(subject) is None:
            protocol |= measure.protocol(subject)
    return protocol


def _chosen_by(run: Run, model: Trained, data: Data) -> str:
    """Returns how training chose the model."""
    if model.method.needs.hides_pairs:
        log = run.path / "log.jsonl"
        rows = read_log(log) if log.exists() else []
        scored = any(SCORE in row.get("validation", {}) for row in rows)  # not by earlier versions
        return "chosen on the validation part without its pairs" if scored else "the last that was measured in training"
    if not _chooses(data.val):
        return "the last, for the validation part is too small to choose by"
    return f"chosen on the validation part ({len(data.val)} items)"


def _chooses(val: Part) -> bool:
    """Returns whether retrieval on a validation part could fail."""
    if pairs := val.pairs():
        return min(len(first) for first in Pairing.of(pairs).first.values()) > 1
    return not has_classes(val) or says_nothing(val) is None


def _few(part: Part, given: bool) -> str:
    """Returns what to say of a test part of few items, "" of others. given: of images that the run was not given."""
    pairs, labelled = part.pairs(), part.labelled()
    if pairs:
        count = min(len(first) for first in Pairing.of(pairs).first.values())
    else:
        count = len(part) if labelled else min(part.counts().values())
    if count >= FEW:
        return ""
    what = f"{count} item{'s' * (count != 1)}{'' if labelled else ' of a domain'}"
    advice = "" if given else ": hold out more images, with --data.test or in a test folder"
    return f"{'these are' if given else 'the test part has'} {what}, and of fewer than {FEW} figures say little{advice}"


def _alike(one: Json, other: Json) -> bool:
    """Returns whether figures of two protocols may stand in one file."""
    return all(one.get(key) == other.get(key) for key in {*one, *other} if key not in PER_RUN)
