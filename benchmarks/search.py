"""What searching costs, and whether it finds what it should.

    python benchmarks/search.py metrics                          100,000 x 100,000, exact: seconds and memory
    python benchmarks/search.py million [--count N]              random 64-d codes: FAISS file, exact and by lists
    python benchmarks/search.py milvus [--count N]               the same codes through a `milvus-lite server`
    python benchmarks/search.py maps --run RUN --root DATA       recall@1 of index and search against metrics.json
    python benchmarks/search.py throughput --run RUN --root DATA embedding against the model's own forward pass
    python benchmarks/search.py kill --run RUN --root DATA       `unbraid index` killed ten times at random moments

RUN is a trained and evaluated run of iiae-maps, DATA the folder that holds the sets. Each writes its part of
benchmarks/results/search.json.
"""

import argparse
import json
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch
from PIL import Image

from machine import facts, table
from unbraid.commands.cli import main as unbraid
from unbraid.core.config import TrainConfig
from unbraid.core.device import choose_precision
from unbraid.core.files import write_json
from unbraid.data.cache import cached
from unbraid.data.fit import Fit
from unbraid.data.images import read_image
from unbraid.data.listing import list_images
from unbraid.evaluation.metrics.retrieval import label_figures, pair_figures
from unbraid.model.trained import load
from unbraid.search.embed import code_sizes, embed, encoded
from unbraid.search.identity import Identity
from unbraid.search.index import NEIGHBOURS, Searcher, build
from unbraid.search.indexing import list_sources, read_batch
from unbraid.search.query import search_index
from unbraid.search.store import Item, Store

RESULTS = Path(__file__).parent / "results" / "search.json"
QUERIES = 1000
SIZE = 64


class Memory:
    """The most that this process holds while it is entered, in bytes, above what it held before."""

    def __enter__(self) -> "Memory":
        self.before = self.most = resident()
        self._over = threading.Event()
        self._watch = threading.Thread(target=self._look)
        self._watch.start()
        return self

    def _look(self) -> None:
        while not self._over.wait(0.02):
            self.most = max(self.most, resident())

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._watch.join()

    @property
    def gigabytes(self) -> float:
        """Above what it held before."""
        return round((self.most - self.before) / 1e9, 3)


def resident() -> int:
    """Bytes of memory that this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def metrics(arguments: argparse.Namespace) -> dict[str, Any]:
    """Recall, mAP, P@k and median rank of random codes near their pairs', 100 classes."""
    generator = torch.Generator().manual_seed(0)
    count = arguments.count or 100_000
    a = torch.randn(count, SIZE, generator=generator)
    b = a + 1.5 * torch.randn(count, SIZE, generator=generator)
    labels = torch.arange(count) % 100
    found: dict[str, Any] = {"items": count, "size": SIZE}
    works: dict[str, Callable[[], object]] = {
        "by pair": lambda: pair_figures(a, b),
        "by label": lambda: label_figures(a, b, labels, labels),
    }
    for name, work in works.items():
        began = time.perf_counter()
        with Memory() as memory:
            figures = work()
        found[name] = {
            "seconds": round(time.perf_counter() - began, 1),
            "gigabytes beside the codes": memory.gigabytes,
            "figures": figures,
        }
    found["gigabytes of the process at most"] = round(
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9, 3
    )
    return found


def random_codes(count: int) -> np.ndarray:
    """(count, SIZE) standard normal; the hardest case there is for lists, since nothing lies together."""
    return np.random.default_rng(0).standard_normal((count, SIZE), np.float32)


def filled(folder: Path, codes: np.ndarray) -> Identity:
    """A store of these codes."""
    identity = Identity("0" * 64, "random", "euclidean", {"a": (SIZE, 0), "b": (SIZE, 0)})
    with Store.writing(folder, identity) as store:
        for start in range(0, len(codes), 20_000):
            some = codes[start : start + 20_000]
            store.append("a", [Item(f"/{start + i}", 1, 1, {}) for i in range(len(some))], some)
    return identity


def million(arguments: argparse.Namespace) -> dict[str, Any]:
    """Build, latency one query at a time, recall@10 against the exact search, memory."""
    count = arguments.count or 1_000_000
    codes = random_codes(count)
    queries = np.random.default_rng(1).standard_normal((QUERIES, SIZE), np.float32)
    found: dict[str, Any] = {"vectors": count, "size": SIZE, "queries": QUERIES, "k": 100}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "index"
        began = time.perf_counter()
        identity = filled(folder, codes)
        found["seconds to fill the store"] = round(time.perf_counter() - began, 1)
        true = faiss.knn(queries, codes, NEIGHBOURS)[1]
        del codes
        kinds: dict[str, dict[str, Any]] = {
            "exact": {"exact": count},
            "lists, recall 0.8": {"target": 0.8},
            "lists, recall 0.95": {},
        }
        for name, settings in kinds.items():
            with Store.writing(folder, identity) as store, Memory() as memory:
                began = time.perf_counter()
                built = build(store, **settings)["a"]["shared"]
                seconds = time.perf_counter() - began
            with Memory() as searching:
                began = time.perf_counter()
                searcher = Searcher(folder)
                opened = time.perf_counter() - began
                ids, times = [], []
                for query in queries:
                    began = time.perf_counter()
                    ids.append(searcher.search("a", "shared", query[None], 100)[1][0])
                    times.append(1000 * (time.perf_counter() - began))
            numbers = number_of(folder, np.stack(ids)[:, :NEIGHBOURS])
            hits = [len(set(mine) & set(theirs)) for mine, theirs in zip(numbers, true.tolist(), strict=True)]
            found[name] = {
                "build seconds": round(seconds, 1),
                "build gigabytes": memory.gigabytes,
                "lists": built.lists,
                "looked at": built.looked_at,
                "recall@10 on the build's sample": built.recall,
                "recall@10 of queries": round(sum(hits) / NEIGHBOURS / QUERIES, 4),
                "open ms": round(1000 * opened, 1),
                "p50 ms": round(float(np.percentile(times, 50)), 3),
                "p99 ms": round(float(np.percentile(times, 99)), 3),
                "search gigabytes": searching.gigabytes,
                "file megabytes": round((folder / built.file).stat().st_size / 1e6, 1),
            }
            print(name, found[name], flush=True)
    return found


def number_of(folder: Path, ids: np.ndarray) -> list[list[int]]:
    """Which of the random codes these are."""
    store = Store.reading(folder)
    known = store.lookup(np.unique(ids).tolist())
    store.close()
    return [[int(known[i][0][1:]) for i in row] for row in ids.tolist()]


def milvus(arguments: argparse.Namespace) -> dict[str, Any]:
    """The same through a milvus-lite server: sending, latency with paths and metadata."""
    from unbraid.search import milvus as route

    count = arguments.count or 50_000
    codes = random_codes(count)
    queries = np.random.default_rng(1).standard_normal((200, SIZE), np.float32)
    true = faiss.knn(queries, codes, NEIGHBOURS)[1]
    with tempfile.TemporaryDirectory() as place:
        os.environ["UNBRAID_CACHE"] = f"{place}/cache"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [str(Path(sys.executable).parent / "milvus-lite"), "server", "--data-dir", f"{place}/data"]
        server = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            address = route.Address("127.0.0.1", port, "bench")
            while True:
                with socket.socket() as trial:
                    if trial.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.1)
            identity = filled(address.spool(""), codes)
            began = time.perf_counter()
            with route.sending(str(address), "", identity) as (_, send):
                send()
            seconds = time.perf_counter() - began
            index = route.MilvusIndex(str(address))
            found, times = [], []
            for query in queries:
                began = time.perf_counter()
                found.append([int(hit.path.name) for hit in index.nearest("a", "shared", query[None], 100, {})[0]])
                times.append(1000 * (time.perf_counter() - began))
            index.close()
            hits = [len(set(row[:NEIGHBOURS]) & set(t)) for row, t in zip(found, true.tolist(), strict=True)]
            held = Path(f"/proc/{server.pid}/statm").read_text().split()[1]
            return {
                "vectors": count,
                "queries": len(queries),
                "k": 100,
                "send seconds": round(seconds, 1),
                "recall@10 of queries": round(sum(hits) / NEIGHBOURS / len(queries), 4),
                "p50 ms": round(float(np.percentile(times, 50)), 2),
                "p99 ms": round(float(np.percentile(times, 99)), 2),
                "server gigabytes": round(int(held) * resource.getpagesize() / 1e9, 3),
            }
        finally:
            server.terminate()
            server.wait()


def halves(root: Path, folder: Path) -> tuple[Path, Path]:
    """The test half of the maps as two folders of PNG files: aerial photos, and maps of the same names."""
    for file in sorted((root / "maps" / "val").iterdir()):
        with Image.open(file) as picture:
            both = picture.convert("RGB")
        width, height = both.size
        for domain, left in (("a", 0), ("b", width // 2)):
            path = folder / domain / f"{file.stem}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            both.crop((left, 0, left + width // 2, height)).save(path, compress_level=1)
    return folder / "a", folder / "b"


def maps(arguments: argparse.Namespace) -> dict[str, Any]:
    """Aerial photos indexed, searched with maps: the share whose own photo comes first."""
    measured = json.loads((arguments.run / "metrics.json").read_text())
    model = load(arguments.run)
    found: dict[str, Any] = {"metrics.json, b->a": measured["recall"]["shared"]["b->a"]["1"]}
    with tempfile.TemporaryDirectory() as place:
        photos, queries = halves(arguments.root, Path(place))
        files = sorted(queries.iterdir())
        spec = model.image_spec("b")
        x = torch.stack([read_image(file, spec) for file in files])
        for precision in ("fp32", "bf16"):
            to = f"{place}/{precision}"
            assert (
                unbraid(
                    ["index", str(arguments.run), str(photos), "--domain", "a", "--to", to, "--precision", precision]
                )
                == 0
            )
            hits = search_index(model, to, x, 1)
            right = sum(row[0].path.stem == file.stem for row, file in zip(hits, files, strict=True))
            found[f"index and search, codes in {precision}"] = round(100 * right / len(files), 3)
        found["queries"] = len(files)
    return found


def throughput(arguments: argparse.Namespace) -> dict[str, Any]:
    """Images a second of `embed`, from decoded images and from JPEG files, against the model's encoder alone.

    All three take turns, so that what else the machine does falls on them alike; medians of three rounds, by wall clock
    and by processor time, which other processes change less.
    """
    model = load(arguments.run)
    found: dict[str, Any] = {"batch": 64}
    with tempfile.TemporaryDirectory() as place:
        os.environ["UNBRAID_CACHE"] = f"{place}/cache"
        photos, _ = halves(arguments.root, Path(place))
        jpeg = Path(place) / "jpeg"
        jpeg.mkdir()
        for file in photos.iterdir():
            with Image.open(file) as picture:
                picture.save(jpeg / f"{file.stem}.jpg", quality=90)
        spec = model.image_spec("a")
        listing = list_images(photos)
        cached(listing.folder.resolve(), listing.names, (spec.height, spec.width), spec.channels)
        kept, files = (list_sources([folder], spec, False)[0] for folder in (photos, jpeg))
        assert kept.cached is not None
        assert files.cached is None
        # four times over, so that what a call costs once weighs little
        at_hand, workers, width = len(kept.names), os.cpu_count() or 1, sum(code_sizes(model)["a"])
        count = 4 * at_hand
        images = torch.stack([kept.read(at % at_hand, Fit(spec)) for at in range(count)])
        for name in ("fp32", "bf16"):
            setting = choose_precision(TrainConfig(precision=name))

            def alone(setting: Any = setting) -> None:
                for some in images.split(64):
                    encoded(model, some, "a")

            def streamed(source: Any, setting: Any = setting) -> None:
                places = [(source, at % at_hand) for at in range(count)]

                def read(numbers: Any) -> Any:
                    return read_batch(places, numbers, Fit(spec))

                for _ in embed(model, "a", read, range(count), width, "whitened", 64, workers):
                    pass

            works = {
                "model alone": alone,
                "decoded images": lambda: streamed(kept),
                "JPEG files": lambda: streamed(files),
            }
            clocks = {"wall clock": time.perf_counter, "processor time": time.process_time}
            times: dict[str, dict[str, list[float]]] = {clock: {key: [] for key in works} for clock in clocks}
            alone()
            for _ in range(3):
                for key, work in works.items():
                    began = {clock: now() for clock, now in clocks.items()}
                    work()
                    for clock, now in clocks.items():
                        times[clock][key].append(now() - began[clock])
            found[name] = {}
            for clock, seconds in times.items():
                rates = {key: round(count / float(np.median(values)), 1) for key, values in seconds.items()}
                share = round(100 * rates["decoded images"] / rates["model alone"], 1)
                found[name][clock] = {**rates, "decoded images, % of the model alone": share}
            print(name, found[name], flush=True)
    return found


def kill(arguments: argparse.Namespace) -> dict[str, Any]:
    """Ten times: `unbraid index` is killed at a random moment, then called again."""
    draw = random.Random(0)
    rows = []
    with tempfile.TemporaryDirectory() as place:
        photos, _ = halves(arguments.root, Path(place))
        command = [sys.executable, "-m", "unbraid", "index", str(arguments.run), str(photos), "--domain", "a"]
        began = time.perf_counter()
        process = subprocess.Popen([*command, "--to", f"{place}/whole"], stdout=subprocess.DEVNULL)
        while not Path(f"{place}/whole/codes-a-0").exists():
            time.sleep(0.01)
        first = time.perf_counter()
        process.wait()
        whole, embedding = time.perf_counter() - began, time.perf_counter() - first
        wanted = contents(Path(f"{place}/whole"))
        for number in range(10):
            folder = Path(place) / f"index-{number}"
            process = subprocess.Popen(
                [*command, "--to", str(folder)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            began, moment = time.perf_counter(), draw.random() * embedding
            while not (folder / "codes-a-0").exists():  # from then on there is something to lose
                time.sleep(0.01)
            time.sleep(moment)
            moment = time.perf_counter() - began
            process.send_signal(signal.SIGKILL)
            process.wait()
            before = contents(folder) if (folder / "records.sqlite").exists() else {}
            done = subprocess.run([*command, "--to", str(folder)], capture_output=True, text=True)
            after = contents(folder)
            same = all(np.abs(after[path] - code).max() == 0 for path, code in before.items())
            complete = after.keys() == wanted.keys() and Searcher(folder)._ids["a"].size == len(wanted)
            equal = complete and all(np.abs(after[path] - code).max() < 1e-4 for path, code in wanted.items())
            rows.append(
                {
                    "killed after seconds": round(moment, 2),
                    "acknowledged": len(before),
                    "kept": same,
                    "complete, nothing double": equal,
                    "said": done.stdout.splitlines()[0] if done.stdout else done.stderr,
                }
            )
            print(rows[-1], flush=True)
    return {"images": len(wanted), "seconds undisturbed": round(whole, 1), "kills": rows}


def contents(folder: Path) -> dict[str, np.ndarray]:
    """All that a store acknowledges; fails if a path is there twice."""
    try:
        store = Store.reading(folder)
    except Exception:  # killed before there was anything
        return {}
    pairs = (
        [(item.path, code.copy()) for item, code in store.everything("a")]
        if store._db.execute("SELECT 1 FROM sqlite_master").fetchall()
        else []
    )
    store.close()
    assert len({path for path, _ in pairs}) == len(pairs)
    return dict(pairs)


def main() -> None:
    """Runs one part and puts its result beside the others."""
    works = {
        "metrics": metrics,
        "million": million,
        "milvus": milvus,
        "maps": maps,
        "throughput": throughput,
        "kill": kill,
    }
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=works)
    parser.add_argument("--count", type=int)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--root", type=Path)
    arguments = parser.parse_args()
    if arguments.what in ("maps", "throughput", "kill") and not (arguments.run and arguments.root):
        parser.error(f"{arguments.what} needs --run and --root")
    found = works[arguments.what](arguments)
    before = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    write_json(RESULTS, {**before, arguments.what: {"machine": facts(), **found}})
    print(table(["what", "value"], [[key, str(value)] for key, value in found.items()]))


if __name__ == "__main__":
    main()
