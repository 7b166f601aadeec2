"""Batches of scenes: which rows hold the same sounds, and that captions and keys say what is heard.

Captions are read here by a list of connectives of the test's own, and what is heard is found by the pitch of the tones
that the clips are.
"""

import pickle
import re
from collections import Counter
from dataclasses import fields
from itertools import combinations, product
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from datasets import Dataset

from modeling_clap_student import InputError
from modeling_clap_student.checkpoints.initialization import scratch_tokenizer
from modeling_clap_student.data.skipping import SkippedClips
from modeling_clap_student.temporal.collation import SceneCollator, SceneKinds
from modeling_clap_student.temporal.narration import Narrator
from modeling_clap_student.temporal.scenes import Deck, SceneRenderer, is_held_out


RATE = 8000
PITCHES = {"low hum": 300, "whistle": 640, "hiss": 980, "tone": 1320, "bell": 1660, "siren": 2000, "cricket": 2340}
PROMPT = "this is a sound of "

# Which of the two that are named is heard first: 1, 2, or 0 for both at once. Those held out of training first.
COMMON = dict.fromkeys(
    ("X then Y", "X and then Y", "X and after that Y", "X, after that Y", "first X then Y", "first X and then Y",
     "starts with X and ends with Y", "begins with X and ends with Y", "X first, Y second",
     "X at the beginning, Y at the end", "after X, Y",
     "X comes before Y", "X goes before Y", "X happens before Y",
     "X followed by Y", "X is followed by Y", "X, followed by Y"), 1,
) | dict.fromkeys(
    ("X after Y", "X following Y", "X, before that Y", "X, and before that Y", "last X, first Y",
     "ends with X and starts with Y", "X last, Y first", "ends with X and begins with Y", "X second, Y first",
     "X at the end, Y at the beginning", "before X, Y",
     "X comes after Y", "X follows Y", "X happens after Y",
     "X which is preceded by Y", "X is preceded by Y", "X, preceded by Y"), 2,
)  # fmt: skip
RARE = dict.fromkeys(
    [f"X {words} Y" for words in (
     "before", "prior to", "ahead of", "earlier than", "sooner than", "in advance of", "in front of",
     "until", "till", "right until", "until there is", "leading into", "leading up to", "giving way to", "ending in",
     "turning into", "changing to", "and next", "and later", "and soon", "and eventually", "and subsequently",
     "and in turn", "precedes", "heralds", "introduces", "announces", "ushers in", "prefaces",
     "succeeded by", "trailed by", "chased by", "pursued by", "replaced by", "superseded by")], 1,
) | dict.fromkeys(
    [f"X {words} Y" for words in (
     "subsequent to", "later than", "in the wake of", "on the heels of", "behind",
     "right behind", "since", "ever since", "upon", "past", "shortly past", "once past", "once there was",
     "only once there was", "as soon as there was", "not before", "not until there was", "coming out of",
     "at the end of", "at the close of", "at the finish of", "in response to",
     "succeeds", "trails", "chases", "pursues", "replaces", "supersedes",
     "preceded by", "heralded by", "introduced by", "announced by", "ushered in by", "prefaced by")], 2,
)  # fmt: skip
AT_ONCE = dict.fromkeys(("X while Y", "X and at the same time Y"), 0)
HEARD_FIRST = COMMON | RARE | AT_ONCE
_NAME = f"({'|'.join(PITCHES)})"


# Phrases about one place: 0 for the first sound, 1 for the last, or the second of two.
PLACED = dict.fromkeys(
    ("the first sound is X", "first there is X", "it starts with X", "it begins with X", "X is heard first"), 0
) | dict.fromkeys(
    ("the second sound is X", "X is heard second", "X is the second sound", "the last sound is X",
     "at the end there is X", "it ends with X", "it stops with X", "X is heard last"), 1,
)  # fmt: skip


def as_pattern(form: str) -> str:
    """What a caption of a form looks like; the tokenizer puts blanks before commas."""
    return form.replace(",", " ?,").replace("X", _NAME).replace("Y", _NAME)


def clip_table(folder: Path, clips_each: int = 2, silent: tuple[str, ...] = ()) -> Dataset:
    """Tones with a little noise, 2 to 4 s; those of a class lie 9 Hz apart."""
    folder.mkdir()
    rows = []
    for name, number in product(PITCHES, range(clips_each)):
        time = np.arange((2 + number) * RATE) / RATE
        noise = np.random.default_rng(len(rows)).standard_normal(time.size)
        sound = 0.3 * np.sin(2 * np.pi * (PITCHES[name] + 9 * number) * time) + 0.005 * noise
        audio_id = f"{name}/{number}"
        soundfile.write(folder / f"{len(rows)}.wav", np.zeros(time.size) if audio_id in silent else sound, RATE)
        audio = {"path": str(folder / f"{len(rows)}.wav"), "bytes": None}
        rows.append({"audio": audio, "audio_id": audio_id, "label": name})
    return Dataset.from_list(rows)


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Dataset:
    return clip_table(tmp_path_factory.mktemp("clips") / "tones")


@pytest.fixture(scope="module")
def tokenizer():
    return scratch_tokenizer([*PITCHES, *HEARD_FIRST, *PLACED])


@pytest.fixture
def collate(clips, tokenizer, tmp_path):
    """Makes a collator of the clips, or of others."""

    def make(stage="b", clips=clips, renderer=None, pairs="seen", without=(), **kinds) -> SceneCollator:
        renderer = renderer or SceneRenderer(clips, RATE, SkippedClips(tmp_path / "skipped.csv"))
        deck = Deck(clips, seed=4, pairs=pairs, without=without)
        said = {name: kinds.pop(name) for name in [*kinds] if name in {field.name for field in fields(Narrator)}}
        said = {"paraphrase_from": 1.0, "positions": 0.0, "names": 0.0} | said
        return SceneCollator(deck, renderer, tokenizer, SceneKinds(stage, **kinds), Narrator(**said))

    return make


class Unheard:
    """In the place of a renderer, where only captions count; remembers what it was asked for."""

    def __init__(self):
        self.relations, self.clips = [], set()

    def render(self, scene, relation):
        self.relations.append(relation)
        self.clips |= {scene.clip_a, scene.clip_b}
        return np.zeros(4, np.float32)

    def single(self, audio_id, seed=0):
        self.clips.add(audio_id)
        return np.zeros(4, np.float32)

    original = single


def numbers(*wanted: int) -> list[dict]:
    return [{"number": number} for number in wanted]


def captions_of(collator: SceneCollator, batch: dict) -> list[str]:
    """What the model reads, without the special tokens."""
    texts = collator.tokenizer.batch_decode(batch["input_ids"], skip_special_tokens=True)
    return [text.replace(" ##", "") for text in texts]


def meaning(caption: str) -> tuple:
    """(`order`, first, second), (`at once`, the two sorted), (`single`, A), (`double`, the two sorted), or (`place`,
    0 for the first or 1, A)."""
    text = caption.lower().removeprefix(PROMPT).removeprefix("in this concatenated sound , ")
    for form, place in PLACED.items():
        if found := re.fullmatch(as_pattern(form), text):
            return "place", place, found[1]
    names = "|".join(PITCHES)
    if found := re.fullmatch(f"(?:single sound of )?({names})", text):
        return "single", found[1]
    if found := re.fullmatch(f"combined sound of ({names}) and ({names})", text):
        return "double", *sorted(found.groups())
    form, one, other = form_of(text)
    if HEARD_FIRST[form] == 0:
        return "at once", *sorted((one, other))
    return ("order", one, other) if HEARD_FIRST[form] == 1 else ("order", other, one)


def form_of(text: str) -> tuple[str, str, str]:
    """The form of a caption of two sounds, and these as they are named."""
    found = [(form, *match.groups()) for form in HEARD_FIRST if (match := re.fullmatch(as_pattern(form), text))]
    (only,) = found
    return only


def pitches(waveform: torch.Tensor, count: int) -> list[str]:
    """The classes of the strongest tones, sorted."""
    size = len(waveform)
    spectrum = np.abs(np.fft.rfft(waveform.numpy() * np.hanning(size)))
    hertz, found = np.fft.rfftfreq(size, 1 / RATE), []
    for _ in range(count):
        peak = hertz[spectrum.argmax()]
        found += [name for name, pitch in PITCHES.items() if pitch - 5 < peak < pitch + 20]
        spectrum[np.abs(hertz - peak) < 100] = 0
    return sorted(found)


def heard(waveform: torch.Tensor, pair: bool) -> tuple[list[str], list[str]]:
    """What sounds in the first 3.4 s and in the last; borders lie between."""
    part = int(3.4 * RATE)
    return pitches(waveform[:part], 1 + pair), pitches(waveform[-part:], 1 + pair)


@pytest.mark.parametrize("overlays", [True, False])
def test_stage_b_lies_block_by_block(collate, overlays):
    """Guards against rows of two blocks that hold other sounds: α_same would weigh strangers."""
    collator, wanted = collate(overlays=overlays), (3, 14, 15, 92, 65)
    batch = collator(numbers(*wanted))
    scenes = [collator.deck.scene(number) for number in wanted]
    relations = ("forward", "reverse", "overlay")[: 2 + overlays]
    expected = [collator.renderer.render(scene, relation) for relation in relations for scene in scenes]
    expected += [collator.renderer.original(scene.clip_a, scene.seed) for scene in scenes[::2]]
    assert batch["parts"] == [("b", len(relations), 5)] and batch["num_single"] == 3
    assert torch.equal(batch["input_values"], torch.from_numpy(np.stack(expected)))
    assert batch["input_values"].dtype == torch.float32 and batch["keys"].dtype == torch.int64
    rows = len(expected)
    assert [len(batch[name]) for name in ("input_ids", "attention_mask", "keys")] == [rows] * 3
    assert batch["audio_id"] == [clip for scene in scenes for clip in (scene.clip_a, scene.clip_b)]
    for number, scene in enumerate(scenes):
        same = [meaning(caption)[1:] for caption in captions_of(collator, batch)[number : rows - 3 : 5]]
        assert all(sorted(classes) == sorted((scene.class_a, scene.class_b)) for classes in same)


def test_joint_batches_hold_both_stages(collate):
    """Guards against a part that is counted from the wrong row, and two parts of other scenes."""
    collator, wanted = collate("joint", retention=False), (7, 8, 9)
    batch = collator(numbers(*wanted))
    assert batch["parts"] == [("a", 2, 3), ("b", 3, 3)] and batch["num_single"] == 0 and batch["prompts"] == []
    assert len(batch["input_values"]) == len(batch["keys"]) == 15
    kinds = [meaning(caption)[0] for caption in captions_of(collator, batch)]
    assert kinds == [kind for kind in ("single", "double", "order", "order", "at once") for _ in range(3)]
    for stage, rows in (("a", slice(0, 6)), ("b", slice(6, 15))):
        alone = collate(stage, retention=False)(numbers(*wanted))
        assert torch.equal(alone["input_values"], batch["input_values"][rows])
        assert torch.equal(alone["keys"], batch["keys"][rows])


def test_captions_say_what_is_heard(collate):
    """Guards against a connective that is worded the wrong way round, in one block or in all, and other captions of
    the wrong rows."""
    collator, count = collate(retention=False, paraphrase_from=0.0), 60
    batch = collator(numbers(*range(count)))
    captions = captions_of(collator, batch)
    assert batch["parts"] == [("b", 3, count), ("again", 2, count)] and len(captions) == 5 * count
    assert len(batch["input_values"]) == len(batch["facts"]) == 3 * count
    unheard = collate(retention=False, renderer=Unheard(), paraphrase_from=0.0)
    used = Counter(
        form_of(caption.removeprefix(PROMPT))[0]
        for start in range(0, 3000, 50)
        for caption in captions_of(unheard, unheard(numbers(*range(start, start + 50))))[150:200]
    )
    assert set(used) == set(COMMON | RARE)
    by_kind = [sum(used[words] for words in used if HEARD_FIRST[words] == kind) / 3000 for kind in (1, 2)]
    assert by_kind == pytest.approx([0.5, 0.5], abs=0.04) and used["X before Y"] == pytest.approx(383, abs=60)
    for row, caption in enumerate(captions):
        kind, one, other = meaning(caption)
        assert kind == ("order", "order", "at once", "order", "order")[row // count]
        first, last = heard(batch["input_values"][row % (3 * count)], pair=kind == "at once")
        assert (first, last) == (([one], [other]) if kind == "order" else ([one, other], [one, other])), caption
    with_prompt = sum(caption.startswith(PROMPT) for caption in captions) / len(captions)
    assert 0.35 < with_prompt < 0.65 and all(" before " in caption for caption in captions[: 2 * count])


@pytest.mark.parametrize("doubles", ["mixed", "concat"])
def test_captions_of_stage_a_say_what_is_heard(collate, doubles):
    """Guards against singles of the other clip, and doubles at once where the authors have none."""
    collator, count = collate("a", retention=False, doubles=doubles), 24
    batch = collator(numbers(*range(count)))
    at_once = 0
    for row, caption in enumerate(captions_of(collator, batch)):
        scene, waveform = collator.deck.scene(row % count), batch["input_values"][row]
        if row < count:
            assert caption == f"single sound of {scene.class_a}"
            assert heard(waveform, pair=False) == ([scene.class_a], [scene.class_a])
            continue
        assert caption == f"combined sound of {scene.class_a} and {scene.class_b}"
        both = sorted((scene.class_a, scene.class_b))
        if torch.equal(waveform, torch.from_numpy(collator.renderer.render(scene, "forward"))):
            assert heard(waveform, pair=False) == ([scene.class_a], [scene.class_b])
        else:
            assert heard(waveform, pair=True) == (both, both)
            at_once += 1
    assert at_once == 0 if doubles == "concat" else 6 <= at_once <= 18


@pytest.mark.parametrize("stage", ["a", "b", "joint"])
def test_keys_are_equal_where_captions_mean_the_same(collate, stage):
    """Guards against negatives that are true: "B after A" beside "A before B", or one class twice in stage A."""
    collator = collate(stage, renderer=Unheard(), paraphrase_from=0.0)
    batch = collator(numbers(*range(80)))
    meanings = [meaning(caption) for caption in captions_of(collator, batch)]
    assert len(set(meanings)) < len(meanings)
    one = {key: {m for k, m in zip(batch["keys"].tolist(), meanings, strict=True) if k == key} for key in
           batch["keys"].tolist()}  # fmt: skip
    assert all(len(same) == 1 for same in one.values()) and len(one) == len(set(meanings))


@pytest.mark.parametrize("max_sounds", [2, 3])
def test_facts_are_all_that_is_true(collate, max_sounds):
    """Guards against a true caption that counts as a negative, such as "the first sound is A" beside "A before B", and
    against a false one that does not: by what captions say of pairs of sounds and of places, over all rows."""
    shares = {"paraphrase_from": 0.0, "positions": 0.4, "names": 0.2}
    collator = collate(renderer=Unheard3(), retention=False, max_sounds=max_sounds, **shares)
    batch = collator(numbers(*range(60)))
    scenes = [collator.deck.scene(number) for number in range(60)]
    heard = [way for ways in zip(*map(collator.ways, scenes), strict=True) for way in ways]
    assert {len(way.classes) for way in heard} == set(range(2, max_sounds + 1))
    true = (batch["facts"][:, None, :] == batch["keys"][None, :, None]).any(dim=2)
    captions, counted = captions_of(collator, batch), Counter()
    said = [*heard, *heard[:120]]  # whose captions
    for row, way in enumerate(heard):
        for column, caption in enumerate(captions):
            if len(said[column].classes) == 2:
                kind, *rest = meaning(caption)
                counted[kind] += 1
                assert true[row, column] == is_true(kind, rest, way, caption), (way, caption)
    assert set(counted) == {"order", "at once", "place", "single"}
    assert true[:, :180].diagonal().all() and true[:120, 180:].diagonal().all()


def is_true(kind: str, said: list, way, caption: str) -> bool:
    classes, at_once = way.classes, way.at_once
    if kind == "single":
        return said[0] in classes
    if kind == "at once":
        return at_once and set(said) == set(classes)
    if at_once:
        return False
    if kind == "place":
        last = "second" not in caption
        return classes[0 if said[0] == 0 else -1 if last else 1] == said[1]
    return set(said) <= set(classes) and classes.index(said[0]) < classes.index(said[1])


class Unheard3(Unheard):
    def sequence(self, clips, order, seed):
        return np.zeros(4, np.float32)


def test_three_sounds_are_heard_as_said(collate):
    """Guards against orders that are told otherwise than rendered: tones tell which is when."""
    collator, wanted = collate(retention=False, max_sounds=3), range(40)
    batch, size = collator(numbers(*wanted)), 40
    three = 0
    for number in wanted:
        ways = collator.ways(collator.deck.scene(number))
        if len(ways[0].classes) == 3:
            three += 1
            for block, way in enumerate(ways):
                sound = batch["input_values"][block * size + number]
                parts = [sound[round(place * RATE) : round((place + 1.5) * RATE)] for place in (0.5, 4.25, 8)]
                assert [pitches(part, 1) for part in parts] == [[name] for name in way.classes]
            assert ways[0].classes == ways[1].classes[::-1] and len({way.classes for way in ways}) == 3
    assert 5 < three < 25


def test_rows_for_retention_are_of_every_other_scene(collate):
    """Guards against a prompt of another class than the clip, and waveforms that are not the last rows."""
    collator, wanted = collate("joint"), tuple(range(20, 27))
    batch = collator(numbers(*wanted))
    scenes = [collator.deck.scene(number) for number in wanted[::2]]
    assert batch["num_single"] == 4 and batch["prompts"] == [PROMPT + scene.class_a for scene in scenes]
    assert captions_of(collator, batch)[-4:] == batch["prompts"]
    assert sum(blocks * count for _, blocks, count in batch["parts"]) + 4 == len(batch["input_values"])
    for row, scene in zip(batch["input_values"][-4:], scenes, strict=True):
        assert heard(row, pair=False) == ([scene.class_a], [scene.class_a])


@pytest.mark.parametrize(("paraphrase", "prompted"), [(True, False), (False, True)])
def test_prompts_and_paraphrases_are_apart(collate, paraphrase, prompted):
    """Guards against an ablation of one that takes the other away too."""
    collator = collate(
        paraphrase_from=0.0 if paraphrase else 1.0, prompted=prompted, renderer=Unheard(), retention=False
    )
    captions = captions_of(collator, collator(numbers(*range(100))))
    with_prompt = sum(caption.startswith(PROMPT) for caption in captions) / len(captions)
    assert (0.35 < with_prompt < 0.65) if prompted else with_prompt == 0
    assert len(captions) == (500 if paraphrase else 300)
    assert paraphrase is any(" and at the same time " in caption for caption in captions)


def test_paraphrases_begin_when_they_are_told_to(collate):
    """Guards against words that turn sounds around before an order is learnt, and words that stay the same."""
    collator = collate(paraphrase_from=0.4, renderer=Unheard(), retention=False)
    early, late, later = (
        collator([{"number": 1, "progress": progress, "visit": visit} for _ in range(2)])
        for progress, visit in ((0.39, 0), (0.4, 0), (0.9, 1))
    )
    assert early["parts"] == [("b", 3, 2)] and late["parts"] == [("b", 3, 2), ("again", 2, 2)]
    assert captions_of(collator, late)[6:] != captions_of(collator, later)[6:]


@pytest.mark.parametrize("kept", [True, False])
def test_scenes_are_heard_once_where_convolutions_are_known(clips, collate, monkeypatch, kept):
    """Guards against frames of another row or scene, and memory that grows without end."""
    if not kept:
        monkeypatch.setattr("modeling_clap_student.temporal.collation._MOST_BYTES", 0)
    collator, heard_rows = collate("joint"), []

    def listen(waveforms):
        heard_rows.append(len(waveforms))
        return waveforms.reshape(len(waveforms), 10, -1).square().mean(dim=2, keepdim=True)

    expected = listen(collate("joint")(numbers(5, 6, 7))["input_values"])
    collator.listen = listen
    for _ in range(2):
        heard_rows.clear()
        batch = collator(numbers(5, 6, 7))
        torch.testing.assert_close(batch["input_frames"], expected)
        assert "input_values" not in batch and batch["parts"] == [("a", 2, 3), ("b", 3, 3)]
    assert sum(heard_rows) == (0 if kept else 3 * 6)


def test_without_either_captions_are_the_authors(collate):
    """Guards against a prompt, or other words, in the arm that is compared with the paper."""
    collator, wanted = collate(paraphrase_from=1.0, prompted=False, renderer=Unheard(), retention=False), range(40)
    captions = captions_of(collator, collator(numbers(*wanted)))
    scenes = [collator.deck.scene(number) for number in wanted]
    assert captions[:40] == [f"{scene.class_a} before {scene.class_b}" for scene in scenes]
    assert captions[40:80] == [f"{scene.class_b} before {scene.class_a}" for scene in scenes]
    assert captions[80:] == [f"{scene.class_a} while {scene.class_b}" for scene in scenes]


@pytest.mark.parametrize(("paraphrase", "overlays"), list(product([True, False], repeat=2)))
def test_training_neither_reads_nor_hears_what_tests_are_for(clips, collate, paraphrase, overlays):
    """Guards against tests of unseen words, pairs and classes that were trained on after all."""
    renderer = Unheard()
    collator = collate(
        "joint",
        renderer=renderer,
        without=["low_hum"],
        paraphrase_from=0.0 if paraphrase else 1.0,
        overlays=overlays,
        doubles="concat",
        hold_out=True,
    )
    batches = [collator(numbers(*range(start, start + 50))) for start in range(0, 2000, 50)]
    captions = [caption for batch in batches for caption in captions_of(collator, batch)]
    assert not any(re.search(r"\b(after|then|followed)\b", caption) for caption in captions)
    orders = [caption for caption in captions if meaning(caption)[0] in ("order", "at once")]
    said = {form_of(caption.removeprefix(PROMPT))[0].strip("XY ") for caption in orders}
    assert said == set(collator.narrator.connectives(overlays))
    pairs = {frozenset(meaning(caption)[1:]) for caption in captions if meaning(caption)[0] != "single"}
    held_out = {frozenset(pair) for pair in combinations(PITCHES, 2) if is_held_out(*pair)}
    allowed = {frozenset(pair) for pair in combinations(sorted(set(PITCHES) - {"low hum"}), 2)} - held_out
    assert held_out and pairs == allowed
    assert not any("low hum" in caption for caption in captions)
    assert renderer.clips == {audio_id for audio_id in clips["audio_id"] if not audio_id.startswith("low hum")}
    assert overlays or "overlay" not in renderer.relations


def test_a_number_is_a_scene(collate):
    """Guards against scenes that depend on a batch's other rows, on the worker, or on what was made before."""
    whole = collate("joint")(numbers(*range(6)))
    part = pickle.loads(pickle.dumps(collate("joint")))(numbers(4, 1))
    for block in range(5):
        assert torch.equal(part["input_values"][2 * block], whole["input_values"][6 * block + 4])
        assert torch.equal(part["input_values"][2 * block + 1], whole["input_values"][6 * block + 1])
        assert part["keys"][2 * block] == whole["keys"][6 * block + 4]
    assert part["prompts"] == whole["prompts"][2:]


def test_a_bad_clip_is_listed_and_its_scenes_are_others(collate, clips, tmp_path):
    """Guards against batches that shrink, rows of silence, and a bad clip that changes other scenes."""
    bad = "whistle/0"
    table = clip_table(tmp_path / "with_silence", silent=(bad,))
    collator, wanted = collate(clips=table), range(30)
    hit = [
        number for number in wanted if bad in (collator.deck.scene(number).clip_a, collator.deck.scene(number).clip_b)
    ]
    batch = collator(numbers(*wanted))
    assert 3 <= len(hit) < 20 and batch["parts"] == [("b", 3, 30)] and len(batch["input_values"]) == 90 + 15
    assert bad not in batch["audio_id"] and batch["input_values"].abs().amax(dim=1).min() > 0.01
    assert SkippedClips(tmp_path / "skipped.csv").read() == {bad: "is silent"}
    good = collate()(numbers(*wanted))
    kept = [number for number in wanted if number not in hit]
    assert torch.equal(batch["input_values"][kept], good["input_values"][kept])
    for row, caption in enumerate(captions_of(collator, batch)[:60]):  # also of those that came in their place
        assert heard(batch["input_values"][row], pair=False) == tuple([name] for name in meaning(caption)[1:])


def test_clips_none_of_which_can_be_heard_end_the_run(collate, tmp_path):
    """Guards against a search for a scene that never ends."""
    table = clip_table(tmp_path / "silence", clips_each=1, silent=tuple(f"{name}/0" for name in PITCHES))
    with pytest.raises(InputError, match=r"20 scenes in a row can't be heard; for instance .*/0 and .*/0"):
        collate(clips=table)(numbers(0, 1))
