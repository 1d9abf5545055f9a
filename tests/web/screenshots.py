"""Takes the pictures of the browser that are in ``doc/screenshots``: ``make screenshots``."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from contextlib import chdir
from pathlib import Path
from typing import Any

from atop import Store
from atop.web.app import Browser
from tests.web.serving import chromium, served, why_no_chromium

FOLDER = Path(__file__).parents[2] / "doc" / "screenshots"
SIZE = {"width": 1100, "height": 680}
LARGEST = 300_000
TABLE = "/pools/messages?columns=date,sender_name,subject,attachments,size&index=date"
PICTURES = {
    "home": ("/", "light"),
    "table": (f"{TABLE}&row=120", "light"),
    "filter": (f"{TABLE}&subject__contains=photo", "light"),
    "item": ("/items/{item}", "light"),
    "dark": (f"{TABLE}&row=120", "dark"),
}


def main() -> int:
    missing = why_no_chromium()
    if missing:
        print(f"No pictures can be taken: {missing}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "pim.atop"
        command = [sys.executable, "-m", "examples.pim", "demo", "--store", str(place)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        with chdir(folder), Store(place.name) as store:
            item = _message_with_a_picture(store)
            with served(Browser(store, token="")) as address, chromium() as browser:
                for name, (page, scheme) in PICTURES.items():
                    _take(browser, name, address + page.format(item=item), scheme)
    return 0


def _message_with_a_picture(store: Store) -> int | None:
    """The message whose page shows most: one with a picture attached."""
    found = (each for each in store.pool("messages")
             if any(file.name.endswith((".png", ".jpg")) for file in each.attachments))
    ident: int | None = next(found).id
    return ident


def _take(browser: Any, name: str, address: str, scheme: str) -> None:
    page = browser.new_page(viewport=SIZE, color_scheme=scheme)
    page.goto(address, wait_until="networkidle")
    if page.locator("#rows.whole").count():
        page.wait_for_selector(".rows.live")
    if name == "home":
        page.evaluate("document.querySelector('h1').textContent = '~/pim.atop'")
    path = FOLDER / f"{name}.png"
    FOLDER.mkdir(exist_ok=True)
    page.screenshot(path=path)
    page.close()
    assert path.stat().st_size < LARGEST, f"{path} is too large for a page of documentation"
    print(f"{path.name}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    sys.exit(main())
