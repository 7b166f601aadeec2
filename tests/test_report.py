"""The report of a curated set: its numbers against brute force, hostile input, its size, and the page in a browser."""

import base64
import io
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import soundfile
from conftest import numbers, write_tone
from datasets import Dataset, DatasetInfo
from PIL import Image

from modeling_clap_student.commands import curate
from modeling_clap_student.curation.improvement_set import FEATURES, is_improvement_set
from modeling_clap_student.curation.report.heat_maps import MAX_MAP_BYTES, draw_maps
from modeling_clap_student.curation.report.page import (
    MAX_PAGE_BYTES,
    NUM_HUBS,
    NUM_NEAREST,
    NUM_RANDOM,
    ReportData,
    charts,
    count_cells,
    hub_captions,
    hub_clips,
    label_rows,
    render_report,
    write_report,
)
from modeling_clap_student.curation.report.pictures import MAX_CLIP_BYTES, RATE, read_excerpt
from modeling_clap_student.curation.report.shown_pairs import asked_pairs, nearest_rows, random_rows
from modeling_clap_student.curation.sampling import draw_pairs
from modeling_clap_student.curation.verdicts import CANT_TELL, DOES_NOT, FITS, identify, read_verdicts
from modeling_clap_student.curation.window_maps import WindowMap


HOSTILE = '<script>document.title = "owned"</script> & "a dog\'s" bark</td>'
LABELS = ["hum", "hiss", "never heard"]
THRESHOLD = 0.5


def table_of(rows: list[dict]) -> Dataset:
    return Dataset(pa.Table.from_pylist(rows, FEATURES.arrow_schema), info=DatasetInfo(features=FEATURES))


@pytest.fixture
def pairs(tmp_path) -> Dataset:
    """70 pairs of 9 tones, a clip that is no audio and one that is gone, with 7 captions of two labels."""
    rng = np.random.default_rng(0)
    clips = [write_tone(tmp_path / "clips" / f"{n}.wav", 300 * (n + 1), seconds=0.5 + n / 4) for n in range(9)]
    (tmp_path / "clips" / "bad.wav").write_text("no audio")
    clips += [tmp_path / "clips" / "bad.wav", tmp_path / "clips" / "gone.wav"]
    captions = [HOSTILE, *(f"caption number {n}" for n in range(6))]
    rows = []
    for number in rng.permutation(len(clips) * len(captions))[:70]:
        clip, caption = int(number) % len(clips), int(number) // len(clips)
        rows.append(
            {
                "audio": {"bytes": None, "path": str(clips[clip])},
                "caption": captions[caption],
                "similarity": THRESHOLD + 0.4 * rng.random(),
                "audio_id": f"pool/{clips[clip].name}",
                "caption_id": f"key-{caption}",
                "label": LABELS[caption % 2],
                "label_similarity": 0.7 + caption / 100,
                "source": "pool",
            }
        )
    return table_of(rows)


@pytest.fixture
def data(pairs) -> ReportData:
    """The same, as curate.py would tell it."""
    rng = np.random.default_rng(1)
    counts, edges = np.histogram(rng.normal(0, 0.3, 20_000).clip(-1, 1), 4000, (-1, 1))
    selected = {
        "hum": np.float32([0.7, 0.72, 0.74, 0.76]),
        "hiss": np.float32([0.71, 0.73, 0.75]),
        LABELS[2]: np.float32([]),
    }
    made = {
        "strategy": "ads",
        "teacher": "me/<b>teacher</b>",
        "captions": ["soundscapes"],
        "audio": ["/data/pool"],
        "exclude": None,
        "labels": LABELS,
        "seed": 3,
        "version": "0",
        "caption_threshold": 0.7,
        "num_captions": 7,
        "pair_threshold": THRESHOLD,
        "num_pairs": len(pairs),
        "num_replay": 1234,
    }
    return ReportData(
        pairs,
        made,
        selected,
        histogram=(edges, counts),
        num_pool_clips=5000,
        num_captions=40,
        pair_precision=0.625,
    )


def asked(data: ReportData):
    return asked_pairs(columns(data.pairs), data.provenance, NUM_RANDOM)


def columns(pairs: Dataset):
    return pairs.remove_columns("audio").with_format("arrow")[:]


class Page(HTMLParser):
    """The tags of a page, with their attributes, and the words of every table's cells."""

    def __init__(self, page: str):
        super().__init__()
        self.tags, self.cells = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_data(self, text):
        if self.cells and self.tags[-1][0] not in ("script", "style"):
            self.cells[-1] += " ".join(text.split())


def test_counts_are_those_of_brute_force(data):
    """Guards against Table 1 with pairs for clips, or selected captions for matched ones."""
    rows = data.pairs.to_list()
    clips, captions = {row["audio_id"] for row in rows}, {row["caption"] for row in rows}
    cells = {cell["name"]: (cell["value"], cell["note"]) for cell in count_cells(data, columns(data.pairs))}
    assert cells["Strategy"][0] == "ADS"
    assert cells["Captions selected"] == ("7", f"of 40; {len(captions)} of them in pairs")
    assert cells["Clips"] == (str(len(clips)), "of 5,000 in the pool")
    assert cells["Pairs"] == ("70", "of 35,000 compared")
    assert cells["Pairs per clip"][0] == f"{70 / len(clips):.2f}"
    assert cells["Replay pairs"][0] == "1,234" and cells["True pairs"][0] == "62.5%"
    page = Page(render_report(data))
    assert all(any(cell.startswith(value + note) for cell in page.cells) for value, note in cells.values())


def test_labels_are_those_of_brute_force(data):
    """Guards against labels that got nothing and vanish, and ranges of the pairs instead of the selection."""
    found = {row["label"]: row for row in label_rows(columns(data.pairs), data.selected, LABELS)}
    assert set(found) == set(LABELS)
    for label in LABELS:
        rows = [row for row in data.pairs if row["label"] == label]
        assert found[label]["pairs"] == len(rows) and found[label]["clips"] == len({row["audio_id"] for row in rows})
        assert found[label]["matched"] == len({row["caption_id"] for row in rows})
        assert found[label]["captions"] == len(data.selected[label])
    assert found["hum"]["lowest"] == pytest.approx(0.7) and found["hum"]["highest"] == pytest.approx(0.76)
    assert np.isnan(found["never heard"]["lowest"])
    of_pairs = {row["label"]: row for row in label_rows(columns(data.pairs), None, LABELS)}
    near = [row["label_similarity"] for row in data.pairs if row["label"] == "hiss"]
    assert of_pairs["hiss"]["lowest"] == pytest.approx(min(near)) and of_pairs["never heard"]["captions"] == 0


def test_charts_tell_what_they_are_made_of(data):
    """Guards against a sample shown as the whole, and a threshold on another scale marked among cosines."""
    similarities = np.float32(data.pairs["similarity"][:])
    whole, sampled, bare = (
        charts(replace(data, **change), similarities) for change in ({}, {"sampled_clips": 1000}, {"histogram": None})
    )
    assert whole[0]["note"].startswith("20,000 cosines") and "70 pairs at 0.500" in whole[1]["svg"]
    assert sampled[0]["note"].startswith("100,000 cosines") and "1,000 of 5,000 clips" in sampled[0]["note"]
    assert bare[0]["title"] == "Similarities of the kept pairs" and bare[0]["note"].startswith("70 cosines")
    assert all("var(--bar)" in chart["svg"] for chart in whole) and "var(--bar)" not in bare[0]["svg"] + bare[1]["svg"]
    assert all("var(--accent)" in chart["svg"] for chart in [*whole, *bare])
    assert not any("mathdefault" in chart["svg"] for chart in whole), "numbers on an axis in TeX's words"
    corrected = replace(data, provenance=data.provenance | {"csls_neighbours": 10})
    assert not any("0.500" in chart["svg"] for chart in charts(corrected, similarities))
    assert "30 least similar pairs" in render_report(corrected)


def test_hubs_are_those_of_brute_force(data):
    """Guards against hubs counted per label, or shown with another clip's sound."""
    rows = data.pairs.to_list()
    clips, captions = Counter(row["audio_id"] for row in rows), Counter(row["caption"] for row in rows)
    found = hub_clips(columns(data.pairs), 5)
    assert [hub["count"] for hub in found] == [count for _, count in clips.most_common(5)]
    for hub in found:
        own = [row for row in rows if row["audio_id"] == hub["audio_id"]]
        assert hub["count"] == len(own) and rows[hub["row"]]["audio_id"] == hub["audio_id"]
        assert hub["mean"] == pytest.approx(np.mean([row["similarity"] for row in own]))
        assert hub["labels"] == len({row["label"] for row in own})
    assert {hub["caption"]: hub["count"] for hub in hub_captions(columns(data.pairs), 9)} == captions


def test_the_nearest_are_nearest_and_the_random_are_random():
    """Guards against the best pairs shown for typical ones, ties that are cut at random, and null taken for near."""
    rng = np.random.default_rng(5)
    values = np.round(rng.random(1000), 2).astype(np.float32)
    values[7] = np.nan
    distance = np.nan_to_num(np.abs(values - np.float32(0.4)), nan=9)
    assert nearest_rows(values, 0.4, 30) == sorted(range(1000), key=lambda row: (distance[row], row))[:30]
    assert nearest_rows(values, None, 3) == sorted(range(1000), key=lambda r: (9 if r == 7 else values[r], r))[:3]
    assert nearest_rows(values[:4], 0.4, 30) != [] and 7 not in nearest_rows(values, 0.4, 999)
    drawn = random_rows(1000, 30, seed=1)
    assert len(set(drawn)) == 30 and drawn == random_rows(1000, 30, seed=1) != random_rows(1000, 30, seed=2)
    assert sorted(random_rows(5, 30, seed=1)) == list(range(5))


def test_what_is_hostile_is_only_text_and_nothing_is_fetched(data):
    """Guards against a caption from the web that runs as code, and against a page that needs a network."""
    text = render_report(data)
    page = Page(text)
    assert "<script>document" not in text and "<b>teacher" not in text
    assert sum(tag == "script" for tag, _ in page.tags) == 2 and not any(tag == "b" and a for tag, a in page.tags)
    assert any(HOSTILE in cell for cell in page.cells)
    for tag, attributes in page.tags:
        for name in ("src", "href", "xlink:href", "srcset", "data", "action"):
            assert re.match(r"data:|#", attributes.get(name) or "#"), (tag, name)
    assert not re.search(r"https?:|@import|url\((?!#)", text)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_a_page_says_what_could_not_be_read(data):
    """Guards against one bad clip among thousands that costs the report."""
    text = render_report(data)
    assert text.count("This clip can't be read: not decodable") >= 1
    assert text.count("This clip can't be read: no such file") >= 1
    assert text.count("<audio") == text.count('alt="Log-mel')
    assert text.count("<tr data-label=") == len(asked(data).rows) + NUM_NEAREST
    assert render_report(data) == text


def test_the_size_is_bounded(tmp_path, data):
    """Guards against a page of hundreds of megabytes: noise of ten minutes, endless captions, a thousand labels."""
    noise = np.random.default_rng(0).normal(0, 0.3, 15 * RATE)
    soundfile.write(tmp_path / "noise.wav", noise.clip(-1, 1), RATE)
    excerpt = read_excerpt({"path": str(tmp_path / "noise.wav"), "bytes": None})
    assert excerpt.seconds == 10 and excerpt.clip_seconds == pytest.approx(15)
    assert len(excerpt.audio) + len(excerpt.spectrogram) <= MAX_CLIP_BYTES
    rows = [
        {**data.pairs[0], "audio": {"bytes": None, "path": str(tmp_path / "noise.wav")}, "caption": '<"&' * 9999}
        | {"audio_id": f"{n}<" * 999, "caption_id": str(n), "label": f"{n}<" * 999}
        for n in range(100)
    ]
    made = data.provenance | {"labels": [f"label {n}" for n in range(1000)], "audio": ["/data/<" * 999] * 99}
    write_report(tmp_path / "report.html", ReportData(table_of(rows), made, data.selected))
    size = (tmp_path / "report.html").stat().st_size
    assert size <= MAX_PAGE_BYTES < 8_000_000
    assert size > 0.8 * (NUM_RANDOM + NUM_NEAREST + NUM_HUBS) * len(excerpt.audio)


@pytest.mark.parametrize("frames", [1, 300, RATE])
def test_silent_and_very_short_clips_are_drawn(tmp_path, frames):
    """Guards against logarithms of nothing and frames without samples."""
    soundfile.write(tmp_path / "a.wav", np.zeros(frames), RATE)
    excerpt = read_excerpt({"path": str(tmp_path / "a.wav"), "bytes": None})
    assert excerpt.seconds == pytest.approx(frames / RATE) and excerpt.audio.startswith("data:audio/mpeg;base64,")


@pytest.mark.parametrize("strategy", ["du", "ds"])
def test_other_strategies_and_little_knowledge(data, strategy):
    """Guards against a report that only a full run of ads can have: null labels, no threshold, no histogram."""
    rows = [{**row, "label": None, "label_similarity": None} if strategy == "du" else row for row in data.pairs]
    bare = ReportData(table_of(rows[:4]), {"strategy": strategy})
    text = render_report(bare)
    assert "Similarities of the kept pairs" in text and "Similarities of all clips" not in text
    assert ("label-table" in re.sub("<style>.*</style>", "", text, flags=re.S)) is (strategy == "ds")
    assert text.count("<tr data-label=") == 8 and "not known" in text


def test_curation_leaves_a_report(command, tiny_folder, captioned_folder, pool_folder, labelled_folder, capsys):
    """Guards against a set without its report, one that can't be made anew because of it, and a drawing that fails
    and takes the set with it."""
    files = ["--captions", captioned_folder, "--audio", pool_folder, "--labels", labelled_folder]
    for strategy in ("du", "ds", "ads"):
        flags = ["--strategy", strategy, "--teacher", tiny_folder, *files, *numbers(strategy), "--output_dir", "set"]
        assert command(curate, *flags) == 0 and is_improvement_set(Path("set"))
        page = Page(Path("set/report.html").read_text())
        assert any(cell.startswith(strategy.upper()) for cell in page.cells)
        assert sum(tag == "audio" for tag, _ in page.tags) > 8
    assert "report.html" in capsys.readouterr().out


def test_a_failure_to_draw_keeps_the_set(command, tiny_folder, captioned_folder, pool_folder, monkeypatch, capsys):
    """Guards against hours of embedding lost to a font."""

    def fail(*_):
        raise RuntimeError("no font")

    monkeypatch.setattr("modeling_clap_student.curation.report.page.charts", fail)
    flags = ["--strategy", "du", "--teacher", tiny_folder, "--captions", captioned_folder, "--audio", pool_folder]
    assert command(curate, *flags, "--num_pairs", 8, "--output_dir", "set") == 0
    assert is_improvement_set(Path("set")) and not Path("set/report.html").exists()
    assert "no report.html: RuntimeError: no font" in capsys.readouterr().out


@pytest.fixture
def opened(browser, data, tmp_path):
    """(the report in a browser, what it complained of, what it asked for)."""
    write_report(tmp_path / "report.html", data)
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    problems, requests = [], []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto((tmp_path / "report.html").as_uri())
    return page, problems, requests


def shown(page, table: str) -> int:
    return page.locator(f"#{table} tr[data-label]:visible").count()


def test_the_page_opens_without_complaint(opened, tmp_path):
    """Guards against script errors, captions that run, requests to anywhere, and content wider than a laptop."""
    page, problems, requests = opened
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.screenshot(path=tmp_path / f"{scheme}.png", full_page=True)
        assert (tmp_path / f"{scheme}.png").stat().st_size > 50_000
    assert problems == [] and page.title() == "Improvement-Set (ads)"
    assert [url for url in requests if not url.startswith("data:")] == [(tmp_path / "report.html").as_uri()]
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    widths = page.locator("img").evaluate_all("all => all.map(image => image.naturalWidth)")
    assert len(widths) > 40 and set(widths) == {240}


def test_players_play(opened):
    """Guards against a format that browsers refuse, and two clips that sound at once."""
    page, problems, _ = opened
    page.wait_for_function("() => [...document.querySelectorAll('audio')].every(audio => audio.duration > 0.4)")
    assert page.locator("audio").evaluate_all("all => all.every(audio => !audio.error)")
    page.evaluate("document.querySelectorAll('audio').forEach(audio => audio.muted = true)")
    longest = page.evaluate_handle(
        "[...document.querySelectorAll('audio')].reduce((a, b) => a.duration >= b.duration ? a : b)"
    )
    longest.evaluate("audio => audio.play()")
    page.wait_for_function("audio => audio.currentTime > 0.2", arg=longest)
    page.locator("#nearest .picture").first.click()
    page.wait_for_function("() => document.querySelector('#nearest audio').currentTime > 0")
    assert page.locator("audio").evaluate_all("all => all.filter(audio => !audio.paused).length") <= 1
    assert problems == []


def test_filters_filter(opened, data):
    """Guards against controls that do nothing, or that reach one of the lists alone."""
    page, problems, _ = opened
    size = len(asked(data).rows)
    assert (shown(page, "random"), shown(page, "nearest")) == (size, NUM_NEAREST)
    nearest = sorted(data.pairs.to_list(), key=lambda row: abs(row["similarity"] - THRESHOLD))[:NUM_NEAREST]
    page.select_option("#by-label", "hiss")
    hiss = sum(row["label"] == "hiss" for row in nearest)
    assert shown(page, "nearest") == hiss and 0 < shown(page, "random") < size
    assert page.locator("#shown").inner_text().startswith(f"{hiss + shown(page, 'random')} of {size + 30}")
    page.fill("#by-text", "NUMBER 4")
    texts = [f"{row['caption']} {row['audio_id']}" for row in nearest if row["label"] == "hiss"]
    assert shown(page, "nearest") == sum("number" in text and "4" in text for text in texts) > 0
    page.fill("#by-text", "no such words")
    assert shown(page, "random") == shown(page, "nearest") == 0 and page.locator(".none:visible").count() == 2
    page.click("text=Show all")
    page.wait_for_function("() => !document.querySelector('#random tr[hidden][data-label]')")
    assert (shown(page, "random"), shown(page, "nearest")) == (size, NUM_NEAREST)
    assert problems == []


def test_verdicts_add_up(opened):
    """Guards against an estimate that counts a pair twice. The interval is Wilson's for 2 of 3."""
    page, problems, _ = opened
    for row, verdict in ((0, "yes"), (1, "yes"), (2, "yes"), (2, "no"), (3, "no"), (3, "no")):
        page.locator("#random tr[data-label]").nth(row).get_by_role("button", name=verdict, exact=True).click()
    page.fill("#by-text", "no such words")
    page.click("text=Show all")
    page.wait_for_function("() => !document.querySelector('#random tr[hidden][data-label]')")
    assert page.locator("#tally").inner_text().startswith("2 of 3 judged pairs fit: of the whole set 21 % to 94 %")
    assert problems == []


def tally(page) -> str:
    return page.locator("#tally").inner_text()


def weighted(told: list[tuple[float, bool]]) -> str:
    """Wilson's interval of weighted answers, at Kish's effective number."""
    weights, fits = (np.array(column, float) for column in zip(*told, strict=True))
    share, n, z = weights @ fits / weights.sum(), weights.sum() ** 2 / (weights**2).sum(), 1.96
    half = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    low, high = ((share + z**2 / (2 * n) + side * half) / (1 + z**2 / n) for side in (-1, 1))
    return f"{fits.sum():.0f} of {len(fits)} judged pairs fit: of the whole set {low:.0%} to {high:.0%}".replace(
        "%", " %"
    )


def test_the_page_collects_verdicts_with_their_weights(opened, data, tmp_path):
    """Guards against verdicts that are lost, mixed up or weighted differently from a review of the same set."""
    page, problems, requests = opened
    draw = draw_pairs(columns(data.pairs), NUM_RANDOM, identify(data.provenance))
    lots, chances = np.array([pair.lot for pair in draw.pairs]), 1 / np.array([pair.weight for pair in draw.pairs])
    assert len(set(chances)) > 2 and page.locator("#random .words").all_inner_texts() == [
        p.caption for p in draw.pairs
    ]
    page.locator("#by-text").press("y")  # a word, no verdict
    page.fill("#by-text", "")
    page.locator("#listen").click()
    page.keyboard.press("ArrowRight")
    words = {"y": FITS, "d": DOES_NOT, "?": CANT_TELL}
    keys = [list(words)[n % 3] for n in range(len(draw.rows))]
    for number, key in enumerate(keys):
        assert page.locator("#random tr[aria-current=true] .words").inner_text() == draw.pairs[number].caption
        page.keyboard.press(key)
        if number in (3, len(keys) - 2):
            # Of the draw, the pairs before a lot are those that a draw up to there would hold.
            chance = np.minimum(chances, lots[number + 1])
            told = [(1 / chance[n], keys[n] == "y") for n in range(number + 1) if keys[n] != "?"]
            assert tally(page).startswith(weighted(told))
    assert "save the file" in page.locator("#kept").inner_text()
    told = [(1 / chance, key == "y") for chance, key in zip(chances, keys, strict=True) if key != "?"]
    assert tally(page).startswith(weighted(told))
    page.locator("#listen").click()
    page.on("dialog", lambda dialog: dialog.accept())
    page.reload()
    assert tally(page).startswith(weighted(told))
    with page.expect_download() as download:
        page.click("text=Save verdicts.csv")
    download.value.save_as(tmp_path / "verdicts.csv")
    verdicts = read_verdicts([tmp_path / "verdicts.csv"])
    verdicts.check(data.provenance)
    verdicts.check_whole()
    assert verdicts.cuts == draw.cuts and [pair.verdict for pair in verdicts.pairs] == [words[key] for key in keys]
    assert [replace(pair, verdict="") for pair in verdicts.pairs] == list(draw.pairs)
    assert problems == [] and not [url for url in requests if not url.startswith(("data:", "file:", "blob:"))]


@pytest.mark.parametrize("change", [{"strategy": "ds"}, {"csls_neighbours": 10}, {"contrast_labels": True}])
def test_where_no_file_can_cut_the_set_none_is_offered(data, browser, tmp_path, change):
    """Guards against a file that nothing reads, and an estimate that goes with it."""
    rows = [{**row, "similarity": None} for row in data.pairs] if "strategy" in change else data.pairs.to_list()
    write_report(tmp_path / "r.html", replace(data, pairs=table_of(rows), provenance=data.provenance | change))
    page = browser.new_page()
    page.goto((tmp_path / "r.html").as_uri())
    assert page.locator("#save").count() == 0 and shown(page, "random") == NUM_RANDOM
    for number in range(3):
        page.locator("#random tr[data-label]").nth(number).get_by_role("button", name="yes", exact=True).click()
    page.reload()
    assert tally(page).startswith("3 of 3 judged pairs fit: of the whole set 44 % to 100 %")


def test_endless_texts_are_not_collected(data):
    """Guards against a page of any size, and a file that lacks the end of a caption."""
    rows = [{**row, "caption": row["caption"] + "x" * 50_000} for row in data.pairs]
    text = render_report(replace(data, pairs=table_of(rows)))
    assert 'id="save"' not in text and "x" * 300 not in text


@pytest.mark.parametrize("width", [360, 390, 700, 1280])
def test_all_can_be_read_at_any_width(browser, data, tmp_path, width):
    """Guards against tables that go on beyond a telephone's edge, and words in charts that nobody can read."""
    made = data.provenance | {"quality": {"clipped": 3}, "teacher": "a/name/as/long/as/a/path/of/someone/else" * 4}
    made |= {"label_precision": {"hum": {"precision": 0.8, "low": 0.6, "high": 0.9, "verdicts": 31}}}
    write_report(tmp_path / "r.html", replace(data, provenance=made, faults={"clipped": ["a_long_name.wav"] * 3}))
    page = browser.new_page(viewport={"width": width, "height": 844})
    page.goto((tmp_path / "r.html").as_uri())
    wider = "all => all.filter(box => box.scrollWidth > box.clientWidth).map(box => box.innerText.slice(0, 80))"
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator(".scroll").evaluate_all(wider) == []
    sizes = page.locator("figure svg text:visible").evaluate_all(  # some stand upright
        "all => all.map(text => [text.getScreenCTM(), parseFloat(getComputedStyle(text).fontSize)])"
        ".map(([to, size]) => Math.hypot(to.a, to.b) * size)"
    )
    assert len(sizes) > 20 and min(sizes) >= 11
    assert page.locator("figure svg:visible").count() == 2


def pixels(source: str) -> np.ndarray:
    """(rows, columns, 4) of a data URI."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))).convert("RGBA"))


def test_maps_of_long_recordings(data, browser, tmp_path):
    """Guards against a row of another label, a place of another time, and a short sound that is lost in hours."""
    write_tone(tmp_path / "long.wav", 500, seconds=6)
    few = [{"start": 2.0 * n, "end": 2.0 * n + 2, "hum": n / 2, "hiss": 1 - n / 2} for n in range(3)]
    many = [{"start": float(n), "end": n + 1.0} | dict.fromkeys(map(str, range(20)), 0.01) for n in range(5000)]
    many[1234]["7"] = 1.0
    audio = {"bytes": None, "path": f"{tmp_path}/long.wav#t=0,6"}
    maps = [
        WindowMap("<b>long", few, audio),
        WindowMap("hours", many, None),
        WindowMap("gone", few, {"path": "x.wav"}),
    ]
    short, long, gone = draw_maps(maps)
    alphas = pixels(short.scores)[:, :, 3]
    assert alphas.shape == (2, 800) and short.labels == ["hum", "hiss"] and short.times == ["0:00", "0:03", "0:06"]
    for window, share in enumerate((0, 0.5, 1)):
        columns = slice(round(window * 800 / 3) + 1, round((window + 1) * 800 / 3) - 1)
        assert np.allclose(alphas[0, columns] / 255, share, atol=0.02)
        assert np.allclose(alphas[1, columns] / 255, 1 - share, atol=0.02)
    alphas = pixels(long.scores)[:, :, 3]
    assert len(long.labels) == 12 < long.total == 20 and long.times[-1] == "1:23:20"
    assert np.argwhere(alphas == 255).tolist() == [[long.labels.index("7"), 1234 * 800 // 5000]]
    assert pixels(short.spectrogram).shape[0] == 64 and long.spectrogram == gone.spectrogram == ""
    assert all(len(one.scores) + len(one.spectrogram) <= MAX_MAP_BYTES for one in (short, long))
    write_report(tmp_path / "r.html", replace(data, window_maps=maps))
    for width in (390, 1280):
        page = browser.new_page(viewport={"width": width, "height": 844})
        page.goto((tmp_path / "r.html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.locator(".map h3").first.inner_text() == "<b>long"
        heights = page.locator(".map").first.locator("li, .scores").evaluate_all("all => all.map(x => x.clientHeight)")
        assert heights == [22, 22, 44]
