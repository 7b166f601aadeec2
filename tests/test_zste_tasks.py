"""The tasks of ZSTE: against loops over captions as text, against chance, and against models that hear all, or all but
order."""

import re
from itertools import combinations, permutations

import numpy as np
import pytest

from modeling_clap_student.evaluation.zste.questions import ask, bag_of_words, outcome
from modeling_clap_student.evaluation.zste.tasks import (
    ControlAudio,
    SceneAudio,
    Texts,
    confusion,
    control_tasks,
    derangement,
    order_accuracy,
    scene_tasks,
    single_sounds,
    three_sounds,
)
from modeling_clap_student.temporal.scenes import Scene


NAMES = ["clock alarm", "clock tick", "dog", "hen", "rain", "sea waves", "train"]
FIRST_WORDS = ("before", "then", "followed by")
SECOND_WORDS = ("after", "preceded by")
SENTENCES = {  # of the sound that is heard first, {0}, and the other
    "first … then …": "first {0} then {1}",
    "starts with … and ends with …": "starts with {0} and ends with {1}",
    "ends with … and starts with …": "ends with {1} and starts with {0}",
    "…, before that …": "{1}, before that {0}",
}


def make_scenes(count: int, names: list[str]) -> list[Scene]:
    rng = np.random.default_rng(5)
    pairs = list(combinations(names, 2))
    scenes = []
    for number in range(count):
        a, b = rng.permutation(pairs[rng.integers(len(pairs))]).tolist()
        scenes.append(Scene(number, a, b, a, b, 5.0, number, bool(rng.random() < 0.8)))
    return scenes


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def random_texts(questions, rng, dim: int) -> Texts:
    count = len(questions.class_names)
    sizes = (count, count, count, len(questions.captions))
    return Texts(*(unit(rng.normal(size=(size, dim))) for size in sizes))


def random_audio(count: int, rng, dim: int) -> SceneAudio:
    return SceneAudio(*(unit(rng.normal(size=(count, dim))) for _ in range(3)))


def right_of(scene: Scene, audio: dict, text: dict, prompts: dict, names: list[str], heard: bool, sets: tuple) -> dict:
    """Whether one scene is right in each task, as their definitions read; captions are found by what they say."""
    a, b = scene.class_a, scene.class_b

    def sim(sound, words):
        return float(np.dot(audio[sound].astype(float), text[words].astype(float)))

    def best(sound, captions):
        ordered = sorted(captions, key=lambda words: sim(sound, words), reverse=True)
        return ordered[0]

    def top(sound, which):
        return sorted(which, key=lambda key: -float(np.dot(audio[sound].astype(float), prompts[key].astype(float))))

    f, r, w = f"{a} before {b}", f"{b} before {a}", f"{a} while {b}"
    own, x, y = ("f", a, b) if heard else ("r", b, a)
    said = {"f": f, "r": r, "w": w}
    classes = [("class", name) for name in names]
    places = {place: top(own, [(place, name) for name in names])[0][1] for place in ("first", "second")}
    both = set(top(own, [(place, name) for place in ("first", "second") for name in names])[:2])
    found = {
        "2A": {name for _, name in top("w", classes)[:2]} == {a, b},
        "2B": len({name for _, name in top("w", classes)[:2]} & {a, b}) / 2,
        "2C": {name for _, name in top(own, classes)[:2]} == {a, b},
        "2D": len({name for _, name in top(own, classes)[:2]} & {a, b}) / 2,
        "3A": best(own, [f, r, w]) == said[own],
        "3B": np.mean([best(sound, [f, r, w]) == said[sound] for sound in "frw"]),
        "3C": best(own, [f, r]) == said[own],
        "3D/text": sim("f", f) > sim("f", r) and sim("r", r) > sim("r", f),
        "3D/audio": sim("f", f) > sim("r", f) and sim("r", r) > sim("f", r),
        "3E/text": all(sim(s, said[s]) > sim(s, said[o]) for s in "frw" for o in "frw" if s != o),
        "3E/audio": all(sim(s, said[s]) > sim(o, said[s]) for s in "frw" for o in "frw" if s != o),
        "4A": best("f", sets[0]) == f,
        "4B": best(own, sets[1]) == said[own],
        "5A": both == {("first", x), ("second", y)},
        "5B": places == {"first": x, "second": y},
        "5B/first": places["first"] == x,
        "5B/second": places["second"] == y,
        "5B/swapped": places == {"first": y, "second": x},
    }
    found["3D"] = found["3D/text"] and found["3D/audio"]
    found["3E"] = found["3E/text"] and found["3E/audio"]
    ways = {words: sim(own, f"{x} {words} {y}") > sim(own, f"{y} {words} {x}") for words in FIRST_WORDS}
    ways |= {words: sim(own, f"{y} {words} {x}") > sim(own, f"{x} {words} {y}") for words in SECOND_WORDS}
    found["6A"] = ways["after"]
    found["6A/consistency"] = ways["after"] == ways["before"]
    others = ("then", "followed by", "preceded by")
    found["6B"] = np.mean([ways[words] for words in others])
    found["6B/then"], found["6B/preceded_by"] = ways["then"], ways["preceded by"]
    found["6B/consistency"] = np.mean([ways[words] == ways["before"] for words in others])
    found["6D"] = np.mean([ways[words] for words in ("after", "then", "followed by")])
    sentences = {words: sim(own, form.format(x, y)) > sim(own, form.format(y, x)) for words, form in SENTENCES.items()}
    found["6E"], found["6E/before_that"] = np.mean([*sentences.values()]), sentences["…, before that …"]
    return found


@pytest.mark.parametrize("closeness", [0.0, 0.8])
def test_tasks_against_their_definitions(closeness):
    """Guards against a caption, a class or an order taken for another; close to the captions, both outcomes occur."""
    rng = np.random.default_rng(6)
    scenes = make_scenes(60, NAMES)
    questions = ask(scenes, NAMES)
    text = random_texts(questions, rng, 24)
    audio = random_audio(60, rng, 24)
    near = [text.captions[questions.orders["before"][:, way]] for way in (0, 1)] + [text.captions[questions.overlay]]
    audio = SceneAudio(
        *(
            unit(of + closeness * mine)
            for of, mine in zip((audio.forward, audio.reverse, audio.overlay), near, strict=True)
        )
    )
    found = scene_tasks(audio, text, questions)
    words = dict(zip(questions.captions, text.captions, strict=True))
    prompts = {
        (place, name): of[number]
        for place, of in (("class", text.classes), ("first", text.first), ("second", text.second))
        for number, name in enumerate(NAMES)
    }
    for row, scene in enumerate(scenes):
        sounds = {"f": audio.forward[row], "r": audio.reverse[row], "w": audio.overlay[row]}
        sets = tuple(
            [questions.captions[number] for number in of[row]]
            for of in (questions.candidates_4a, questions.candidates_4b)
        )
        expected = right_of(scene, sounds, words, prompts, NAMES, bool(questions.heard_forward[row]), sets)
        got = {metric: found[metric].values()[row] for metric in expected}
        assert got == pytest.approx(expected), row
    heard = np.where(questions.heard_forward[:, None], audio.forward, audio.reverse)
    truth = questions.heard_pair
    queries = found["6C/original_R@1"].rows.tolist()
    assert {tuple(pair) for pair in truth.tolist()} == {tuple(truth[row].tolist()) for row in queries}
    assert len(queries) == len({tuple(pair) for pair in truth.tolist()}) < 60
    for k in (1, 5, 10):
        for row in range(60):
            first, second = (NAMES[number] for number in truth[row])
            finds = {}
            for name, caption in (
                ("original", f"{first} before {second}"),
                ("reversed", f"{second} before {first}"),
                ("replaced", f"{first} after {second}"),
            ):
                order = np.argsort(-(heard.astype(float) @ words[caption].astype(float)))
                finds[name] = any((truth[place] == truth[row]).all() for place in order[:k])
                if row in queries:
                    assert found[f"6C/{name}_R@{k}"].values()[queries.index(row)] == finds[name]
            if row in queries:
                for name in ("reversed", "replaced"):
                    gap = found[f"6C/{name}_gap_R@{k}"].values()[queries.index(row)]
                    assert gap == finds["original"] - finds[name]
    errors = found["4B"].values() == 0
    assert found["4B/reversal_share"].values().shape == (errors.sum(),)
    table = confusion(audio, text, questions)
    assert table.sum(axis=1).tolist() == [60] * 3
    assert np.trace(table[:, :3]) / 180 == pytest.approx(found["3B"].values().mean())


def test_chance_is_what_random_embeddings_come_to():
    """Guards against a chance level from a formula that is none: groups of two 1/6, of three 1/60."""
    rng = np.random.default_rng(7)
    names = [f"sound {number}" for number in range(12)]
    count = 6000
    questions = ask(make_scenes(count, names), names)
    found = scene_tasks(random_audio(count, rng, 64), random_texts(questions, rng, 64), questions)
    found["1A"] = single_sounds(
        unit(rng.normal(size=(count, 64))), unit(rng.normal(size=(12, 64))), rng.integers(12, size=count)
    )
    assert found["3D"].chance == pytest.approx(1 / 6) and found["3E"].chance == pytest.approx(0.0167, abs=1e-4)
    assert found["2A"].chance == pytest.approx(1 / 66) and found["5A"].chance == pytest.approx(1 / 276)
    for metric, of in found.items():
        values = of.values().astype(float)
        slack = 5 * max(values.std(), np.sqrt(of.chance * (1 - of.chance))) / np.sqrt(len(values))
        assert values.mean() == pytest.approx(of.chance, abs=slack), metric
        assert of.values(share_ties=True).mean() == pytest.approx(values.mean()), metric


def test_three_sounds():
    """Guards against an order that is taken for another, and a chance level that is none: against the definition, one
    who hears all, one who is deaf to order, and random numbers."""
    rng, count, names = np.random.default_rng(8), 1200, NAMES
    scenes = make_scenes(count, names)
    thirds = [next(name for name in names[n % 7 :] + names if name not in (s.class_a, s.class_b))
              for n, s in enumerate(scenes)]  # fmt: skip
    questions = ask(scenes, names, thirds)
    assert np.bincount(questions.three_heard).tolist() == [count // 6] * 6
    orders = [[f"{x}, then {y}, then {z}" for x, y, z in permutations((s.class_a, s.class_b, third))]
              for s, third in zip(scenes, thirds, strict=True)]  # fmt: skip
    assert [[questions.captions[n] for n in row] for row in questions.three] == orders
    rows = np.arange(count)
    texts = np.eye(len(questions.captions), dtype=np.float32)
    own = questions.three[rows, questions.three_heard]
    perfect = three_sounds(texts[own], texts, questions, rows)
    assert perfect.values().all() and perfect.chance == perfect.order_blind == 1 / 6
    deaf = three_sounds(unit(texts[questions.three].sum(axis=1)), texts, questions, rows)
    assert not deaf.values().any() and deaf.values(share_ties=True) == pytest.approx(1 / 6)
    wrong = three_sounds(
        texts[np.roll(questions.three, 1, axis=1)[rows, questions.three_heard]], texts, questions, rows
    )
    assert not wrong.values().any()
    random = unit(rng.normal(size=(count, 64))), unit(rng.normal(size=(len(texts), 64)))
    guessed = three_sounds(*random, questions, rows)
    assert guessed.values().mean() == pytest.approx(1 / 6, abs=5 * np.sqrt(5 / 36 / count))
    some = three_sounds(random[0][::2], random[1], questions, rows[::2])
    assert some.values().tolist() == guessed.values()[::2].tolist() and some.rows.tolist() == rows[::2].tolist()
    two = ask(scenes, names)
    assert two.three.shape == (count, 0) and len(three_sounds(random[0], random[1], two, rows).values()) == 0


class Oracle:
    """Embeddings of one who hears everything, or everything but which sound is first.

    A place for each sound that is there, each that is first, that is second, and that is heard with another.
    """

    def __init__(self, names: list[str]):
        self.names, self.size = names, len(names)

    def place(self, kind: int, name: str) -> np.ndarray:
        vector = np.zeros(4 * self.size)
        vector[kind * self.size + self.names.index(name)] = 1
        return vector

    def caption(self, words: str) -> np.ndarray:
        for form in SENTENCES.values():
            pattern = form.replace("{0}", "(?P<first>.+)").replace("{1}", "(?P<second>.+)")
            if found := re.fullmatch(pattern, words):
                return self.place(1, found["first"]) + self.place(2, found["second"])
        for connective in ("while", *FIRST_WORDS, *SECOND_WORDS):
            x, found, y = words.partition(f" {connective} ")
            if found and connective == "while":
                return self.place(3, x) + self.place(3, y)
            if found:
                x, y = (y, x) if connective in SECOND_WORDS else (x, y)
                return self.place(1, x) + self.place(2, y)
        raise ValueError(words)

    def texts(self, questions) -> Texts:
        kinds = [np.stack([self.place(kind, name) for name in self.names]) for kind in range(3)]
        return Texts(*map(unit, [*kinds, np.stack([self.caption(words) for words in questions.captions])]))

    def audio(self, scenes: list[Scene], hears_order: bool) -> SceneAudio:
        def sound(first, second, relation):
            there = self.place(0, first) + self.place(0, second)
            if relation == "overlay":
                return there + self.place(3, first) + self.place(3, second)
            order = self.place(1, first) + self.place(2, second)
            return there + (order if hears_order else order + self.place(1, second) + self.place(2, first))

        ways = [(s.class_a, s.class_b, s.class_b, s.class_a) for s in scenes]
        return SceneAudio(
            unit(np.stack([sound(a, b, "forward") for a, b, _, _ in ways])),
            unit(np.stack([sound(b, a, "reverse") for _, _, b, a in ways])),
            unit(np.stack([sound(a, b, "overlay") for a, b, _, _ in ways])),
        )


WRONG_IF_RIGHT = ("5B/swapped", *(f"6C/{words}_R@{k}" for words in ("reversed", "replaced") for k in (1, 5, 10)))


def test_one_who_hears_everything_is_always_right():
    """Guards against a task that can't be done, or whose truth is another's; "rain" lies in "train"."""
    scenes, oracle = make_scenes(80, NAMES), Oracle(NAMES)
    questions = ask(scenes, NAMES)
    texts = oracle.texts(questions)
    found = scene_tasks(oracle.audio(scenes, True), texts, questions)
    for metric, of in found.items():
        if metric == "4B/reversal_share":
            assert len(of.values()) == 0
        else:
            assert (of.values() == (0 if metric in WRONG_IF_RIGHT else 1)).all(), metric
    assert single_sounds(texts.classes, texts.classes, np.arange(7)).values().all()
    assert np.array_equal(confusion(oracle.audio(scenes, True), texts, questions)[:, :3], 80 * np.eye(3))


def test_one_who_is_deaf_to_order_is_never_right_or_guesses():
    """Guards against ties that the first caption wins: a mean of embeddings would seem to hear order half the time."""
    scenes, oracle = make_scenes(80, NAMES), Oracle(NAMES)
    questions = ask(scenes, NAMES)
    found = scene_tasks(oracle.audio(scenes, False), oracle.texts(questions), questions)
    for metric in ("3A", "3C", "3D", "3E", "4B", "5A", "5B", "6A", "6B", "6D", "6E", "6A/consistency"):
        assert not found[metric].values().any(), metric
    assert (found["3B"].values() == 1 / 3).all() and found["2C"].values().all() and found["2A"].values().all()
    for metric, of in found.items():
        if metric != "4B/reversal_share":
            assert of.values(share_ties=True).mean() == pytest.approx(of.order_blind), metric
    assert found["3C"].order_blind == 0.5 and found["3E"].order_blind == pytest.approx(1 / 6)


def test_classes_are_told_by_number_and_not_by_their_words():
    """Guards against "rain" taken for "train", and "clock tick" for "clock alarm", as matches of their words would."""
    taken = {"rain": "train", "train": "rain", "clock alarm": "clock tick", "clock tick": "clock alarm"}
    names = sorted(taken)
    scenes = [
        Scene(i, a, b, a, b, 5.0, i, True) for i, (a, b) in enumerate([("rain", "clock alarm"), ("train", "rain")])
    ]
    questions, oracle = ask(scenes, names), Oracle(names)
    wrong = [Scene(s.id, s.clip_a, s.clip_b, taken[s.class_a], taken[s.class_b], 5.0, 0, True) for s in scenes]
    found = scene_tasks(oracle.audio(wrong, True), oracle.texts(questions), questions)
    for metric in ("2A", "2B", "2C", "2D", "4A", "5A", "5B", "5B/first"):
        assert found[metric].values()[0] == 0, metric
    assert found["2A"].values()[1] and not found["5A"].values()[1]  # the same two sounds, in the other order
    assert found["5B/swapped"].values().tolist() == [False, True]


def test_order_accuracy_of_two_scenes():
    """Guards against the audio of the order that is not heard, and a tie that is right."""
    x, y = np.eye(2, dtype=np.float32)
    forward, reverse = np.stack([x, x, x]), np.stack([y, y, x])
    heard = np.array([True, False, False])
    assert order_accuracy(forward, reverse, forward, np.stack([y, y, y]), heard).tolist() == [True, True, False]
    assert not order_accuracy(forward, forward, forward, forward, heard).any()


@pytest.mark.parametrize(("classes", "most"), [(2, 4), (3, 12), (5, 40), (6, 50), (12, 50)])
def test_candidates_hold_what_they_must_and_nothing_twice(classes, most):
    """Guards against a forced caption overwritten by another, or a second right one: chance would be another."""
    names = [f"sound {number}" for number in range(classes)]
    scenes = make_scenes(30, names)
    questions = ask(scenes, names)
    assert len(set(questions.captions)) == len(questions.captions)
    assert questions.candidates_4a.shape == questions.candidates_4b.shape == (30, most)
    for row, scene in enumerate(scenes):
        f, r = (f"{scene.class_a} before {scene.class_b}", f"{scene.class_b} before {scene.class_a}")
        w = f"{scene.class_a} while {scene.class_b}"
        of_4a, of_4b = (
            [questions.captions[n] for n in of[row]] for of in (questions.candidates_4a, questions.candidates_4b)
        )
        assert of_4a[:2] == [f, w] and of_4b[:3] == [f, r, w]
        assert len(set(of_4a)) == len(set(of_4b)) == most
        assert len({name for words in of_4a for name in words.replace(" while ", " before ").split(" before ")}) <= 7
    again = ask(scenes, names)
    assert np.array_equal(again.candidates_4a, questions.candidates_4a) and again.captions == questions.captions
    assert abs(int(questions.heard_forward.sum()) - 15) == 0
    some = questions.select(np.array([3, 8]))
    assert np.array_equal(some.pair, questions.pair[[3, 8]]) and len(some.orders["after"]) == 2
    if classes == 12:
        reversal = (questions.candidates_4a == questions.orders["before"][:, 1:]).any(axis=1)
        assert 0 < reversal.mean() < 1  # in 4A it may be drawn, and need not be


def test_controls_take_away_what_they_say():
    """Guards against a control that leaves order in, or changes what a perfect listener says about two sounds."""
    scenes, oracle = make_scenes(80, NAMES), Oracle(NAMES)
    questions = ask(scenes, NAMES)
    texts, plain = oracle.texts(questions), oracle.audio(scenes, True)
    alone = [unit(np.stack([oracle.place(0, name) + 0.1 * oracle.place(1, name) + 0.1 * oracle.place(2, name)
                            for name in names]))
             for names in ([s.class_a for s in scenes], [s.class_b for s in scenes])]  # fmt: skip
    sorted_of = {words: bag_of_words(words) for words in questions.captions}
    first_of = {bag: words for words, bag in sorted_of.items()}
    number = {words: place for place, words in enumerate(questions.captions)}
    rows = [number[first_of[sorted_of[words]]] for words in questions.captions]
    bags = Texts(texts.classes, texts.first, texts.second, texts.captions[rows])
    swapped = (plain.reverse, plain.forward)
    audio = ControlAudio(plain, *alone, softer=(plain.forward, plain.reverse), louder=swapped)
    found = control_tasks(audio, texts, bags, questions)
    assert {control: round(float(of["3C"].values(True).mean()), 6) for control, of in found.items()} == {
        "shuffled_audio": pytest.approx(0.5, abs=0.2), "bag_of_words": 0.5, "time_averaged": 0.5,
        "second_softer": 1.0, "second_louder": 0.0,
    }  # fmt: skip
    assert found["time_averaged"]["4B"].values(True).mean() == pytest.approx(0.5)
    assert found["time_averaged"]["2C"].values().all()
    assert not found["bag_of_words"]["3C"].values().any()
    assert not found["bag_of_words"]["6C/reversed_gap_R@1"].values(True).any()
    assert found["shuffled_audio"]["2C"].values().mean() < 0.3


def test_shuffles_leave_nothing_in_place():
    """Guards against a scene that keeps its audio."""
    for count in (2, 3, 50):
        order = derangement(count, 0)
        assert sorted(order) == list(range(count)) and (order != np.arange(count)).all()
    assert bag_of_words("rain before clock tick") == "before clock rain tick" == bag_of_words("clock tick before rain")


def test_values_of_parts_and_of_parts_of_the_scenes():
    """Guards against half a hit that counts as one, and scenes mixed up where an outcome has some of them alone."""
    of = outcome(np.array([[1, 0.5], [1, 1], [0, 0]]), 0.5)
    assert of.values().tolist() == [0.5, 1, 0] and of.values(True).tolist() == [0.75, 1, 0]
    single = outcome(np.array([1, 0.5]), 0.5)
    assert single.values().dtype == bool and single.values(True).tolist() == [1, 0.5]
    some = outcome(np.array([1.0, 0, 1]), 0.5, rows=np.array([0, 2, 4])).select(np.array([0, 1, 1, 1, 1], dtype=bool))
    assert some.values().tolist() == [False, True] and some.rows.tolist() == [2, 4]
