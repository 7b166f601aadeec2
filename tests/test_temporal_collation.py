"""Batches of scenes: which rows hold the same sounds, and that captions and keys say what is heard.

Captions are read here by a list of connectives of the test's own, and what is heard is found by the pitch of the tones
that the clips are.
"""

import pickle
import re
from collections import Counter
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
from modeling_clap_student.temporal.captions import PARAPHRASES
from modeling_clap_student.temporal.collation import SceneCollator, SceneKinds
from modeling_clap_student.temporal.scenes import Deck, SceneRenderer, is_held_out


RATE = 8000
PITCHES = {"low hum": 300, "whistle": 640, "hiss": 980, "tone": 1320, "bell": 1660, "siren": 2000, "cricket": 2340}
PROMPT = "this is a sound of "

# Which of the two that are named is heard first: 1, 2, or 0 for both at once.
HEARD_FIRST = dict.fromkeys(
    ("before", "prior to", "ahead of", "preceding", "earlier than", "sooner than", "in advance of", "in front of",
     "until", "till", "right until", "until there is", "leading into", "leading up to", "giving way to", "ending in",
     "turning into", "changing to", "succeeded by", "trailed by", "chased by", "pursued by", "replaced by",
     "superseded by", "and next", "and later", "and soon", "and eventually", "and subsequently", "and finally",
     "and in turn"), 1,
) | dict.fromkeys(
    ("preceded by", "subsequent to", "later than", "succeeding", "in the wake of", "on the heels of", "behind",
     "right behind", "since", "ever since", "upon", "directly upon", "past", "immediately past", "shortly past",
     "once past", "once there was", "only once there was",
     "as soon as there was", "not before", "not until there was", "coming out of", "at the end of", "at the close of",
     "at the finish of",
     "in response to"), 2,
) | dict.fromkeys(("while", "and at the same time"), 0)  # fmt: skip


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
    return scratch_tokenizer([*PITCHES, *HEARD_FIRST])


@pytest.fixture
def collate(clips, tokenizer, tmp_path):
    """Makes a collator of the clips, or of others."""

    def make(stage="b", clips=clips, renderer=None, pairs="seen", without=(), **kinds) -> SceneCollator:
        renderer = renderer or SceneRenderer(clips, RATE, SkippedClips(tmp_path / "skipped.csv"))
        deck = Deck(clips, seed=4, pairs=pairs, without=without)
        return SceneCollator(deck, renderer, tokenizer, SceneKinds(stage, **kinds))

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
    """(`order`, first, second), (`at once`, the two sorted), (`single`, A) or (`double`, the two sorted)."""
    text = caption.lower().removeprefix(PROMPT)
    names = "|".join(PITCHES)
    if found := re.fullmatch(f"(?:single sound of )?({names})", text):
        return "single", found[1]
    if found := re.fullmatch(f"combined sound of ({names}) and ({names})", text):
        return "double", *sorted(found.groups())
    one, words, other = re.fullmatch(f"({names}) (.+) ({names})", text).groups()
    if HEARD_FIRST[words] == 0:
        return "at once", *sorted((one, other))
    return ("order", one, other) if HEARD_FIRST[words] == 1 else ("order", other, one)


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
    """Guards against a connective that is worded the wrong way round, in one block or in all."""
    collator, count = collate(retention=False), 60
    batch = collator(numbers(*range(count)))
    captions = captions_of(collator, batch)
    unheard, names = collate(retention=False, renderer=Unheard()), "|".join(PITCHES)
    used = Counter(
        re.fullmatch(f"(?:{names}) (.+) (?:{names})", caption.removeprefix(PROMPT))[1]
        for start in range(0, 1500, 50)
        for caption in captions_of(unheard, unheard(numbers(*range(start, start + 50))))[:50]
    )
    assert set(used) | {"while", "and at the same time"} == set(HEARD_FIRST)
    assert all(PARAPHRASES[words].kind == ("while", "before", "after")[heard] for words, heard in HEARD_FIRST.items())
    by_kind = [sum(used[words] for words in used if HEARD_FIRST[words] == kind) / 1500 for kind in (1, 2)]
    assert by_kind == pytest.approx([0.5, 0.5], abs=0.04) and used["before"] == pytest.approx(375, abs=60)
    for row, caption in enumerate(captions):
        kind, one, other = meaning(caption)
        assert kind == ("order", "order", "at once")[row // count]
        first, last = heard(batch["input_values"][row], pair=kind == "at once")
        assert (first, last) == (([one], [other]) if kind == "order" else ([one, other], [one, other])), caption
    with_prompt = sum(caption.startswith(PROMPT) for caption in captions) / len(captions)
    plain = sum(" before " in caption for caption in captions[: 2 * count]) / (2 * count)
    assert 0.3 < with_prompt < 0.7 and 0.1 < plain < 0.45


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
    collator = collate(stage, renderer=Unheard())
    batch = collator(numbers(*range(80)))
    meanings = [meaning(caption) for caption in captions_of(collator, batch)]
    assert len(set(meanings)) < len(meanings)
    one = {key: {m for k, m in zip(batch["keys"].tolist(), meanings, strict=True) if k == key} for key in
           batch["keys"].tolist()}  # fmt: skip
    assert all(len(same) == 1 for same in one.values()) and len(one) == len(set(meanings))


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
    with_prompt = sum(caption.startswith(PROMPT) for caption in captions) / 300
    plain = sum(" before " in caption or " while " in caption for caption in captions) / 300
    assert (0.35 < with_prompt < 0.65) if prompted else with_prompt == 0
    assert (0.35 < plain < 0.65) if paraphrase else plain == 1


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
    )
    batches = [collator(numbers(*range(start, start + 50))) for start in range(0, 2000, 50)]
    captions = [caption for batch in batches for caption in captions_of(collator, batch)]
    assert not any(re.search(r"\b(after|then|followed)\b", caption) for caption in captions)
    said = {words for words in HEARD_FIRST for caption in captions if f" {words} " in caption}
    assert said == set(collator.kinds.connectives)
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
