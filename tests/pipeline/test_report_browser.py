"""The report page in a real browser: by keyboard, on a phone, in the dark, without a request, and with the numbers of the commands."""

import base64
import itertools
import json
import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

from cache_schema import synthetic
from cache_schema.spec import PointSpec
from pipeline import cli, report
from tests.pipeline.test_report import NASTY, add_views, hostile, share_data

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs Debian's packages chromium and chromium-driver")

CONTRAST = """
const parse = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
const light = ([r, g, b]) => [r, g, b].map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
  .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const behind = (el) => {
  for (; el; el = el.parentElement) {
    const [r, g, b, a = 1] = parse(getComputedStyle(el).backgroundColor);
    if (a > 0.99) return [r, g, b];
  }
  return [255, 255, 255];
};
const bad = [];
for (const el of document.querySelectorAll("body *")) {
  const text = [...el.childNodes].filter((n) => n.nodeType === 3).map((n) => n.data.trim()).join("");
  if (!text || !el.checkVisibility({ contentVisibilityAuto: true }) || el.closest(".look figcaption, .hint, script, style")) continue;
  const style = getComputedStyle(el);
  const [a, b] = [light(parse(el.namespaceURI.endsWith("svg") ? style.fill : style.color)), light(behind(el))];
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (ratio < 4.5) bad.push([el.tagName, el.className, text.slice(0, 30), ratio.toFixed(2)]);
}
const paper = light(behind(document.querySelector("svg.map")));
for (const el of document.querySelectorAll(".legend .marker")) {
  const a = light(parse(getComputedStyle(el).fill));
  const ratio = (Math.max(a, paper) + 0.05) / (Math.min(a, paper) + 0.05);
  if (ratio < 3) bad.push(["marker", el.className.baseVal, ratio.toFixed(2)]);
}
return bad;
"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    points = PointSpec(count=64, blocks=2, ordered=32, parts=("leg", "<b>top</b>"))
    cache = add_views(synthetic.write(tmp_path_factory.mktemp("seen") / "shapes.zarr", shapes=21, failed=(3, 4), points=points))
    share_data(cache, [(0, 2), (6, 9)])  # 2 is a test shape
    return cache


@pytest.fixture(scope="module")
def address(cache):
    report.write(cache, cache.path.with_name("page.html"), 12)
    return cache.path.with_name("page.html").as_uri()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--force-device-scale-factor=1"):
        options.add_argument(argument)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('profile')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def page(browser, address):
    """The page, freshly opened in a window of 1280 pixels. It must say nothing in the console and ask nobody for anything."""
    wide(browser, 1280)
    browser.get(address)
    yield browser
    assert [entry["message"] for entry in browser.get_log("browser")] == []
    assert (
        browser.execute_script("return performance.getEntriesByType('resource').map((r) => r.name).filter((n) => !/^data:/.test(n))") == []
    )


def wide(browser, width):
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def dark(browser, yes):
    features = [{"name": "prefers-color-scheme", "value": "dark" if yes else "light"}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def press(browser, *keys):
    from selenium.webdriver.common.keys import Keys

    for key in keys:
        browser.switch_to.active_element.send_keys(getattr(Keys, key, key))


def find(browser, selector):
    return browser.find_elements("css selector", selector)


def text(browser, selector):
    return find(browser, selector)[0].text


def click(browser, element):
    browser.execute_script("arguments[0].click()", element)


def choose(browser, **values):
    """Set the choices of the filter by hand; those not named become `all`."""
    script = "const s = document.getElementById(`by-${arguments[0]}`); s.value = arguments[1]; "
    for name in ("class", "split", "status"):
        browser.execute_script(script + "s.dispatchEvent(new Event('input', { bubbles: true }))", name, values.get(name, ""))


def shown(browser):
    """The ids of the cards that are shown."""
    return browser.execute_script("return [...document.querySelectorAll('.card:not([hidden]) h3')].map((h) => h.textContent)")


def test_shapes_are_found_by_words_class_split_and_status(page):
    assert text(page, "#count") == "14 of 14 shapes on this page"  # 12 ok ones and 2 that failed
    every = shown(page)
    press(page, "/", *"CONE view 2")  # the slash goes to the search
    cones = [name for name in every if name.startswith("cone")]
    assert shown(page) == [name for name in cones if name != "cone/000003"]  # the failed cone has no captions
    assert text(page, "#count").startswith(f"{len(cones) - 1} of 14")
    click(page, find(page, "[type=reset]")[0])
    page.execute_async_script("setTimeout(arguments[0], 20)")
    assert shown(page) == every
    choose(page, status="failed")
    assert shown(page) == ["cone/000003", "cube/000004"]
    choose(page, status="ok", split="test")
    assert shown(page) == [name for name in every if int(name[-6:]) % 3 == 2] == [name for name in every if name.startswith("torus")]
    choose(page, **{"class": "cube"})
    assert shown(page) == [name for name in every if name.startswith("cube")]
    choose(page, status="failed", split="test")
    assert text(page, "#count").startswith("0 of 14") and find(page, "#nothing")[0].is_displayed()


def test_pictures_are_enlarged_and_points_turned_by_keyboard(page):
    page.execute_script("document.querySelector('.open').focus()")
    press(page, "ENTER")
    pixels = "return document.querySelector('#viewer-points').toDataURL()"
    assert text(page, "#viewer-text") == "1 of 5: 64 points" and text(page, "#viewer-title").startswith("cone/000000")
    assert page.switch_to.active_element.get_attribute("id") == "viewer-points"
    first = page.execute_script(pixels)
    press(page, "ARROW_LEFT")
    page.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")
    turned = page.execute_script(pixels)
    assert turned != first and len(turned) > 2000
    press(page, "0")
    page.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")
    assert page.execute_script(pixels) == first
    click(page, find(page, "#viewer-labels button")[1])
    assert [one.text for one in find(page, "#viewer-labels button")] == ["colours", "by part", "leg", "<b>top</b>"]
    page.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")
    assert page.execute_script(pixels) != first
    press(page, "PAGE_DOWN")
    assert text(page, "#viewer-text") == "2 of 5: view 0" and find(page, "#viewer-picture")[0].is_displayed()
    press(page, "ARROW_RIGHT", "ARROW_DOWN")
    assert text(page, "#viewer-text") == "3 of 5: view 1" and not text(page, "#viewer-title").startswith("cone/000000")
    press(page, "ESCAPE")
    assert not page.execute_script("return document.querySelector('#viewer').open")
    assert page.execute_script("return document.activeElement === document.querySelector('.open')")


def test_points_arrive_in_the_page_as_they_are(cache, page):
    """The script's own numbers are out of reach, so the packed text is read here once more, bit by bit."""
    packed = page.execute_script("return document.querySelector('#s0').dataset.points")
    raw = base64.b64decode(packed)
    xyz, rgb = cache.array("points/xyz")[0, 0].astype(np.float32), cache.array("points/rgb")[0, 0]
    middle, half = (xyz.max(0) + xyz.min(0)) / 2, np.ptp(xyz, axis=0).max() / 2
    assert len(raw) == 6 * len(xyz)
    for i in range(len(xyz)):
        bits = format(int.from_bytes(raw[6 * i : 6 * i + 6]), "048b")
        place = np.array([int(bits[k : k + 11], 2) for k in (0, 11, 22)]) / 2047 * 2 - 1
        assert np.abs(place - (xyz[i] - middle) / half).max() < 6e-4
        assert [int(bits[k : k + 5], 2) for k in (33, 38, 43)] == [int(v) >> 3 for v in rgb[i]]


def test_every_shape_is_on_every_map_and_leads_to_its_card(page):
    maps = find(page, "svg.map")
    assert len(maps) == 2
    rows = [page.execute_script("return [...arguments[0].querySelectorAll('use')].map((u) => u.dataset.row)", one) for one in maps]
    assert sorted(map(int, rows[0])) == sorted(map(int, rows[1])) == [i for i in range(21) if i not in (3, 4)]
    page.execute_script("arguments[0].focus()", maps[0])
    seen = {text(page, ".tip")}
    for key in ("ARROW_LEFT", "ARROW_RIGHT", "ARROW_UP", "ARROW_DOWN", "ARROW_RIGHT", "ARROW_DOWN"):
        press(page, key)
        seen.add(text(page, ".tip"))
    assert len(seen) > 2 and all(": " in one for one in seen)
    page.execute_script(
        "document.querySelector('#by-status').value = 'failed'; document.querySelector('#filter').dispatchEvent(new Event('input'))"
    )
    page.execute_script("arguments[0].focus()", maps[0])
    for _ in range(20):
        if "not on this page" not in text(page, ".tip"):
            break
        press(page, "ARROW_RIGHT")
        if "not on this page" in text(page, ".tip"):
            press(page, "ARROW_DOWN")
    name = text(page, ".tip").partition(": ")[2]
    press(page, "ENTER")
    assert page.switch_to.active_element.find_element("css selector", "h3").text == name  # though the filter had hidden it
    legend = find(page, ".legend button")[0]
    click(page, legend)
    assert legend.get_attribute("aria-pressed") == "true" and len(find(page, "svg.map g.dim")) == 4


def test_the_numbers_are_those_of_the_commands(cache, page):
    def told(*arguments):
        result = CliRunner().invoke(cli.app, [arguments[0], str(cache.path), *arguments[1:], "--json"])
        assert result.exit_code == 0, result.output
        return json.loads(result.output)

    status, found, info = told("status"), told("report"), told("info")
    counts = dict(zip(("ok", "failed", "pending"), (int(one.text) for one in find(page, ".tiles b")[:3]), strict=True))
    assert counts == status["shapes"] == found["shapes"]
    rows = [
        [cell.text for cell in row.find_elements("css selector", "td")] for row in find(page, "section[aria-labelledby=accuracy] tr")[1:]
    ]
    assert len(rows) == len(found["accuracy"]) == 3  # all, train, test
    for row, one in zip(rows, found["accuracy"], strict=True):
        assert (row[2], row[4], row[6], row[7]) == (one["split"] or "all", f"{one['percent']:.1f}", "33.3", str(one["shapes"]))
        assert row[5] == "{:.1f}–{:.1f}".format(*one["interval"])
    said = text(page, "section[aria-labelledby=neighbours]")
    assert all(f"the same class in {one['same']:.1f}" in said.replace("\xa0", " ") for one in found["neighbours"])
    doubles = found["duplicates"]
    assert (doubles["groups"], doubles["shapes"], len(doubles["crossing"])) == (2, 4, 1)
    assert "4 of 19 usable shapes" in text(page, "section[aria-labelledby=duplicates]")
    assert "1 of the shapes of train and 1 of test are made from the same data" in text(page, "header .loud")
    assert info["licence"]["together"] in text(page, "section[aria-labelledby=licences]")


@pytest.mark.parametrize("night", [False, True])
@pytest.mark.parametrize("width", [1280, 400])
def test_it_fits_a_phone_and_can_be_read_in_the_dark(page, width, night):
    wide(page, width)
    dark(page, night)
    page.execute_script("document.querySelectorAll('details').forEach((d) => { d.open = true })")
    assert page.execute_script("return document.documentElement.scrollWidth") <= width
    outside = """return [...document.querySelectorAll("svg.map")].map((map) => [...map.querySelectorAll("use")].filter((mark) => {
        const [a, b] = [mark, map].map((el) => el.getBoundingClientRect());
        return a.left < b.left || a.right > b.right || a.top < b.top || a.bottom > b.bottom; }).length)"""
    assert page.execute_script(outside) == [0, 0]
    assert page.execute_script(CONTRAST) == []
    dark(page, False)


def test_a_keyboard_and_a_screen_reader_find_their_way(page):
    press(page, "TAB")
    assert page.switch_to.active_element.text == "Skip to the contents"
    assert page.execute_script("return getComputedStyle(document.activeElement).outlineStyle") != "none"
    levels = page.execute_script("return [...document.querySelectorAll('h1, h2, h3, h4')].map((h) => +h.tagName[1])")
    assert levels[0] == 1 and all(b - a <= 1 for a, b in itertools.pairwise(levels))
    nameless = """
        const named = (el) => el.textContent.trim() || el.getAttribute("aria-label") || el.labels?.length || el.querySelector("img[alt]");
        const all = [...document.querySelectorAll("button, input, select, a, svg[tabindex]")].filter((el) => el.checkVisibility());
        return all.filter((el) => !named(el)).map((el) => el.outerHTML);"""
    assert page.execute_script(nameless) == []
    # One stop for each shape: its other pictures are reached from the first one.
    assert page.execute_script("return document.querySelectorAll('.card .open:not([tabindex])').length") == 12


def test_without_a_script_the_page_still_shows_its_contents(browser, address):
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get(address)
        assert len(find(browser, ".card")) == 14 and find(browser, "svg.map use")
        assert not find(browser, "#filter")[0].is_displayed() and not any(one.is_displayed() for one in find(browser, ".scripted"))
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_texts_of_others_stay_texts_when_the_script_shows_them(browser, tmp_path):
    cache = hostile(tmp_path)
    report.write(cache, tmp_path / "page.html", 5)
    browser.get((tmp_path / "page.html").as_uri())
    assert browser.execute_script("return document.querySelectorAll('bdi script, [onerror], img:not([alt])').length") == 0
    browser.execute_script("document.querySelector('svg.map').focus()")
    assert NASTY in text(browser, ".tip")
    assert browser.execute_script("return document.querySelectorAll('.tip *').length") == 0
    assert not [entry for entry in browser.get_log("browser") if "alert" in entry["message"]]
