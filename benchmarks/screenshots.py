"""Pictures of a run's page for the docs: wide and narrow, light and dark.

    python benchmarks/screenshots.py RUN [docs/images]

Needs Chromium and `pip install playwright`. The page is opened as a reader opens it; anything that it says on the
console, fetches or shows wider than the window stops the script.
"""

import argparse
import shutil
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

SIZES = {"wide": (1440, 1320), "narrow": (390, 1320)}
SCHEMES = ("light", "dark")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path, nargs="?", default=Path(__file__).parents[1] / "docs" / "images")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=shutil.which("chromium") or shutil.which("google-chrome"))
        for size in SIZES:
            for scheme in SCHEMES:
                picture(browser, options.run / "report.html", size, scheme, options.out)
        browser.close()


def picture(browser: Browser, report: Path, size: str, scheme: str, out: Path) -> None:
    width, height = SIZES[size]
    said: list[str] = []
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)  # type: ignore[arg-type]
    page.on("console", lambda message: said.append(message.text))
    page.on("request", lambda request: said.append(request.url) if not request.url.startswith("file:") else None)
    page.goto(report.resolve().as_uri())
    if page.evaluate("document.documentElement.scrollWidth") > width or said:
        raise SystemExit(f"{report} at {width} px, {scheme}: wider than the window, or it says {said}")
    page.screenshot(path=out / f"report-{size}-{scheme}.png")
    page.close()


if __name__ == "__main__":
    main()
