"""What was measured, in words: each figure with its uncertainty and a reference beside it."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from unbraid.core.types import Domain, other
from unbraid.evaluation.metrics.retrieval import NORMAL, interval
from unbraid.evaluation.report.content import Bar, Figure, Names, ways
from unbraid.evaluation.report.translations import Compared

COARSE = 15.0
"""PSNR below which an image is hardly the same."""
LOW = 10.0
"""Percent of likeness or content below which translations without pairs are none."""


def dig(values: Mapping[str, Any], *keys: str) -> Any:
    """Returns what lies under these keys, one in another, or None."""
    found: Any = values
    for key in keys:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def number(value: float) -> str:
    """Returns a distance with three digits after the point, no naught before it."""
    return f"{value:.3f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.1f}"


def percent(value: float, bounds: list[float] | None = None) -> str:
    """Returns a share in words, with its 95 % interval."""
    digits = 0 if 10 <= value <= 90 or value in (0, 100) else 1
    phrase = f"{value:.{digits}f} %"
    return f"{phrase} (95 %: {bounds[0]:.{digits}f} to {bounds[1]:.{digits}f})" if bounds else phrase


def nearer(found: Compared) -> tuple[float, list[float], int]:
    """Returns the percentage of translations nearer to the truth than another image, its interval, and of how many."""
    known = found.another.isfinite()
    count = int(known.sum())
    if not count:
        return math.nan, [0.0, 100.0], 0
    share = float((found.own[known] < found.another[known]).float().mean())
    return round(100 * share, 1), interval(share, count), count


def _half_width(values: Tensor) -> float:
    """Returns half of the 95 % interval of a mean."""
    return NORMAL * float(values.std(correction=1)) / math.sqrt(len(values)) if len(values) > 1 else 0.0


def translation_figure(found: Compared, names: Names) -> Figure:
    """Returns how near the translations of one way are to the truth, beside another image and the input itself."""
    source, target = names[found.source], names[other(found.source)]
    share, bounds, count = nearer(found)
    own, another = float(found.own.mean()), float(found.another.nanmean())
    copied = None if found.copied is None else float(found.copied.mean())
    half = _half_width(found.own)
    most = max(value for value in (own + half, another, copied or 0.0) if math.isfinite(value)) or 1.0
    bars = [Bar("translation", own / most, number(own), (own - half) / most, (own + half) / most, own=True)]
    if math.isfinite(another):
        bars.append(Bar(f"another of {target}", another / most, number(another)))
    if copied is not None:
        bars.append(Bar("the input, copied", copied / most, number(copied)))
    words = f"Mean {found.measure} to the true image {number(own)} ± {number(half)}, of {len(found.own)} test images."
    short = f"{source} → {target}: mean {found.measure} {number(own)} to the truth"
    if count:
        phrase = f"nearer to the truth than another image of {target} is in {percent(share, bounds)} of {count}"
        words = f"A translation is {phrase}. {words}"
        short = f"{source} → {target}: translations are {phrase}"
    if copied is not None and copied < own:
        words += " The input itself is nearer to the truth than its translation."
    good = None if not count else bool(bounds[0] > 50 and (copied is None or own < copied))
    return Figure(f"Translation, {source} → {target}", words, tuple(bars), "short", good, short)


def search_figures(metrics: Mapping[str, Any], names: Names) -> Iterator[Figure]:
    """Yields how often a search finds the counterpart, or an item of the class, first."""
    for source, target in ways():
        way = f"{source}->{target}"
        for key, what in (("recall", "its counterpart"), ("recall_label", "one of its class")):
            found = dig(metrics, key, "shared", way)
            if not found or "1" not in found:
                continue
            queries, gallery = (dig(metrics, "protocol", name) for name in ("queries", "gallery"))
            queries, gallery = (size[way] if isinstance(size, Mapping) else size for size in (queries, gallery))
            chance = 100 / gallery if key == "recall" and gallery else dig(metrics, "union", "chance", way, "label")
            references = {name: dig(metrics, key, code, way, "1") for name, code in REFERENCES.items()}
            references["chance"] = chance
            yield _search(source, names, what, found, queries, gallery, references)
        found = dig(metrics, "zero_shot", "shared", str(dig(metrics, "protocol", "distance")), way)
        found = found or next(iter((dig(metrics, "zero_shot", "shared") or {}).values()), {}).get(way)
        if found and "1" in found.get("recall", {}):
            chance = dig(metrics, "zero_shot", "chance")
            queries = dig(metrics, "zero_shot", "queries", way)
            references = {"chance": 100 * chance if chance else None}
            yield _search(source, names, "one of its class", found["recall"], queries, None, references)


REFERENCES = {"pixels alone": "pixels", "exclusive code": "exclusive"}
"""What retrieval is compared with, and what metrics.json calls it."""


def _search(
    source: Domain,
    names: Names,
    what: str,
    found: Mapping[str, Any],
    queries: int | None,
    gallery: int | None,
    references: Mapping[str, float | None],
) -> Figure:
    first, bounds = float(found["1"]), dig(found, "interval", "1")
    target = names[other(source)]
    bars = [
        Bar("shared code", first / 100, percent(first), *(bound / 100 for bound in bounds or ()), own=True)
        if bounds
        else Bar("shared code", first / 100, percent(first), own=True)
    ]
    known = {name: value for name, value in references.items() if value is not None}
    bars += [Bar(name, value / 100, percent(value)) for name, value in known.items()]
    among = f"among {gallery} of {target}" if gallery else f"among {target}"
    phrase = f"finds {what} {among} first in {percent(first, bounds)}"
    words = f"A search with an image of {names[source]} {phrase} of {queries} searches."
    if "10" in found:
        words += f" Among the first ten: {percent(found['10'])}."
    level = max((value for name, value in known.items() if name != "exclusive code"), default=0.0)
    good = bool(bounds and bounds[0] > level)
    way = f"{names[source]} → {target}"
    return Figure(f"Search, {way}", words, tuple(bars), "long", good, f"{way}: a search {phrase}")


def variety_figure(metrics: Mapping[str, Any], source: Domain, names: Names) -> Figure | None:
    """Returns how much the answers to one image vary, beside two real images. See `search_sheet`."""
    found = dig(metrics, "diversity", f"{source}->{other(source)}")
    key = "lpips" if dig(found or {}, "samples", "lpips") is not None else "distance"
    samples, real = dig(found or {}, "samples", key), dig(found or {}, "real pairs", key)
    if samples is None or not real:
        return None
    target = names[other(source)]
    most = max(samples, real)
    bars = (
        Bar("answers to one image", samples / most, number(samples), own=True),
        Bar(f"two of {target}", real / most, number(real)),
    )
    measure = "LPIPS" if key == "lpips" else "pixel distance"
    words = (
        f"Two answers to one image differ by {measure} {number(samples)}, two real images of {target} by "
        f"{number(real)}. Near 0, there is one answer; as far as real images, the input decides nothing."
    )
    near, real_near = dig(found, "sample to real", key), dig(found, "real to real", key)
    if near is not None and real_near is not None:
        words += f" From the nearest real image an answer is {number(near)} away, a real image {number(real_near)}."
    return Figure(f"Variety, {names[source]} → {target}", words, bars, "")


def set_figure(metrics: Mapping[str, Any], source: Domain, names: Names) -> Figure | None:
    """Returns how much translations as a set look like their domain. See `variety_figure`."""
    found = dig(metrics, "translation", f"{source}->{other(source)}") or {}
    distance, real = dig(found, "sample set", "frechet"), dig(found, "real set", "frechet")
    if distance is None or not real:
        return None
    target = names[other(source)]
    most = max(distance, real)
    bars = (
        Bar("translations", distance / most, f"{distance:,.0f}", own=True),
        Bar(f"{target}, one half and the other", real / most, f"{real:,.0f}"),
    )
    words = (
        f"Taken together, translations differ from real images of {target} by a Fréchet distance of {distance:,.0f}; "
        f"two halves of the real ones by {real:,.0f} (VGG16's features; small sets exaggerate)."
    )
    short = f"{names[source]} → {target}: Fréchet distance {distance:,.0f} from real ones, which differ by {real:,.0f}"
    return Figure(f"As a set, {names[source]} → {target}", words, bars, "short", None, short)


def labelled_figures(metrics: Mapping[str, Any], validation: Mapping[str, float]) -> Iterator[Figure]:
    """Yields what was measured of labelled images: transfers, reconstructions, what codes hold of the class."""
    transfer, other_image = (dig(metrics, "content_transfer", name, "lpips") for name in ("transfer", "class image"))
    if transfer is not None and other_image is not None:
        most = max(transfer, other_image)
        bars = (
            Bar("transfer", transfer / most, number(transfer), own=True),
            Bar("the image that gives the class", other_image / most, number(other_image)),
        )
        words = f"LPIPS of transfers to the true image: {number(transfer)}; of the image that gives the class in place "
        words += f"of an answer: {number(other_image)}."
        short = f"Transfers: LPIPS {number(transfer)} to the truth; with the image that gives the class in place of an "
        short += f"answer {number(other_image)}"
        yield Figure("Class and content", words, bars, "short", transfer < other_image, short)
    if "psnr" in validation:
        value = validation["psnr"]
        scale = f"where {COARSE:g} is coarse and 25 good"
        words = f"Held-out images come back from their own codes with a PSNR of {value:.1f} dB, {scale}."
        short = f"Reconstruction: PSNR {value:.1f} dB, {scale}"
        yield Figure("Reconstruction", words, (), "long", False if value < COARSE else None, short)
    probes = dig(metrics, "probes", "test part") or dig(metrics, "probes", "training classes") or {}
    content, owned = (dig(probes, f"class from {code}", "linear") for code in ("content", "class"))
    if content and "accuracy" in content:
        shares = {"content code": content, "class code": owned or {}}
        bars = [
            Bar(name, each["accuracy"] / 100, percent(each["accuracy"]), *_bounds(each), own=name == "content code")
            for name, each in shares.items()
            if "accuracy" in each
        ]
        bars.append(Bar("chance", content["chance"] / 100, percent(content["chance"])))
        phrase = f"the class is read from content codes in {percent(content['accuracy'])}, by chance in "
        phrase += percent(content["chance"])
        words = f"With a linear reader {phrase}: nearer to chance is better. "
        words += "In class codes it should be found." if owned else ""
        found = content.get("control", 0.0) > 2 * content["chance"]  # else a reader that finds nothing says nothing
        good = content["accuracy"] < 2 * content["chance"] if found else None
        phrase = phrase[0].upper() + phrase[1:] if found else ""
        yield Figure("What content codes hold of the class", words, tuple(bars), "", good, phrase)


def _bounds(found: Mapping[str, Any]) -> list[float]:
    count = found.get("test")
    return [bound / 100 for bound in interval(found["accuracy"] / 100, count)] if count else []


def unpaired_figures(metrics: Mapping[str, Any], source: Domain, names: Names) -> Iterator[Figure]:
    """Yields what was measured without pairs, and there and back. See `variety_figure`."""
    if judged := dig(metrics, "unpaired", f"{source}->{other(source)}"):
        likeness, content = judged["likeness"], judged["content"]
        way, target = f"{names[source]} → {names[other(source)]}", names[other(source)]
        bars = [Bar("likeness", likeness / 100, percent(likeness), own=True)]
        bars += [Bar("content", content / 100, percent(content), own=True)]
        phrase = f"translations go {percent(likeness)} of the way from their inputs to the look of {target}"
        kept = f"keep {percent(content)} of what tells their inputs apart"
        words = f"By VGG16's features {phrase}, and {kept} (0: as if shuffled). A copy would have 0 and 100 %."
        good = False if min(likeness, content) < LOW else None
        yield Figure(f"Without pairs, {way}", words, tuple(bars), "long", good, f"{way}: {phrase}, and {kept}")
    found = dig(metrics, "cheat", f"{source}->{other(source)}") or {}
    jump = found.get("jump")
    key = "lpips" if dig(found, "decoding", "matched", "lpips") is not None else "distance"
    back, others = (dig(found, "decoding", name, key) for name in ("matched", "others"))
    if jump is None or back is None:
        return
    bars = [Bar("there and back", back / max(back, others or 0.0, 1e-9), number(back), own=True)]
    if others:
        bars.append(Bar("another image", others / max(back, others), number(others)))
    words = (
        f"An image of {names[source]} that goes to {names[other(source)]} and back ends {number(back)} from itself; "
        f"after rounding the translation to 8 bits {jump:.2f} times as far: near 1, nothing is hidden in it."
    )
    yield Figure(f"There and back, {names[source]}", words, tuple(bars), "short", None)
