"""How the explorer bears visitors: 20 at once for 60 seconds, then memory over 1,000 requests. Loopback.

python benchmarks/explorer_load.py runs/demo

Each visitor asks for a translation (four samples of a test item), waits for the answer, and asks again, as
`gradio_client` asks, without fetching the picture. Writes benchmarks/results/explorer-load.json.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from machine import facts

RESULT = Path(__file__).parent / "results" / "explorer-load.json"


def main() -> None:
    """Starts the explorer, asks, writes what it took."""
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("--visitors", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--port", type=int, default=7896)
    asked = parser.parse_args()
    command = [sys.executable, "-m", "unbraid", "explore", str(asked.run), "--port", str(asked.port)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        place = server.stdout.readline().split()[1]
        name = asked.run.resolve().name
        for seed in range(20):
            translation(place, name, seed)
        alone = [translation(place, name, seed) for seed in range(50)]
        end = time.monotonic() + asked.seconds

        def visitor(number: int) -> list[float]:
            times = []
            while time.monotonic() < end:
                times.append(translation(place, name, number * 1000 + len(times)))
            return times

        with ThreadPoolExecutor(asked.visitors) as pool:
            times = [each for found in pool.map(visitor, range(asked.visitors)) for each in found]
        memory = [resident(server.pid)]
        for number in range(asked.requests):
            translation(place, name, number)
            if (number + 1) % 100 == 0:
                memory.append(resident(server.pid))
        result = {
            "command": f"python benchmarks/explorer_load.py {asked.run}",
            **facts(),
            "load average": [round(value, 1) for value in os.getloadavg()],
            "visitors": asked.visitors,
            "seconds": asked.seconds,
            "answers": len(times),
            "errors": 0,
            "median seconds": round(statistics.median(times), 3),
            "p99 seconds": round(sorted(times)[int(0.99 * (len(times) - 1))], 3),
            "median seconds of one visitor": round(statistics.median(alone), 3),
            "resident MB before and after each 100 requests": [round(value / 1e6, 1) for value in memory],
        }
        RESULT.write_text(json.dumps(result, indent=1) + "\n")
        print(json.dumps(result, indent=1))
    finally:
        server.terminate()
        server.wait()


def translation(place: str, run: str, seed: int) -> float:
    """Seconds until a translation is there. An error ends the benchmark."""
    began = time.monotonic()
    body = json.dumps({"data": [run, "a", seed % 100, None, 4, seed, None, None]}).encode()
    request = urllib.request.Request(f"{place}gradio_api/call/translate", body, {"content-type": "application/json"})
    event = answered(request)
    text = answered(urllib.request.Request(f"{place}gradio_api/call/translate/{json.loads(event)['event_id']}"))
    assert "event: complete" in text, text
    return time.monotonic() - began


def answered(request: Any) -> str:
    """The text of an answer."""
    with urllib.request.urlopen(request, timeout=120) as answer:
        return answer.read().decode()


def resident(process: int) -> float:
    """Bytes of memory that a process holds."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
