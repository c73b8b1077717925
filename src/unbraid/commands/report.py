"""`unbraid report`: one page of a run, to look at and to send."""

import math
import sys
from pathlib import Path

from unbraid.commands.folder import Device, RunFolder
from unbraid.commands.measure import DataLocation, with_data
from unbraid.core.types import UserError
from unbraid.data.parts import Data
from unbraid.model.run import Run
from unbraid.model.trained import Trained

IN_PLACE = DataLocation()


def report(
    run: RunFolder,
    out: Path | None = None,
    data: DataLocation = IN_PLACE,
    limit: int | None = None,
    device: Device = "auto",
) -> None:
    """Writes one self-contained page about a run: pictures, figures in words, curves, what to try.

    Measures the run first if that wasn't done.

    Args:
        run: Folder of the run.
        out: HTML file; RUN/report.html, if not given.
        limit: Items in a figure at most, if it is measured now; see `unbraid evaluate`.
    """
    from unbraid.evaluation.report.write import check_out

    out = out or run / "report.html"
    check_out(out)
    opened, model, loaded, other = with_data(run, data, limit, device)
    if other:
        raise UserError("A report shows a run's own test part; `unbraid evaluate` measures on other images")
    written = measured_report(opened, model, loaded, out, limit)
    print(*written, sep="\n")
    print(f"Written: {out} ({out.stat().st_size / 1e6:.1f} MB), one file to open or to send")


def measured_report(
    run: Run, model: Trained, data: Data, out: Path, limit: int | None = None, until: float = math.inf
) -> list[str]:
    """Writes the report of a run, which is measured first if its figures are missing or of an earlier model.

    Args:
        run: The run.
        model: Its model.
        data: Its data, as it trains on them.
        out: The file.
        limit: Items in a figure that is measured now.
        until: When no measure is begun any more, by `time.monotonic`.

    Returns:
        What came out, in a few lines.
    """
    from unbraid.evaluation.evaluate import evaluate
    from unbraid.evaluation.report.write import write_report

    metrics = run.metrics()
    if f"step {model.step}," not in str(metrics.get("protocol", {}).get("model", "")):
        print("Measuring the model on the test part", file=sys.stderr)
        metrics = evaluate(run, model, data, limit=limit, until=until)
    return write_report(run, model, data, metrics, out).lines
