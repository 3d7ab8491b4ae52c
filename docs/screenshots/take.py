"""Takes the README's pictures from a running demo, so that every figure in them is one that was measured.

    .venv/bin/python docs/screenshots/take.py --researcher researcher1:PASSWORD --expert expert1:PASSWORD --experiment demo-full-trace

The expert's next text is opened and a draft is written into it; nothing is submitted.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

HERE = Path(__file__).parent
CHROMIUM = "/usr/bin/chromium"
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
CRITIQUE = (
    "A coin is lost and a kite is found: the story drops what it is about, and a trail of berries leads to neither. "
    "“Little did Nora know” promises what never comes."
)


def main() -> None:
    wanted = arguments()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = signed_in(browser, wanted.site, wanted.researcher)
        page.goto("/experiments/")
        shoot(page, "experiments", 620)
        page.goto(f"/experiments/{wanted.experiment}/")
        page.locator("#chart canvas").wait_for()
        page.wait_for_timeout(500)
        shoot(page, "experiment", 1160)
        page = signed_in(browser, wanted.site, wanted.expert)
        page.goto("/review/")
        page.locator(".batch .actions").first.locator("button, .button").first.click()
        page.get_by_label("Critique").fill(CRITIQUE)
        page.get_by_label("Score", exact=True).fill("38")
        page.get_by_text("Saved just now").wait_for()
        shoot(page, "review", 880)
        browser.close()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--site", default="http://localhost:8000")
    parser.add_argument("--researcher", required=True, metavar="NAME:PASSWORD")
    parser.add_argument("--expert", required=True, metavar="NAME:PASSWORD")
    parser.add_argument("--experiment", required=True, help="name of the experiment to show")
    return parser.parse_args()


def signed_in(browser: Any, site: str, who: str) -> Any:
    name, _, password = who.partition(":")
    page = browser.new_context(base_url=site, viewport={"width": 1280, "height": 900}, color_scheme="light").new_page()
    page.goto("/sign-in/")
    page.get_by_label("Username").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(lambda url: "sign-in" not in url)
    return page


def shoot(page: Any, name: str, height: int) -> None:
    page.screenshot(path=str(HERE / f"{name}.png"), clip={"x": 0, "y": 0, "width": 1280, "height": height}, full_page=True)


if __name__ == "__main__":
    main()
