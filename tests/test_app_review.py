"""The tab Review: verdicts that are never lost, and a set that is cut as curate.py would cut it."""

import csv
import json
import shutil
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from app_world import LABELS, make_world

from modeling_clap_student import InputError, curate
from modeling_clap_student.app.pool import open_pool
from modeling_clap_student.app.review import Review, ReviewTab, findings, progress
from modeling_clap_student.curation.improvement_set import load_improvement_set
from modeling_clap_student.curation.review import beside_set
from modeling_clap_student.curation.verdicts import CANT_TELL, DOES_NOT, FITS, read_verdicts


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(a world, a copy of it)"""
    world = make_world(tmp_path_factory.mktemp("world"))
    return world, shutil.copytree(world, tmp_path_factory.mktemp("copies") / "world")


@pytest.fixture
def world(made):
    """The same to begin each test with, in the same place: a set knows where its clips are."""
    place, copy = made
    shutil.rmtree(place)
    return shutil.copytree(copy, place)


@pytest.fixture
def review(world):
    return Review(open_pool(str(world / "set")))


def pairs_of(folder) -> dict[tuple, float]:
    pairs = load_improvement_set(str(folder))[0]
    return {(row["audio_id"], row["caption"]): row["similarity"] for row in pairs.remove_columns("audio")}


def test_every_verdict_is_in_the_file_at_once(world, review):
    """Guards against a verdict that waits for a button, and against a file that the command can't read."""
    assert not review.file.exists() and review.file == world / "set_review" / "verdicts.csv"
    for place, word in enumerate([FITS, DOES_NOT, CANT_TELL]):
        review.judge(place, word)
        rows = list(csv.DictReader(review.file.open(newline="")))
        assert [row["verdict"] for row in rows[: place + 1]] == [FITS, DOES_NOT, CANT_TELL][: place + 1]
    assert read_verdicts([review.file]).counts == {FITS: 1, DOES_NOT: 1, CANT_TELL: 1}
    assert {file.name for file in review.folder.iterdir()} == {"verdicts.csv"}  # no lock, nothing half written
    review.judge(1, DOES_NOT)  # said again: taken back
    assert read_verdicts([review.file]).counts[DOES_NOT] == 0
    again = Review(review.pool)
    assert again.next_place(again.verdicts()) == 1 and again.rows == review.rows


def test_two_windows_keep_each_others_verdicts(review):
    """Guards against the last one who saves taking all: two servers, each with its own view, judge side by side."""
    other = Review(review.pool)
    errors = []

    def judge(one, places):
        try:
            for place in places:
                one.judge(place, FITS)
        except Exception as error:
            errors.append(error)

    threads = [
        threading.Thread(target=judge, args=(one, range(first, len(review.rows), 4)))
        for first, one in enumerate((review, other, review, other))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == [] and read_verdicts([review.file]).counts[FITS] == len(review.rows)


def test_it_goes_on_with_the_commands_review(world, review, command):
    """Guards against two reviews of one set that know nothing of each other."""
    from modeling_clap_student.commands import curate as program

    assert command(program, "review", world / "set") == 0
    begun = Review(review.pool)
    assert [pair.key for pair in begun.verdicts().pairs] == [pair.key for pair in review.verdicts().pairs]
    begun.judge(4, FITS)
    assert command(program, "review", world / "set", "--verdicts", begun.file, "--output_dir", "second") == 0
    assert read_verdicts(["second/verdicts.csv"]).counts[FITS] == 1


def test_the_set_is_cut_as_curation_cuts_it(world, review):
    """Guards against a button that makes another set than curate.py with the same verdicts."""
    for place in range(len(review.rows)):
        review.judge(place, DOES_NOT if place == 2 else FITS)
    folder, number = review.remake(0.8, True)
    expected = curate(
        str(world / "teacher"), strategy="ads", captions=str(world / "captioned"), audio=str(world / "pool"),
        labels=LABELS, embedding_store=str(world / "embeddings"), fingerprint_store=str(world / "fingerprints"),
        progress=False, num_captions=3, num_pairs=18, max_skipped_fraction=0.5, pair_threshold=str(review.file),
        precision=0.8, drop_rejected=True,
    )  # fmt: skip
    expected.save(world / "expected")
    assert folder == world / "set_judged" and number == len(pairs_of(folder)) < 18
    assert pairs_of(folder) == pytest.approx(pairs_of(world / "expected"), abs=1e-6)
    ours, theirs = (json.loads((where / "provenance.json").read_text()) for where in (folder, world / "expected"))
    assert {name for name in theirs if ours[name] != theirs[name]} == set()
    assert "Fit, as judged" in (folder / "report.html").read_text()


def test_what_can_not_be_promised_is_a_sentence(review):
    tab = ReviewTab(review)
    assert "Judge some pairs first" in tab.remake(0.8, True)
    for place in range(len(review.rows)):
        review.judge(place, DOES_NOT)
    told = tab.remake(0.8, True)
    assert 'role="alert"' in told and "o threshold holds 80 % yet" in told
    assert not Path(f"{review.pool.name}_judged").exists()


def test_what_the_page_shows(review):
    """Guards against a page that goes to a pair that was judged, or shows numbers of other verdicts."""
    tab = ReviewTab(review)
    card, done, found, place = tab.begin(0.8)
    assert place == 0 and f"0 of {len(review.rows)} judged" in done and "after the first verdict" in found
    assert f'src="pairs/{review.rows[0]}"' in card and "data-word" in card
    for step in range(3):
        event = SimpleNamespace(place=place, word=FITS if step else DOES_NOT)
        card, done, found, place = tab.judge(place, 0.8, event)
    assert place == 3 and "3 of" in done and "2 fit, 1 does not" in done and "<svg" in found
    verdicts = review.verdicts()
    weights = [pair.weight for pair in verdicts.pairs[:3]]
    share = sum(weights[1:]) / sum(weights)
    assert f"<b>{100 * share:.0f} %</b>" in found
    card, *_, place = tab.go(place, 0.8, SimpleNamespace(step=-1))
    assert place == 2 and 'aria-pressed="true"' in card
    assert tab.go(0, 0.8, SimpleNamespace(step=-1))[-1] == 0
    wrong, *_ = tab.judge(0, 0.8, SimpleNamespace(place=99, word=FITS))
    assert "No such pair" in wrong
    assert progress(["", ""]) and findings(verdicts, 0.5)


def test_another_sets_verdicts_are_told(world, review):
    """Guards against verdicts that are laid upon pairs that nobody heard."""
    review.judge(0, FITS)
    text = review.file.read_text()
    review.file.write_text(text.replace(read_verdicts([review.file]).set_id, "0123456789abcdef"))
    with pytest.raises(InputError, match="verdicts of another set"):
        Review(review.pool)
    review.file.write_text(text.replace("pool/", "pond/"))
    with pytest.raises(InputError, match="pairs are not in"):
        Review(review.pool)


def test_a_file_that_was_made_anew(review):
    review.judge(0, FITS)
    review.file.write_text(review.file.read_text().replace(review.verdicts().pairs[1].audio_id, "other.flac"))
    with pytest.raises(InputError, match="made anew meanwhile"):
        review.judge(1, FITS)


def test_a_clip_that_has_gone_is_told(world, review):
    (world / "pool").rename(world / "moved")
    card = review.card(0, review.verdicts())
    assert "This clip can&#x27;t be read" in card and "data-word" in card


def test_a_folder_with_an_at_sign_keeps_its_verdicts_beside_it(tmp_path):
    """Guards against verdicts of /home/jane@corp/set in /home/jane_review."""
    folder = tmp_path / "jane@corp" / "set"
    folder.mkdir(parents=True)
    assert beside_set(f"{folder}/", "review") == tmp_path / "jane@corp" / "set_review"
    assert beside_set("me/set@main", "judged") == Path("me/set_judged")
