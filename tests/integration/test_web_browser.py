"""The page in a real Chromium without a window: by keyboard, on a phone, in the dark, and with hostile text.

AYA_REQUIRE_CHROMIUM=1 turns a skip into a failure.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.command import Command
from tests.integration.conftest import Knowledge
from tests.unit.test_status_judge import GOOD
from tests.unit.test_sync_judge import PRIMARY
from tests.web_lab import AIR, Page, seen, served

from aya.knowledge.types import NewDocument
from aya.status.judge import judge
from aya.status.types import Failover, Observation, Partner

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
CHROMEDRIVER = shutil.which("chromedriver")

pytestmark = [
    pytest.mark.database,
    pytest.mark.slow,
    pytest.mark.skipif(
        not (CHROMIUM and CHROMEDRIVER) and os.environ.get("AYA_REQUIRE_CHROMIUM") != "1",
        reason="no Chromium here: apt-get install chromium chromium-driver",
    ),
]

WATCHED = Failover("SYNC", "both", "primary", 3, False, True, Partner("beta", "standby", 3, "running", 0.2, 0))  # noqa: FBT003
TOKEN = "correct-horse-battery"
HOSTILE = (
    "Tea <script>window.stolen = 1</script> </mark><img src=x onerror='window.stolen = 2'> tea 😀🫖 "
    "\u202eright to left\u202c שלום עולם &amp; 'quotes' tea."
)
_ARGUMENTS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions"),
    "--hide-scrollbars",
)
# Of every text that is seen: its colour and that of the ground below it, as WCAG 2.2, 1.4.3 computes their contrast.
_CONTRASTS = """
const luminance = ([r, g, b]) => {
  const part = (c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
};
const parsed = (text) => text.match(/[\\d.]+/g).map(Number);
const ground = (element) => {
  for (let at = element; at; at = at.parentElement) {
    const colour = parsed(getComputedStyle(at).backgroundColor);
    if (colour.length < 4 || colour[3] > 0) return colour;
  }
  return [255, 255, 255];
};
const found = [];
for (const element of document.querySelectorAll("body *")) {
  const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
  if (!own || !element.checkVisibility() || !element.getClientRects().length) continue;
  const style = getComputedStyle(element);
  const colour = parsed(element.namespaceURI.endsWith("svg") ? style.fill : style.color);
  const [light, dark] = [luminance(colour), luminance(ground(element))].sort((a, b) => b - a);
  const ratio = (light + 0.05) / (dark + 0.05);
  if (ratio < 4.5) found.push(`${element.tagName} ${element.textContent.slice(0, 30)}: ${ratio.toFixed(2)}`);
}
return found;
"""
_UNNAMED = """
const named = (e) => e.getAttribute("aria-label") || e.getAttribute("aria-labelledby") || e.labels?.length
  || e.textContent.trim();
return [...document.querySelectorAll("input, select, button, a, dialog, section, svg[role]")]
  .filter((e) => !named(e)).map((e) => e.outerHTML.slice(0, 80))
  .concat([...document.querySelectorAll("[aria-labelledby], [aria-describedby]")]
    .flatMap((e) => [e.getAttribute("aria-labelledby"), e.getAttribute("aria-describedby")])
    .filter((id) => id && !document.getElementById(id)).map((id) => `nothing has id ${id}`));
"""


class Browser:
    """One tab. Every call waits for what it is about, 10 s at most."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def open(self, url: str, *, width: int = 1200, height: int = 900, dark: bool = False) -> None:
        """Load a page, and wait until it shows its nodes, or asks for the token."""
        told = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.devtools("Emulation.setDeviceMetricsOverride", told)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.devtools("Emulation.setEmulatedMedia", {"features": [scheme]})
        self.complaints()
        self.driver.get(url)
        self.until(lambda: self.run("return document.querySelector('.node') || document.querySelector('#login[open]')"))

    def run(self, script: str, *arguments: object) -> Any:  # noqa: ANN401 whatever the script returns
        """Return what a script returns."""
        return self.driver.execute(Command.W3C_EXECUTE_SCRIPT, {"script": script, "args": list(arguments)})["value"]

    def devtools(self, command: str, parameters: Mapping[str, object]) -> None:
        """Tell the browser something that no page can (https://chromedevtools.github.io/devtools-protocol)."""
        self.driver.execute("executeCdpCommand", {"cmd": command, "params": parameters})

    def until(self, true: Callable[[], object]) -> None:
        """Wait for something."""
        deadline = time.monotonic() + 10
        while not true():
            assert time.monotonic() < deadline, self.run("return document.body.innerText")
            time.sleep(0.05)

    def press(self, *keys: str) -> None:
        """Press keys, wherever the focus is."""
        self.driver.switch_to.active_element.send_keys(*keys)

    def text(self, selector: str) -> str:
        """Return what an element says."""
        return self.driver.find_element(By.CSS_SELECTOR, selector).text

    def search(self, query: str) -> None:
        """Ask by keyboard, and wait for the answer."""
        self.press("/")
        self.press(query)
        self.until(lambda: "passage" in self.text("#search-told"))

    def complaints(self) -> list[str]:
        """Return what the browser's log says since it was last asked: policy refusals, errors of scripts."""
        told = self.driver.execute(Command.GET_LOG, {"type": "browser"})["value"]
        return [str(line["message"]) for line in told]


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """One Chromium for all tests here."""
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in (*_ARGUMENTS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(CHROMEDRIVER)))
    yield driver
    driver.quit()


@pytest.fixture
async def page(knowledge: Knowledge, embedder_url: str, tmp_path: Path) -> AsyncIterator[Page]:
    """A page over a base with two documents, one of them hostile, and a conflict about it."""
    await knowledge.documents.add(NewDocument(HOSTILE, title="<b>Tea</b>", category="drinks", source="<i>web</i>"))
    await knowledge.documents.add(NewDocument("Green tea is steeped at 75 degrees.", title="Steeping"))
    async with knowledge.database.connection() as connection:
        await connection.execute(
            "INSERT INTO conflicts (unit, uid, origin, op_uid, loser, reason, document)"
            " SELECT 'document', uid, 'air', gen_random_uuid(), 'sender', 'older', to_jsonb(d) FROM documents AS d"
        )
    async with served(knowledge.settings, embedder_url, tmp_path) as page:
        yield page


async def look(work: Callable[[], None]) -> None:
    """Do something with the browser while the page is served beside it."""
    await asyncio.to_thread(work)


async def test_a_search_needs_no_mouse(driver: webdriver.Chrome, page: Page) -> None:
    """Slash, words, down, down, up, Enter, Escape, Escape: from the box to a document and back."""
    browser = Browser(driver)

    def work() -> None:
        browser.open(page.url)
        browser.search("tea")
        assert len(driver.find_elements(By.CSS_SELECTOR, ".hit")) == 2
        browser.press(Keys.ARROW_DOWN)
        browser.press(Keys.ARROW_DOWN)
        browser.press(Keys.ARROW_UP)
        assert browser.run("return [...document.querySelectorAll('.hit')].indexOf(document.activeElement)") == 0
        browser.press(Keys.ENTER)
        browser.until(lambda: browser.run("return document.getElementById('document').open"))
        assert browser.text("#document-text mark")
        browser.press(Keys.ESCAPE)
        browser.until(lambda: not browser.run("return document.getElementById('document').open"))
        assert browser.run("return document.activeElement.className") == "hit"
        browser.press(Keys.ESCAPE)
        assert browser.run("return document.activeElement.id") == "search-box"
        browser.press(Keys.ESCAPE)
        assert not driver.find_elements(By.CSS_SELECTOR, ".hit")
        assert not browser.complaints()

    await look(work)


async def test_stored_text_is_text(driver: webdriver.Chrome, page: Page) -> None:
    """No script of it runs, no element of it is made, and every character of it is seen."""
    browser = Browser(driver)

    def work() -> None:
        browser.open(page.url)
        browser.search("tea script")
        browser.until(lambda: "older" in browser.text("#conflicts"))
        assert browser.run("return window.stolen") is None
        assert (
            browser.run(
                "return document.querySelectorAll('main img, main script, main b:not(.link b), main td i').length"
            )
            == 0
        )
        hits = browser.text("#hits")
        assert "<b>Tea</b>" in hits
        assert "<script>window.stolen = 1</script> </mark><img src=x" in hits
        assert "😀🫖" in hits
        marks = [one.text.lower() for one in driver.find_elements(By.CSS_SELECTOR, ".hit mark")]
        assert set(marks) <= {"tea", "script"}
        assert "<script>" in browser.text("#conflicts")
        assert not browser.complaints()

    await look(work)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [360, 1200])
async def test_it_fits_and_can_be_read(driver: webdriver.Chrome, page: Page, width: int, *, dark: bool) -> None:
    """Nothing to scroll sideways, every text 4.5 to 1 against its ground, every control with a name."""
    browser = Browser(driver)

    def work() -> None:
        browser.open(page.url, width=width, dark=dark)
        browser.until(lambda: "older" in browser.text("#conflicts"))
        browser.search("tea")
        assert browser.run("return document.documentElement.scrollWidth") <= width
        assert browser.run(_CONTRASTS) == []
        assert browser.run(_UNNAMED) == []
        ground = browser.run("return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
        assert (sum(ground) < 200) == dark
        browser.press(Keys.ARROW_DOWN)
        browser.press(Keys.ENTER)
        browser.until(lambda: browser.run("return document.getElementById('document').open"))
        assert browser.run("return document.documentElement.scrollWidth") <= width
        assert browser.run(_CONTRASTS) == []
        assert not browser.complaints()

    await look(work)


async def test_the_nodes_and_what_was_measured_are_shown(driver: webdriver.Chrome, page: Page) -> None:
    """Roles, conditions and lag; a plot tells its values by arrow keys, to a screen reader, too."""
    browser = Browser(driver)

    def work() -> None:
        browser.open(page.url)
        assert [one.text for one in driver.find_elements(By.CSS_SELECTOR, ".node h3")] == ["alpha", "beta", "air"]
        assert "4.1 kB behind alpha" in browser.text("#topology")
        assert "2.5 s behind alpha" in browser.text("#topology")
        browser.until(lambda: "beta 0 B" in browser.text(".plot"))
        plot = driver.find_element(By.CSS_SELECTOR, ".plot svg")
        browser.run("arguments[0].focus()", plot)
        browser.press(Keys.ARROW_LEFT)
        browser.press(Keys.ARROW_LEFT)
        assert "beta 200 B" in browser.text(".plot .values")
        assert "beta 200 B" in str(plot.get_attribute("aria-label"))
        assert browser.run("return arguments[0].querySelectorAll('path').length", plot) == 1

    await look(work)


@pytest.mark.parametrize(
    ("here", "expected", "says"),
    [
        (replace(GOOD, failover=WATCHED), ["alpha", "beta"], ["0 B behind alpha", "server running", "epoch", "heard"]),
        (AIR, ["primary", "air"], ["2.5 s behind primary", PRIMARY.address]),
    ],
    ids=["alpha", "air"],
)
async def test_a_node_alone_on_its_machine_shows_whom_it_knows(
    driver: webdriver.Chrome, page: Page, here: Observation, expected: list[str], says: list[str]
) -> None:
    """A watchdog hears of its partner, AIR reaches its primary; a card says that, and no more."""
    browser = Browser(driver)
    assert page.watcher.last is not None
    page.watcher.last = replace(page.watcher.last, nodes=(judge(here),))

    def work() -> None:
        browser.open(page.url, width=360)
        assert [one.text for one in driver.find_elements(By.CSS_SELECTOR, ".node h3")] == expected
        for words in says:
            assert words in browser.text("#topology")
        assert browser.run("return document.documentElement.scrollWidth") <= 360
        assert not browser.complaints()

    await look(work)


async def test_what_is_old_is_said_to_be_old(driver: webdriver.Chrome, page: Page) -> None:
    """A server that looks no more, and one that answers no more: the page says which, and for how long."""
    browser = Browser(driver)

    def work() -> None:
        seen(page.watcher, ago=90)
        browser.open(page.url)
        browser.until(lambda: "last looked at 2 min ago" in browser.text("#stale"))
        assert browser.text("#health") == "unknown"
        seen(page.watcher)
        browser.until(lambda: not driver.find_element(By.ID, "stale").is_displayed())
        browser.devtools("Network.enable", {})
        gone = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
        browser.devtools("Network.emulateNetworkConditions", gone)
        try:
            time.sleep(8)
            browser.until(lambda: "has not answered for" in browser.text("#stale"))
        finally:
            browser.devtools("Network.emulateNetworkConditions", {**gone, "offline": False})

    await look(work)


async def test_the_token_is_asked_for_and_kept_by_the_tab(
    driver: webdriver.Chrome, knowledge: Knowledge, embedder_url: str, tmp_path: Path
) -> None:
    """A wrong one is told so; with the right one the page goes on, and asks no more after a reload."""
    browser = Browser(driver)
    async with served(knowledge.settings, embedder_url, tmp_path, token=TOKEN) as page:

        def work() -> None:
            browser.open(page.url)
            for word in ("wrong-wrong-wrong", TOKEN):
                browser.until(lambda: browser.run("return document.getElementById('login').open"))
                driver.find_element(By.ID, "token").send_keys(word, Keys.ENTER)
                browser.until(
                    lambda: (
                        "not the token" in browser.text("#login-told")
                        or browser.run("return !!document.querySelector('.node')")
                    )
                )
            browser.until(lambda: browser.run("return document.querySelector('.node')"))
            browser.open(page.url)
            assert not browser.run("return document.getElementById('login').open")
            assert TOKEN not in str(browser.run("return location.href + document.cookie"))
            browser.run("sessionStorage.clear()")

        await look(work)
