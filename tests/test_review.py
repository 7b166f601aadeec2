"""A review, from set to set: the page with the keyboard in a browser, its file, Label Studio's, the set made again."""

import csv
import json
import re
import shutil
from pathlib import Path

import pytest
from conftest import check_failure, run_command, tiny_model, write_captioned, write_pool

from modeling_clap_student.commands import curate
from modeling_clap_student.curation.improvement_set import load_improvement_set
from modeling_clap_student.curation.review import render_review
from modeling_clap_student.curation.verdicts import (
    CANT_TELL,
    COLUMNS,
    DOES_NOT,
    FITS,
    Cut,
    Judged,
    Verdicts,
    read_verdicts,
)


FLAGS = ["--strategy", "ads", "--teacher", "tiny", "--captions", "captioned", "--audio", "pool"]
FLAGS += ["--labels", "labels.txt"]
FLAGS += ["--max_skipped_fraction", 0.5, "--num_captions", 3, "--embedding_store", "embeddings"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(a folder with a set of all 18 pairs and its review, a copy of it)"""
    place = tmp_path_factory.mktemp("review")
    for part in tiny_model():
        part.save_pretrained(place / "tiny")
    write_captioned(place / "captioned")
    write_pool(place / "pool")
    (place / "labels.txt").write_text("low hum\nhigh whistle\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        assert run_command(curate, *FLAGS, "--num_pairs", 18, "--output_dir", "set") == 0
        assert run_command(curate, "review", "set") == 0
    return place, shutil.copytree(place, tmp_path_factory.mktemp("copies") / "review")


@pytest.fixture
def command(made, monkeypatch):
    """`run_command` in that folder, which is as it was."""
    place, copy = made
    shutil.rmtree(place)
    monkeypatch.chdir(shutil.copytree(copy, place))
    return run_command


@pytest.fixture
def reviewed(command):
    """The review's folder, beside its set."""
    return Path("set_review")


@pytest.fixture
def unreviewed(command):
    """`run_command` where there is no set yet."""
    for folder in ("set", "set_review"):
        shutil.rmtree(folder)
    return command


def judge_all(path: Path, words) -> Path:
    """Fills the column `verdict` of a csv file: `words` of each row."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    target = Path("verdicts.csv")
    with target.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(row | {"verdict": words(row)} for row in rows)
    return target


def pairs_of(folder: str) -> dict[tuple, float]:
    pairs = load_improvement_set(folder)[0]
    return {(row["audio_id"], row["caption"]): row["similarity"] for row in pairs.remove_columns("audio")}


@pytest.fixture
def page(reviewed, browser):
    """The page in a browser; collects the errors that it reports."""
    page = browser.new_page(viewport={"width": 390, "height": 844})
    page.problems, page.requests = [], []
    page.on("console", lambda message: page.problems.append(message.text))
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.on("request", lambda request: page.requests.append(request.url))
    page.on("dialog", lambda dialog: dialog.accept())
    page.goto((reviewed / "review.html").resolve().as_uri())
    return page


def test_judged_with_the_keyboard_saved_imported_and_made_again(page, reviewed, command, capsys):
    """Guards against a page that loses or mixes up verdicts, and a set that is not cut where they say."""
    asked = list(csv.DictReader((reviewed / "verdicts.csv").open(newline="")))
    bad = asked[2]["audio_id"], asked[2]["caption"]
    for number, row in enumerate(asked):
        assert page.locator("#caption").inner_text() == row["caption"]
        assert page.locator("#place").inner_text() == f"Pair {number + 1} of {len(asked)}"
        page.keyboard.press("d" if number == 2 else "f")
        if number == 3:  # what was said stays in the browser
            page.reload()
            assert page.locator("#tally").inner_text().startswith(f"4 of {len(asked)} judged: 3 fit, 1 does not")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("c")
    page.keyboard.press("f")
    with page.expect_download() as download:
        page.keyboard.press("s")
    assert download.value.suggested_filename == "verdicts.csv"
    download.value.save_as("verdicts.csv")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.problems == []
    assert not [url for url in page.requests if not url.startswith(("data:", "file:", "blob:"))]

    verdicts = read_verdicts(["verdicts.csv"])
    assert verdicts.counts == {FITS: len(asked) - 1, DOES_NOT: 1, CANT_TELL: 0}
    judgement = ["--pair_threshold", "verdicts.csv", "--precision", 0.8]
    assert command(curate, *FLAGS, *judgement, "--drop_rejected", "true", "--output_dir", "again") == 0
    told = capsys.readouterr().out
    assert "at least 80.0% of the pairs fit, with 95.0% confidence" in told
    before, after = pairs_of("set"), pairs_of("again")
    assert after == pytest.approx({pair: value for pair, value in before.items() if pair != bad}, abs=1e-6)
    made = json.loads(Path("again/provenance.json").read_text())
    assert made["wanted_precision"] == 0.8 and made["dropped_as_rejected"] == 1 and made["confidence"] == 0.95
    shares = made["label_precision"]
    assert sum(share["verdicts"] for share in shares.values()) == len(asked)
    assert all(share["low"] <= share["precision"] <= share["high"] for share in shares.values())
    report = Path("again/report.html").read_text()
    assert "Fit, as judged" in report and "Fit, as judged" not in Path("set/report.html").read_text()
    assert '"label_precision"' in Path("again/README.md").read_text()
    assert command(curate, "--remake", "again", "--output_dir", "third", "--max_skipped_fraction", 0.5) == 0
    assert pairs_of("third") == pytest.approx(after, abs=1e-6)


def test_verdicts_of_the_report(reviewed, browser, command, capsys):
    """Guards against a report whose file no curation reads, or that a review of the same set does not go on with."""
    page = browser.new_page()
    page.goto(Path("set/report.html").resolve().as_uri())
    for number in range(3):
        page.locator("#random tr[data-label]").nth(number).get_by_role("button", name="yes", exact=True).click()
    page.on("dialog", lambda dialog: dialog.accept())
    page.reload()
    assert page.locator("#random [value=fits][aria-pressed=true]").count() == 3
    with page.expect_download() as download:
        page.click("#save")
    download.value.save_as("verdicts.csv")
    judgement = ["--pair_threshold", "verdicts.csv", "--precision", 0.3]
    assert command(curate, *FLAGS, *judgement, "--output_dir", "again") == 0
    assert pairs_of("again").keys() == pairs_of("set").keys()
    assert "3 of 3 judged pairs fit" in capsys.readouterr().out
    page.goto((reviewed / "review.html").resolve().as_uri())  # the browser remembers them there
    assert page.locator("#tally").inner_text().startswith("3 of 18 judged: 3 fit")
    assert command(curate, "review", "set", "--verdicts", "verdicts.csv", "--output_dir", "second") == 0
    assert "15 of 18 pairs are to be judged" in capsys.readouterr().out


def test_buttons_and_places(page):
    """Guards against a mouse or a finger that can't do what keys do, and a verdict that can't be taken back."""
    page.get_by_role("button", name="Can't tell").click()
    assert page.locator("#place").inner_text().startswith("Pair 2")
    page.get_by_label("Pair 1", exact=True).click()
    button = page.get_by_role("button", name="Can't tell")
    assert button.get_attribute("aria-pressed") == "true"
    button.click()
    assert page.locator("#tally").inner_text().startswith("0 of ")
    page.get_by_role("button", name="Next").click()
    page.keyboard.press(" ")
    assert page.evaluate("document.querySelector('audio').paused")  # the next pair had begun to sound
    page.keyboard.press(" ")
    page.wait_for_function("() => document.querySelector('audio').currentTime > 0")
    assert page.locator("#tally").inner_text().startswith("0 of ")
    assert page.problems == []


def test_label_studio_and_back(reviewed, command, capsys):
    """Guards against tasks that lose their place, and verdicts that a second review forgets."""
    tasks = json.loads((reviewed / "label_studio.json").read_text())
    for task in tasks[:5]:
        choice = {"from_name": "verdict", "to_name": "audio", "type": "choices", "value": {"choices": [FITS]}}
        task["annotations"] = [{"id": 3, "was_cancelled": False, "result": [choice]}]
    Path("export.json").write_text(json.dumps(tasks[:5]))  # an export of what was annotated alone
    assert all(Path(task["data"]["audio"]).is_file() for task in tasks)
    assert f'value="{CANT_TELL}"' in (reviewed / "label_studio.xml").read_text()
    assert command(curate, "review", "set", "--verdicts", "export.json", "--output_dir", "second") == 0
    assert f"{len(tasks) - 5} of {len(tasks)} pairs are to be judged" in capsys.readouterr().out
    assert read_verdicts(["second/verdicts.csv"]).counts[FITS] == 5


def test_a_review_of_a_part(reviewed, command, capsys):
    """Guards against a promise from the verdicts on a few, chosen by whoever exported them."""
    path = judge_all(reviewed / "verdicts.csv", lambda row: FITS)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:8]))
    check_failure(command(curate, *FLAGS, "--pair_threshold", path, "--output_dir", "x"), capsys, "verdicts.csv lacks")


def test_what_can_not_be_promised_is_told(reviewed, command, capsys):
    path = judge_all(reviewed / "verdicts.csv", lambda row: DOES_NOT)
    code = command(curate, *FLAGS, "--pair_threshold", path, "--output_dir", "x")
    check_failure(code, capsys, "no threshold holds --precision 0.5", "0 of", "would hardly help")
    assert command(curate, "review", "set", "--verdicts", path, "--output_dir", "second") == 0
    assert "left out, no threshold holds 80.0%" in capsys.readouterr().out
    assert not Path("x").exists()


def test_another_pool_is_another_set(reviewed, command, capsys):
    """Guards against a promise about pairs that nobody drew from."""
    path = judge_all(reviewed / "verdicts.csv", lambda row: FITS)
    for number in (0, 1, 2):
        Path("pool", f"{number}.flac").unlink()
    code = command(curate, *FLAGS, "--pair_threshold", path, "--output_dir", "x")
    check_failure(code, capsys, "verdicts.csv holds verdicts of another set", "are not found")


def test_pairs_without_labels(unreviewed):
    """Guards against a review that only ads can have."""
    du = ["--strategy", "du", *FLAGS[2:]]
    du = du[: du.index("--labels")] + du[du.index("--labels") + 2 :]
    du = du[: du.index("--num_captions")] + du[du.index("--num_captions") + 2 :]
    assert unreviewed(curate, *du, "--num_pairs", 20, "--output_dir", "set") == 0
    assert unreviewed(curate, "review", "set") == 0
    path = judge_all(Path("set_review/verdicts.csv"), lambda row: FITS)
    assert unreviewed(curate, *du, "--pair_threshold", path, "--output_dir", "again") == 0
    assert pairs_of("again").keys() == pairs_of("set").keys()
    assert json.loads(Path("again/provenance.json").read_text())["label_precision"] == {}


def test_hostile_captions_are_only_text():
    """Guards against a caption from the web that ends the data and runs as code."""
    hostile = '</script><script>document.title = "owned"</script> & "quoted"'
    pair = Judged("clip", hostile, "", 0.5, 0.1, 1.0)
    page = render_review(Verdicts("ab", (Cut(0.4, 1, 1),), (pair,), 1), [{"path": "/gone.wav", "bytes": None}])
    assert hostile not in page and page.count("<script") == 2 and page.count("</script>") == 2
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)[1]
    assert json.loads(data)["rows"][0]["caption"] == hostile
    assert "no such file" in json.loads(data)["clips"][0]["problem"]
    assert not re.search(r"https?:", page)


def test_a_balanced_set_is_made_again_and_cut(unreviewed, monkeypatch):
    """Guards against a review that works only with a plain threshold: here each label's pairs are chosen
    separately."""
    monkeypatch.setattr("modeling_clap_student.curation.sampling.LEAST_PAIRS", 2)
    chosen = [*FLAGS, "--num_pairs", 8, "--balance_labels", "true"]
    assert unreviewed(curate, *chosen, "--output_dir", "set") == 0
    assert unreviewed(curate, "review", "set") == 0
    pairs = pairs_of("set")
    similarities = sorted(pairs.values())
    path = judge_all(
        Path("set_review/verdicts.csv"),
        lambda row: FITS if float(row["similarity"]) >= similarities[len(pairs) // 2] else DOES_NOT,
    )
    judgement = ["--pair_threshold", path, "--precision", 0.95]
    assert unreviewed(curate, *chosen, *judgement, "--output_dir", "again") == 0
    kept = pairs_of("again")
    assert kept.keys() < pairs.keys() and min(kept.values()) >= similarities[len(pairs) // 2] - 1e-6


def test_another_teacher_is_another_set(reviewed, command, capsys):
    path = judge_all(reviewed / "verdicts.csv", lambda row: FITS)
    path.write_text(path.read_text().replace(read_verdicts([path]).set_id, "0123456789abcdef"))
    code = command(curate, *FLAGS, "--pair_threshold", path, "--output_dir", "x")
    check_failure(code, capsys, "verdicts.csv holds verdicts of another set", "teacher")
    check_failure(command(curate, "review", "set", "--verdicts", path, "--output_dir", "y"), capsys, "another set")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (["nowhere"], ["no such Improvement-Set"]),
        (["stream=set"], ["without stream="]),
        (["set", "--num_verdicts", 0], ["--num_verdicts must lie in"]),
        (["set", "--precision", 2], ["--precision must lie in"]),
        (["set", "--confidence", 1], ["--confidence must lie in"]),
        (["set", "--verdicts", "set_review/verdicts.csv"], ["holds no verdict"]),
        (["set", "--output_dir", "set"], ["set"]),
    ],
)
def test_wrong_reviews(reviewed, command, capsys, wrong, words):
    """Guards against a traceback, and against a set that a review takes the place of."""
    check_failure(command(curate, "review", *wrong), capsys, *words)
    assert Path("set/provenance.json").exists()
