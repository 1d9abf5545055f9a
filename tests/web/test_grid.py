"""The browser as people see it, in Chromium: the grid, its keys, phones and screen readers."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from atop import Index, Item, Store
from atop.web.app import Browser
from atop.web.html import STATIC
from tests.web.serving import served

PEOPLE = 2_000
ROWS = 400_000  # more than the height of a page of any browser has place for
EACH = ROWS // PEOPLE
VIRUS = "<img src=x onerror=alert(1)>"
LEVELS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]


class Person(Item):
    """Somebody with a name, an age, a friend and many words."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store(tmp_path_factory.mktemp("grid") / "s.atop") as store:
        with store.transaction():
            words = Index("word", "words", multiple=True)
            people = store.pool("people", "name", "age", words)
            before = None
            for number in range(PEOPLE):
                mine = range(number * EACH, (number + 1) * EACH)
                before = Person(name=f"Name {number:04}", age=number % 90, friend=before,
                                note=VIRUS, words=[f"word {each:06}" for each in mine])
                people.addItem(before)
        yield store


@pytest.fixture(scope="module")
def address(store: Store) -> Iterator[str]:
    with served(Browser(store, token="")) as address:
        yield address


Look = Callable[..., Any]


@pytest.fixture
def look(chrome: Any, address: str) -> Iterator[Look]:
    """Opens a page of the browser; in the end nothing may have gone wrong in any of them."""
    contexts, wrong = [], []

    def open_page(place: str, *, quiet: bool = False, **options: Any) -> Any:
        context = chrome.new_context(**{"viewport": {"width": 1200, "height": 700}, **options})
        context.set_default_timeout(10_000)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: wrong.append("a value of the store ran as a script"))
        if not quiet:
            page.on("console", lambda told: wrong.append(told.text) if told.type == "error" else 0)
        page.goto(address + place)
        if options.get("java_script_enabled", True) and page.locator("#rows[class*=whole]").count():
            page.wait_for_selector(".rows.live")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []


def says(page: Any, words: str) -> None:
    """Waits until the sentence over the rows has these words."""
    page.wait_for_function(
        "words => document.getElementById('sentence').textContent.includes(words)", arg=words)


def focused(page: Any) -> str:
    return str(page.evaluate("document.activeElement.textContent"))


def waits_for_focus(page: Any, words: str) -> None:
    page.wait_for_function("words => document.activeElement.textContent === words", arg=words)


def press(page: Any, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


@contextmanager
def navigation(page: Any) -> Iterator[None]:
    with page.expect_navigation():
        yield
    if page.locator("#rows").count():
        page.wait_for_selector(".rows.live")


def test_without_javascript_all_of_it_is_there(look: Look) -> None:
    page = look("/pools/people?index=name", java_script_enabled=False)
    assert page.locator("#rows tbody tr").count() == 50
    page.click("thead bdi:text-is('name')")
    assert page.locator("[aria-sort=descending]").inner_text().startswith("name")
    assert "Name 1999" in page.locator("#rows tbody tr").first.inner_text()
    page.fill("#jump", "Name 15")
    page.press("#jump", "Enter")
    assert "rows 401 to 450 of 2,000" in page.locator("h1").inner_text()
    page.click("summary:text-is('Columns')")
    page.uncheck("[name=show][value=words]")
    page.click("[name=left][value=age]")
    assert page.locator("#rows thead th").all_text_contents()[:4] == ["Row", "id", "age", "name"]
    assert "words" not in page.locator("#rows thead").inner_text()
    assert "rows 401" in page.locator("h1").inner_text()
    assert page.locator("#columns").is_visible()


def test_scrolling_from_end_to_end_always_shows_rows(look: Look) -> None:
    page = look("/pools/people?index=word")
    longest = page.evaluate("""async () => {
        const grid = document.querySelector("regular-table");
        const frame = () => new Promise(requestAnimationFrame);
        const end = grid.scrollHeight - grid.clientHeight, start = performance.now();
        let seen = start, longest = 0, part = 0;
        while (part < 1) {
            part = Math.min(1, (performance.now() - start) / 2000);
            grid.scrollTop = part * end;
            await frame();
            const full = [...grid.querySelectorAll("tbody tr")].filter(
                (row) => row.cells.length > 2 && row.cells[1].textContent);
            const now = performance.now();
            if (full.length > 10) seen = now;
            else longest = Math.max(longest, now - seen);
        }
        return longest;
    }""")
    assert longest <= 150
    says(page, "to 400,000 of 400,000")
    page.wait_for_selector("tbody tr:last-child:has-text('400,000')")


def test_a_row_far_away_stays_in_the_address_and_after_a_reload(look: Look) -> None:
    page = look("/pools/people?index=word")
    press(page, "/")
    page.keyboard.type("#312,300")
    press(page, "Enter")
    says(page, "rows 312,300 to 312,")
    page.wait_for_url("**row=312300*")
    assert page.locator("#call").inner_text().startswith(
        "store.pool('people').queryIndex('word')[312299:")
    shown = page.locator("regular-table tbody tr").first.get_attribute("aria-rowindex")
    page.reload()
    page.wait_for_selector(".rows.live")
    says(page, "rows 312,300 to 312,")
    assert page.locator("regular-table tbody tr").first.get_attribute("aria-rowindex") == shown


def test_the_first_letters_of_a_key_are_enough(look: Look) -> None:
    page = look("/pools/people?index=word")
    press(page, "/")
    page.keyboard.type("word 2")
    says(page, "rows 200,001 to 200,")
    assert page.evaluate("document.activeElement.id") == "jump"
    press(page, "Enter")
    waits_for_focus(page, "200,001")
    press(page, "/")
    page.fill("#jump", "zz")
    page.wait_for_selector("#told:has-text('these are the last rows')")
    says(page, "to 400,000 of 400,000")


def test_a_row_after_the_last_one_is_told(look: Look) -> None:
    page = look("/pools/people?index=name&row=5000")
    assert "no row 5,000, as there are 2,000" in page.locator("h1").inner_text()
    with navigation(page):
        page.click("a:text-is('First rows')")
    says(page, "rows 1 to ")


def test_keys_alone_go_everywhere(look: Look) -> None:
    page = look("/pools/people?index=name&columns=name,age,friend")
    press(page, "ArrowDown", "ArrowDown", "ArrowRight")
    waits_for_focus(page, "Name 0002")
    press(page, "End")
    waits_for_focus(page, "Name 1999")
    press(page, "Home")
    waits_for_focus(page, "Name 0000")
    press(page, "PageDown", "PageDown")
    page.wait_for_function("() => document.activeElement.textContent > 'Name 0020'")
    lower = focused(page)
    press(page, "PageUp")
    page.wait_for_function("lower => document.activeElement.textContent < lower", arg=lower)
    at = int(focused(page).split()[1])
    with page.expect_navigation():
        press(page, "Enter")
    assert f"Name {at:04}" in page.locator("h1").inner_text()
    page.go_back()
    page.wait_for_selector(".rows.live")
    press(page, "ArrowDown", "ArrowUp")
    waits_for_focus(page, f"Name {at:04}")
    press(page, "ArrowRight", "ArrowRight")
    page.wait_for_function("() => document.activeElement.textContent.startsWith('Person')")
    name = focused(page)
    with page.expect_navigation():
        press(page, "Enter")
    assert name.split()[1] in page.url


def test_tab_leads_through_the_grid_and_out_again(look: Look) -> None:
    page = look("/pools/people?index=name")
    page.focus("regular-table thead a >> nth=-1")
    press(page, "Tab")
    assert page.evaluate("document.activeElement.closest('tbody tr').ariaRowIndex") == "2"
    press(page, "Tab")
    assert focused(page) == "CSV"


def test_sorting_by_a_header_and_by_the_key_s(look: Look) -> None:
    page = look("/pools/people?index=name&columns=name,age")
    with navigation(page):
        page.click("regular-table thead bdi:text-is('age')")
    page.wait_for_selector("regular-table [aria-sort=ascending]:has-text('age')")
    press(page, "ArrowRight", "ArrowRight")
    page.wait_for_function("() => document.activeElement.ariaColIndex === '3'")
    with navigation(page):
        press(page, "s")
    page.wait_for_selector("regular-table [aria-sort=descending]:has-text('age')")
    assert "index=age&backwards=1" in page.url
    assert "89" in page.locator("regular-table tbody tr").first.inner_text()


def test_a_page_stays_as_it_was_until_the_newest_is_asked_for(look: Look, store: Store) -> None:
    page = look("/pools/people?index=name&row=5")
    with store.transaction():
        new = Person(name="Aaron", age=1, words=[])
        store.pool("people").addItem(new)
    page.wait_for_selector("#newer:not([hidden])")
    press(page, "Home")
    waits_for_focus(page, "1")
    assert "of 2,000" in page.locator("h1").inner_text()
    assert "Aaron" not in page.locator("regular-table").inner_text()
    page.wait_for_url(re.compile(r"^(?!.*row=)"))
    with navigation(page):
        page.click("#newer a")
    assert "of 2,001" in page.locator("h1").inner_text()
    assert "Aaron" in page.locator("regular-table").inner_text()
    with store.transaction():
        store.delete(new)


def test_rows_stay_when_the_server_does_not_answer(look: Look) -> None:
    page = look("/pools/people?index=word", quiet=True)
    page.context.set_offline(True)
    page.evaluate("document.querySelector('regular-table').scrollTop = 5e6")
    page.wait_for_selector("#told:has-text('does not answer')")
    assert page.locator("regular-table tbody tr").count() > 10
    page.context.set_offline(False)
    press(page, "End")
    says(page, "to 400,000 of 400,000")


def test_widths_are_kept(look: Look) -> None:
    page = look("/pools/people?index=name&columns=name,age")
    header = page.locator("regular-table thead th").nth(1)
    before = header.bounding_box()["width"]
    press(page, "ArrowRight", "+", "+")
    page.wait_for_function(
        "before => document.querySelector('regular-table th.rt-col-1').offsetWidth > before + 40",
        arg=before)
    handle = page.locator(".rt-column-resize").nth(2).bounding_box()
    page.mouse.move(handle["x"] + 3, handle["y"] + 10)
    page.mouse.down()
    page.mouse.move(handle["x"] + 103, handle["y"] + 10, steps=4)
    page.mouse.up()
    page.wait_for_function("() => localStorage.getItem('atop widths people')?.includes('age')")
    page.reload()
    page.wait_for_selector(".rows.live")
    assert header.bounding_box()["width"] > before + 40
    assert page.locator("regular-table thead th").nth(2).bounding_box()["width"] > 100


def test_help_opens_and_closes_by_key(look: Look) -> None:
    page = look("/pools/people?index=name")
    press(page, "?")
    assert page.locator("#help").is_visible()
    press(page, "Escape")
    assert not page.locator("#help").is_visible()
    press(page, "ArrowDown")
    waits_for_focus(page, "2")


def test_a_screen_reader_is_told_how_many_rows_and_which(look: Look) -> None:
    page = look("/pools/people?index=word&row=300001&columns=name,word")
    table = page.get_by_role("grid")
    assert table.get_attribute("aria-rowcount") == str(ROWS + 1)
    assert table.get_attribute("aria-colcount") == "3"
    first = table.locator("tbody tr").first
    assert first.get_attribute("aria-rowindex") in {"300001", "300002"}
    assert page.get_by_role("columnheader").all_inner_texts()[0].strip() == "Row"
    page.wait_for_selector("#seen:has-text('rows 300,001 to 300,')", state="attached")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_there_are_no_violations_of_level_a_or_aa(
    look: Look, scheme: str, store: Store, address: str
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    item = store.pool("people").getIndexItem("name", "Name 0007").id
    page = look("/", quiet=True, color_scheme=scheme)
    levels = {"runOnly": LEVELS if scheme == "light" else ["color-contrast"]}
    for place in ("/", "/pools/people?index=name", "/pools/people?index=name&name__contains=7",
                  f"/items/{item}", f"/items/{item}/edit?name=name", "/pools/nobody"):
        page.goto(address + place)
        if place.endswith("index=name"):
            page.wait_for_selector(".rows.live")
            for panel in page.locator("summary").all():
                panel.click()
        found = Axe().run(page, options=levels)
        assert found.violations_count == 0, f"{place}: {found.generate_report()}"


def test_a_phone_shows_all_pages_without_scrolling_them_sideways(look: Look, store: Store) -> None:
    item = store.pool("people").getIndexItem("name", "Name 0007").id
    for place in ("/", "/pools/people?index=name", f"/items/{item}", "/pools/nobody"):
        page = look(place, quiet=True, viewport={"width": 375, "height": 667}, has_touch=True)
        assert page.evaluate("document.documentElement.scrollWidth") <= 375, place
    page = look("/pools/people?index=name", viewport={"width": 375, "height": 667})
    assert page.locator("regular-table tbody tr").count() > 8
    page.mouse.move(150, 500)
    page.mouse.wheel(200, 0)
    page.wait_for_function("() => document.querySelector('regular-table').scrollLeft > 0")


def test_scripts_of_two_versions_are_never_mixed(address: str) -> None:
    page = httpx.get(f"{address}/pools/people").text
    named = re.search(r'src="(/static/table\.js\?\w+)"', page)
    assert named is not None
    assert "immutable" in httpx.get(address + named[1]).headers["cache-control"]
    assert httpx.get(f"{address}/static/grid.js").headers["cache-control"] == "no-cache"


def test_the_wheel_moves_a_few_rows_however_many_there_are(look: Look) -> None:
    page = look("/pools/people?index=word")
    page.mouse.move(400, 400)
    page.mouse.wheel(0, 280)
    says(page, "rows 11 to ")


def test_vendored_files_are_what_their_list_says() -> None:
    folder = STATIC / "vendor"
    listed = json.loads((folder / "VENDORED.json").read_text())
    for each in listed:
        assert hashlib.sha256((folder / each["file"]).read_bytes()).hexdigest() == each["sha256"]
        assert (folder / Path(each["file"]).stem).with_suffix(".LICENSE").exists()
        assert each["licence"] in {"Apache-2.0", "MIT"}
    assert {each["file"] for each in listed} == {path.name for path in folder.glob("*.js")}
