"""Screenshots of every view of the explorer, for the documentation.

python benchmarks/explorer_pictures.py runs/demo runs/iiae-emoji runs/iiae-maps runs/demo-seed1

Starts `unbraid explore` on the four runs, drives it in headless Chromium, writes docs/pictures/explorer-*.webp. The
first is shown in most views and compared with the fourth, of the same data; the second translates and searches, the
third trains. Also prints the seconds from the command to the first picture.
"""

import argparse
import io
import shutil
import subprocess
import sys
import time
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

import small

OUT = Path(__file__).parent.parent / "docs" / "pictures"
HIGHEST = 1700
"""Pixels of a screenshot; there are more curves than it takes to see how they look."""


def main() -> None:
    """Parses, starts, draws, stops."""
    parser = argparse.ArgumentParser()
    parser.add_argument("runs", nargs=4, type=Path)
    parser.add_argument("--chromium", default=shutil.which("chromium"))
    parser.add_argument("--port", type=int, default=7895)
    asked = parser.parse_args()
    with sync_playwright() as playwright:
        # a visitor's browser is open already: its start is not the page's
        browser = playwright.chromium.launch(executable_path=asked.chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        began = time.monotonic()
        command = [sys.executable, "-m", "unbraid", "explore", *map(str, asked.runs), "--port", str(asked.port)]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            place = server.stdout.readline().split()[1]
            print(f"listening after {time.monotonic() - began:.1f} s")
            page.set_default_timeout(300_000)
            page.goto(place)
            page.wait_for_selector("#translate-picture img")
            print(f"first picture after {time.monotonic() - began:.1f} s from the command")
            digits, many, maps, other = (run.name for run in asked.runs)
            shots = {
                "translate": f"?view=translate&run={many}&item=7&samples=5&seed=1",
                "analogies": f"?view=analogies&run={digits}&rows=10,300,520,910&columns=33,140,477,700",
                "interpolate": f"?view=interpolate&run={digits}&first=130&second=930&part=shared&steps=8",
                "search": f"?view=search&run={many}&item=1&among=b&neighbours=8",
                "codes": f"?view=codes&run={digits}&layout=t-sne&colour=label&items=400",
                "training": f"?view=training&run={maps}",
                "compare": f"?view=compare&run={digits}&runs={digits},{other}&item=300&samples=3",
            }
            for name, query in shots.items():
                open_view(page, place + query, name)
                if name == "codes":
                    page.locator("#codes-maps .point").nth(150).hover(force=True)
                if name == "training":
                    page.get_by_text("One curve, large").click()
                    page.wait_for_timeout(2500)
                shot(page, f"explorer-{name}")
            dark = browser.new_context(color_scheme="dark", viewport={"width": 390, "height": 844}).new_page()
            open_view(dark, place + shots["translate"], "translate")
            shot(dark, "explorer-phone-dark")
            browser.close()
        finally:
            server.terminate()
            server.wait()


def open_view(page: Page, address: str, view: str) -> None:
    """Waits until the view shows what it computed."""
    page.goto(address, timeout=300_000)
    found = page.locator("#codes-maps svg" if view == "codes" else f"#{view}-picture img").first
    found.wait_for(state="attached", timeout=300_000)
    found.scroll_into_view_if_needed()  # pictures below the fold are loaded late
    page.wait_for_timeout(2500)  # pictures fade in
    page.evaluate("scrollTo(0, 0)")


def shot(page: Page, name: str) -> None:
    """The page, no longer than HIGHEST."""
    picture = Image.open(io.BytesIO(page.screenshot(full_page=True)))
    small.save_screenshot(picture.crop((0, 0, picture.width, min(picture.height, HIGHEST))), OUT / f"{name}.webp")
    print(f"written: {OUT.name}/{name}.webp")


if __name__ == "__main__":
    main()
