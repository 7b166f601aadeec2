"""The app in a browser, used as a person does: a recording dropped, a search, ten pairs by keyboard."""

import csv
import shutil

import pytest
from app_world import make_world, running
from conftest import write_tone


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def address(world):
    with running(world) as address:
        yield address


@pytest.fixture
def visit(browser, address):
    """Opens the page, and lists what it complains of and asks for."""
    pages = []

    def open_page(width=1400, **options):
        page = browser.new_page(viewport={"width": width, "height": 900}, **options)
        page.problems, page.requests = [], []
        page.on("console", lambda note: page.problems.append(note.text) if note.type == "error" else None)
        page.on("pageerror", lambda error: page.problems.append(str(error)))
        page.on("request", lambda request: page.requests.append(request.url))
        page.goto(address)
        page.wait_for_selector("#clip")
        pages.append(page)
        return page

    yield open_page
    for page in pages:
        assert page.problems == []
        assert [url for url in page.requests if not url.startswith((address, "data:", "blob:"))] == []


def upload(page, where: str, path) -> None:
    page.locator(f"{where} input[type=file]").set_input_files(str(path))


def test_a_recording_is_dropped_and_heard(visit, tmp_path):
    """Guards against bars that stay away, names that can't be changed, and a line that stands still."""
    page = visit()
    upload(page, "#clip", write_tone(tmp_path / "my clip.wav", 900, seconds=3))
    page.wait_for_selector("#answer .bars .answer")
    assert page.locator("#answer .bars .name").all_inner_texts() == sorted(
        ["low hum", "high whistle", "soft hiss"], key=page.locator("#answer .bars .name").all_inner_texts().index
    )
    page.wait_for_selector("#when .axis")
    assert page.locator("#when .strip").count() == 1 + 3 * 2
    page.get_by_label("Classes").fill("dog, rain, rain")
    page.wait_for_selector("#answer .wrong")
    assert page.locator("#answer").inner_text() == "'rain' stands twice among the class names: take one away"
    page.get_by_label("Classes").fill("dog, rain")
    page.wait_for_function("document.querySelectorAll('#answer .bars .answer').length === 2")
    page.evaluate("document.querySelector('#clip audio').play()")
    page.wait_for_function("parseFloat(document.querySelector('#when').style.getPropertyValue('--at')) > 0")
    page.locator("#when .strip").first.click(position={"x": 5, "y": 5})
    page.wait_for_function("document.querySelector('#clip audio').currentTime < 1.5")


def test_an_example_and_a_file_that_is_none(visit, tmp_path):
    page = visit(390)
    page.get_by_role("button", name="church bell").click()
    page.wait_for_selector("#answer .bars")
    page.get_by_label("Clear").first.click()
    page.wait_for_function("document.querySelector('#answer').innerText.includes('Drop a recording')")
    (tmp_path / "broken.wav").write_text("this is not audio")
    upload(page, "#clip", tmp_path / "broken.wav")
    page.wait_for_selector("#answer .wrong")
    assert "can't be read as audio" in page.locator("#answer").inner_text()


def test_a_refused_microphone_is_a_sentence(visit):
    page = visit()
    page.evaluate("() => { navigator.mediaDevices.getUserMedia({audio: true}).catch(() => {}); }")
    page.wait_for_function("!document.querySelector('#microphone').hidden")
    assert "microphone" in page.locator("#microphone").inner_text()


def test_a_search_is_played(visit, tmp_path):
    """Guards against hits that don't sound, and buttons that find nothing."""
    page = visit()
    page.get_by_role("tab", name="Search").click()
    page.get_by_label("Words").fill("whistle")
    page.keyboard.press("Enter")
    page.wait_for_selector(".hit")
    assert page.locator(".hit").count() == 6
    page.evaluate("document.querySelector('.hit audio').play()")
    page.wait_for_function("document.querySelector('.hit audio').currentTime > 0.1")
    name = page.locator(".hit .name").nth(2).inner_text().split(". ")[1]
    page.locator(".hit button").nth(2).click()
    page.wait_for_function("document.querySelector('#hits h3').innerText.includes('more like')")
    assert page.locator(".hit .name").first.inner_text() == f"1. {name}"
    page.get_by_label("Name holds").fill("3.flac")
    page.wait_for_function("document.querySelectorAll('.hit').length === 1")
    with page.expect_download() as download:
        page.get_by_role("link", name="csv").click()
    rows = list(csv.DictReader(download.value.path().open(newline="")))
    assert len(rows) == 1 and rows[0]["audio_id"].endswith("3.flac")
    page.get_by_label("Name holds").fill("")
    upload(page, "#sound", write_tone(tmp_path / "sound.wav", 1500))
    page.wait_for_function("document.querySelector('#hits h3').innerText.includes('this sound')")
    assert page.locator(".hit .name").first.inner_text().endswith("4.flac")


def test_ten_pairs_by_keyboard(visit, world):
    """Guards against keys that judge another pair than is shown, verdicts that are lost, and a review begun anew."""
    shutil.rmtree(world / "set_review", ignore_errors=True)
    page = visit()
    page.get_by_role("tab", name="Review").click()
    page.wait_for_selector("#pair .pair")
    said = {}
    for number, key in enumerate("yyn?yyyyyn"):
        caption = page.locator("#pair .caption").inner_text()
        said[number] = caption, {"y": "fits", "n": "does not", "?": "can't tell"}[key]
        page.keyboard.press(key)
        page.wait_for_function(f"document.querySelector('#done').innerText.startsWith('{number + 1} of 18')")
        page.wait_for_function(f"document.querySelector('#pair .pair').dataset.place === '{number + 1}'")
    rows = list(csv.DictReader((world / "set_review" / "verdicts.csv").open(newline="")))
    assert [(row["caption"], row["verdict"]) for row in rows[:10]] == list(said.values())
    assert not any(row["verdict"] for row in rows[10:])
    assert page.locator("#found svg").count() == 1 and "interval" in page.locator("#found").inner_text()
    assert page.locator("#found .key").all_inner_texts() == ["fit", "at least (95 % sure)", "wanted"]
    page.keyboard.press("ArrowLeft")
    page.wait_for_function("document.querySelector('#pair .pair').dataset.place === '9'")
    page.evaluate("document.querySelectorAll('audio').forEach(audio => audio.pause())")
    page.keyboard.press(" ")
    page.wait_for_function("!document.querySelector('#pair audio').paused")
    page.reload()
    page.get_by_role("tab", name="Review").click()
    page.wait_for_function("document.querySelector('#pair .pair')?.dataset.place === '10'")
    assert page.locator("#done").inner_text().startswith("10 of 18")


@pytest.mark.slow
def test_two_windows(visit, world):
    """Guards against a window that writes what it saw when it was opened."""
    shutil.rmtree(world / "set_review", ignore_errors=True)
    one, other = visit(), visit(390)
    for page in (one, other):
        page.get_by_role("tab", name="Review").click()
        page.wait_for_selector("#pair .pair")
    other.keyboard.press("ArrowRight")
    other.wait_for_function("document.querySelector('#pair .pair').dataset.place === '1'")
    other.keyboard.press("n")
    other.wait_for_function("document.querySelector('#done').innerText.startsWith('1 of')")
    one.keyboard.press("y")
    one.wait_for_function("document.querySelector('#done').innerText.startsWith('2 of')")
    assert one.locator("#pair .pair").get_attribute("data-place") == "2"  # the other window judged 1
    rows = list(csv.DictReader((world / "set_review" / "verdicts.csv").open(newline="")))
    assert [row["verdict"] for row in rows[:3]] == ["fits", "does not", ""]


def test_long_names_on_a_phone(visit):
    """Guards against names that push the bars off the screen, and verdicts that a thumb does not reach."""
    page = visit(390)
    page.set_viewport_size({"width": 390, "height": 667})
    long = "Donaudampfschifffahrtsgesellschaftskapitän", "a machine tool that somebody uses in a hall nearby"
    page.get_by_label("Classes").fill(", ".join(long))
    page.get_by_role("button", name="siren").click()
    page.wait_for_selector("#when .axis")
    measure = "(parts, side) => parts.map(part => part.getBoundingClientRect()[side])"
    heights = page.locator("#answer .name, #when .answer:not(.axis) .name").evaluate_all(measure, "height")
    assert len(heights) >= 2 + 3 and max(heights) <= 44  # two lines
    assert min(page.locator("#answer .bar").evaluate_all(measure, "width")) > 200
    page.get_by_role("tab", name="Review").click()
    page.wait_for_selector("#pair .pair")
    page.evaluate("text => { document.querySelector('#pair .caption').textContent = text; }", " and ".join(long))
    for button in page.locator("#pair .verdicts button").all():
        box = button.bounding_box()
        assert box["y"] + box["height"] <= 667 and box["x"] + box["width"] <= 390 and box["height"] >= 44
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize("width", [390, 1400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_tab_fits_the_screen(visit, width, scheme):
    """Guards against a page that scrolls sideways, text too small to read, a tab out of reach, or gradio's footer."""
    page = visit(width, color_scheme=scheme)
    page.get_by_role("button", name="siren").click()
    page.wait_for_selector("#when .axis")
    for name in ("Classify", "Search", "Review", "About"):
        page.get_by_role("tab", name=name).click()
        page.wait_for_timeout(200)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
    assert page.evaluate("document.querySelector('footer')?.innerText || ''").strip() == ""
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == {"light": "rgb(246, 246, 243)", "dark": "rgb(18, 20, 23)"}[scheme]
    sizes = page.evaluate(
        "[...document.querySelectorAll('.gradio-container *')].filter(e => e.offsetParent && [...e.childNodes]"
        ".some(n => n.nodeType === 3 && n.data.trim())).map(e => parseFloat(getComputedStyle(e).fontSize))"
    )
    assert min(sizes) >= 11.5
