"""Leakage: what readers find in codes that should not hold it; the domain, the class, what is known of items."""

import re
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypedDict, get_args

import numpy as np
import torch
from torch import Tensor

from unbraid.core.files import Json
from unbraid.core.types import DOMAINS
from unbraid.data.parts import LabelledPart
from unbraid.evaluation.measure import DOMAIN, Block, Figures, Measure, ValidationFigures
from unbraid.evaluation.metrics.probes import Kind, probe, regress
from unbraid.evaluation.subject import Subject
from unbraid.model.codes import encode_rows, evaluating, evenly_spaced
from unbraid.model.log import read_log

TRIED = 5
"""Items that a probe is tried on, at least: of fewer, guesses between two classes are all right once in 20 times."""
PROBED = 2000
"""Items of a part whose codes are probed, at most; `PER_CLASS` of each class, if these are more."""
PER_CLASS = 50
"""A reader of many classes needs so many codes of each, a quarter of them held out, to find what is there."""
LARGEST_PROBED = 20_000
"""Values of a code that is probed, at most."""
DOMAIN_ACCURACY = "domain accuracy, %"
"""What methods call the accuracy of their own classifier of domains in the log."""
Probes = dict[str, Json]
"""By "WHAT from CODE": results of each kind of reader, or {"not measured": why}."""


class LeakageResult(TypedDict, total=False):
    """As `Leakage` says. On labelled items `probes` has a table for training classes and one for the test part."""

    probes: Probes | dict[str, Probes]
    domain_probe: Json


class Leakage(Measure[LeakageResult]):
    """Finds what a reader gets from each code: accuracy in percent beside chance and a control, or R^2 beside one.

    A quarter of the items is held out from each probe. domain_probe: how well the domain is told from shared codes, by
    readers fitted afresh, which is what counts, and by the classifier that plays along in training, if there is one.
    """

    name = "leakage"
    says = "what linear and MLP readers find in shared and exclusive codes: domain, class, factors"

    def applies(self, subject: Subject) -> str | None:
        """See `Measure.applies`."""
        return None if subject.codes else f"{subject.model.name} has no codes"

    def compute(self, subject: Subject) -> LeakageResult:
        """See `Measure.compute`."""
        train, val = subject.data.train.labelled(), subject.data.val.labelled()
        if subject.labelled and train and val:
            # by image: classes seen in training have a probe of their own, and so have those of the test part
            training = replace(train, rows=np.sort(np.concatenate([train.rows, val.rows])))
            parts = {"training classes": training, "test part": subject.labelled}
            return {"probes": {name: _labelled(subject, part) for name, part in parts.items()}}
        table = _two_domains(subject)
        result: LeakageResult = {"probes": table} if table else {}
        if found := _domain_probe(table, subject.log):
            result["domain_probe"] = found
        return result

    def rows(self, metrics: LeakageResult) -> list[Block]:
        """See `Measure.rows`."""
        found: Json = metrics.get("probes", {})
        nested = any("linear" not in values and "not measured" not in values for values in found.values())
        lines = [
            _line(f"{part}: {what}" if part else what, kinds)
            for part, rows in (found if nested else {"": found}).items()
            for what, kinds in rows.items()
            if "linear" in kinds
        ]
        return [Block(("probes", DOMAIN, "linear", "mlp", "chance", "control, linear / mlp"), lines)]

    def watch(self, subject: Subject) -> ValidationFigures:
        """Returns the accuracy of a linear reader of the class in content codes of training images."""
        train = subject.data.train.labelled()
        return ValidationFigures(_class_found(subject, train) if train else {})


def _class_found(subject: Subject, part: LabelledPart) -> Figures:
    """Returns the accuracy of a linear reader of the class in content codes, percent, chance, and control, its accuracy
    in class codes.

    The codes are those that training found for its images while nothing else can be encoded, then those an encoder
    gives. A quarter of the images is held out. Empty for too few images, or classes.
    """
    method = subject.model.method
    classes = len(np.unique(part.label(np.arange(len(part)))[:, 0]))
    at = evenly_spaced(np.arange(len(part)), max(PROBED, PER_CLASS * classes))
    labels = torch.from_numpy(part.label(at))
    codes = None
    latent = method.as_latent()
    if not subject.encodes and latent:
        with evaluating(method):
            codes = latent.training_codes(labels.to(subject.device), torch.from_numpy(at).to(subject.device))
    if codes is None or codes.shared.shape[1] == 0:  # there are none in tables
        codes = encode_rows(method, part, at)
    order = np.random.default_rng(0).permutation(len(at))
    quarter = len(at) // 4
    split = (order[quarter:], order[:quarter])
    try:
        found, control = (
            probe(code.detach().cpu().flatten(1), labels[:, 0], split) for code in (codes.shared, codes.exclusive)
        )
    except ValueError:
        return {}
    return {"class from content": found.accuracy, "chance": found.chance, "control": control.accuracy}


def parted(name: str) -> tuple[str, str]:
    """Returns what a probe reads, and from the codes of which domain: of `label from shared, a` both."""
    found = re.fullmatch(r"(.*), ([ab])(, R\^2)?", name)
    return (found[1] + (found[3] or ""), found[2]) if found else (name, "")


def _silent(kinds: Json) -> str:
    """Returns which readers of a probe say nothing, their control being low or not measured; "" if none does."""
    names = [kind for kind in ("linear", "mlp") if not kinds[kind].get("conclusive")]
    return f" ({' and '.join(names)}: says nothing without a high control)" if names else ""


def _line(name: str, kinds: Json) -> tuple[str, ...]:
    both = [kinds["linear"], kinds["mlp"]]
    figures = [kind.get("accuracy", kind.get("r2")) for kind in both]
    chance = both[0].get("chance")
    what, side = parted(name)
    columns = [*(f"{value:.2f}" for value in figures), "" if chance is None else f"{chance:.2f}"]
    remark = " / ".join(f"{kind['control']:.2f}" for kind in both if "control" in kind) + _silent(kinds)
    return what, side, *columns, remark


def _two_domains(subject: Subject) -> Probes:
    part, model, seed = subject.paired, subject.model, subject.seed
    count = subject.at_most(PROBED // 2)  # of each domain
    a, b = (
        subject.encoded(domain, count, exclusive=model.exclusive_size(domain) <= LARGEST_PROBED) for domain in DOMAINS
    )
    table: Probes = {}
    held_out = _quarter(len(a.shared), seed)
    device = a.shared.device
    domains = torch.cat([torch.zeros(len(a.shared), device=device), torch.ones(len(b.shared), device=device)]).long()
    both = torch.cat([held_out, _quarter(len(b.shared), seed)])
    for name, pair in {"shared": (a.shared, b.shared), "exclusive": (a.exclusive, b.exclusive)}.items():
        if pair[0].shape[1:] == pair[1].shape[1:] and pair[0].shape[1]:  # no code need hold the domain: each by itself
            table |= _read(probe, "domain", {name: torch.cat(pair).flatten(1)}, domains, both, seed)
    if part and part.labels is not None:
        labels = torch.from_numpy(part.labels[evenly_spaced(part.rows, count)])
        for domain, codes in (("a", a), ("b", b)):
            named = {"shared": codes.shared.flatten(1), "exclusive": codes.exclusive.flatten(1)}
            table |= _read(probe, "label", named, labels, held_out, seed, f", {domain}")
    if part:
        named = {"shared": a.shared.flatten(1), "exclusive": a.exclusive.flatten(1)}
        for factor, values in part.factors.items():
            wanted = torch.from_numpy(values[evenly_spaced(part.rows, count)]).float()
            table |= _read(regress, factor, named, wanted, held_out, seed, ", a, R^2")
    return table


def _domain_probe(probes: Probes, log: Path | None) -> Json:
    """Returns how well the domain is told from shared codes of test items, by readers fitted afresh to three quarters
    of them, percent, beside chance, the lower of their controls, and whether both say anything; and by the classifier
    in training, at the end of the log. 50 is what guessing gives. Empty without codes."""
    found = probes.get("domain from shared", {})
    if "linear" not in found:
        return {}
    figures = {kind: found[kind]["accuracy"] for kind in ("linear", "mlp")}
    kinds = [found[kind] for kind in figures]
    figures |= {
        "chance": found["linear"]["chance"],
        "control": min(kind["control"] for kind in kinds),
        "conclusive": all(kind["conclusive"] for kind in kinds),
    }
    logged = [row.get("diagnostics", {}) for row in read_log(log)] if log and log.exists() else []
    accuracies = [row[DOMAIN_ACCURACY] for row in logged if DOMAIN_ACCURACY in row]
    return figures | ({"in training": round(accuracies[-1], 3)} if accuracies else {})


def _labelled(subject: Subject, part: LabelledPart) -> Json:
    every = part.label(np.arange(len(part)))
    columns = [*every.T, *([] if part.content is None else [part.content[part.rows]])]
    most = max(PROBED, PER_CLASS * max(len(np.unique(column)) for column in columns))
    at = evenly_spaced(np.arange(len(part)), subject.at_most(most))
    found = encode_rows(subject.model.method, part, at)
    codes = {"content": found.shared.flatten(1), "class": found.exclusive.flatten(1)}
    labels, held_out = torch.from_numpy(every[at]), _quarter(len(at), subject.seed)
    table: Json = {}
    for column in range(labels.shape[1]):
        what = "class" if labels.shape[1] == 1 else f"label {column + 1}"
        table |= _read(probe, what, codes, labels[:, column], held_out, subject.seed)
    if part.content is not None:
        content = part.content[part.rows[at]]
        known = np.flatnonzero(content >= 0)
        if len(known) > 8:
            some = {name: code[known] for name, code in codes.items()}
            table |= _read(probe, "content", some, torch.from_numpy(content[known]), held_out[known], subject.seed)
    for factor, values in part.factors.items():
        wanted = torch.from_numpy(values[part.rows[at]]).float()
        table |= _read(regress, factor, codes, wanted, held_out, subject.seed, ", R^2")
    return table


def _read(
    read: Callable[..., Any],
    what: str,
    codes: dict[str, Tensor],
    wanted: Tensor,
    held_out: Tensor,
    seed: int,
    after: str = "",
) -> Json:
    """Returns what a linear and a one-hidden-layer reader, `probe` or `regress`, find in each code, or why nothing.

    Where one code says more than the other, it is the other's control too: that a code doesn't tell the class says
    nothing of a model none of whose codes does.
    """
    table: Json = {}
    results: dict[str, Json] = {}
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
