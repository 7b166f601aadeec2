"""Scenes as models hear them: rendered once for all, each model's own windows, the scores that training asks for."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import settle, tiny_clap, tiny_model, write_tone

from modeling_clap_student.checkpoints.loading import load_checkpoint
from modeling_clap_student.data.benchmarks import read_benchmark
from modeling_clap_student.data.skipping import SkippedClips
from modeling_clap_student.errors import InputError
from modeling_clap_student.evaluation.validation import quick_scores
from modeling_clap_student.evaluation.zste.evaluation import (
    control_audio,
    embed_scenes,
    evaluate_scenes,
    every_variant,
)
from modeling_clap_student.evaluation.zste.questions import cosines
from modeling_clap_student.evaluation.zste.result import SceneSet
from modeling_clap_student.temporal.scenes import Deck, SceneRenderer


@pytest.fixture
def folder(tmp_path) -> Path:
    """Eight clips of four classes."""
    for number, name in enumerate(("dog", "hen", "rain", "train")):
        for take in range(2):
            write_tone(tmp_path / "set" / name / f"{take}.wav", 140 * (2 * number + take + 1), seconds=1.2)
    return tmp_path / "set"


@pytest.fixture
def scene_set(folder) -> SceneSet:
    benchmark = read_benchmark(str(folder))
    return SceneSet("zste=set", benchmark, Deck(benchmark.clips, 0).scenes(8))


@pytest.fixture
def skipped(tmp_path) -> SkippedClips:
    return SkippedClips(tmp_path / "skipped.csv")


@pytest.fixture
def heard() -> tuple:
    """A model that hears a difference, and its processor."""
    model, processor = tiny_model()
    return settle(model), processor


class Counted:
    """A renderer that counts what it renders."""

    def __init__(self, renderer: SceneRenderer):
        self.renderer, self.calls, self.sampling_rate = renderer, [], renderer.sampling_rate

    def render(self, scene, relation, second_gain_db=0.0):
        self.calls.append((scene.id, relation, second_gain_db))
        return self.renderer.render(scene, relation, second_gain_db)


def test_two_models_hear_the_same_rendering_each_as_if_alone(heard, scene_set, skipped):
    """Guards against scenes rendered once a model or once a task, and vectors under another scene's number."""
    other, processor = tiny_model()
    with torch.no_grad():
        for weight in settle(other).audio_projection.parameters():
            weight.add_(0.3 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
    counted = Counted(SceneRenderer(scene_set.clips, 44100, skipped))
    both, rows = embed_scenes(
        [heard, (other, processor)], scene_set.scenes, every_variant(counted), skipped, batch_size=5
    )
    assert rows.tolist() == list(range(8))
    assert len(counted.calls) == len(set(counted.calls)) == 8 * 7
    renderer = SceneRenderer(scene_set.clips, 44100, skipped)
    scene = scene_set.scenes[3]
    forward = renderer.render(scene, "forward")
    border = round(scene.border * 44100)
    expected = {
        "forward": forward,
        "reverse": renderer.render(scene, "reverse"),
        "overlay": renderer.render(scene, "overlay"),
        "first": forward[:border],
        "second": forward[border:],
        "softer": renderer.render(scene, "forward", -6.0),
        "louder": renderer.render(scene, "reverse", 6.0),
    }
    for model, of_model in zip((heard[0], other), both, strict=True):
        audio = control_audio(of_model)
        got = {
            "forward": audio.plain.forward, "reverse": audio.plain.reverse, "overlay": audio.plain.overlay,
            "first": audio.first_alone, "second": audio.second_alone,
            "softer": audio.softer[0], "louder": audio.louder[1],
        }  # fmt: skip
        for name, waveform in expected.items():
            with torch.no_grad():
                windows = torch.from_numpy(processor.feature_extractor.windows(waveform))
                vector = torch.nn.functional.normalize(model.get_audio_features(windows).pooler_output.mean(0), dim=0)
            assert np.allclose(got[name][3], vector.numpy(), atol=1e-5), name
        alone, _ = embed_scenes([(model, processor)], scene_set.scenes, every_variant(renderer), skipped, batch_size=5)
        assert np.array_equal(alone[0], of_model)
    assert not np.allclose(both[0], both[1], atol=1e-3)


def test_a_scene_of_a_broken_clip_is_left_out(heard, folder, skipped):
    """Guards against a scene that takes its neighbour's vectors, and one clip that ends the run."""
    (folder / "dog" / "0.wav").write_text("broken")
    benchmark = read_benchmark(str(folder))
    scenes = Deck(benchmark.clips, 0).scenes(12)
    good = [place for place, scene in enumerate(scenes) if "dog/0.wav" not in scene.clip_a + scene.clip_b]
    assert 2 <= len(good) < 12
    result = evaluate_scenes({"m": heard}, SceneSet("zste=set", benchmark, scenes), skipped)["m"]
    assert result.rows.tolist() == good and len(result.outcomes["3C"].values()) == len(good)
    assert len(result.clip_ids) == 7 and list(skipped.read()) == ["set/dog/0.wav"]
    alone = evaluate_scenes({"m": heard}, SceneSet("zste=set", benchmark, [scenes[g] for g in good]), skipped)["m"]
    for metric in ("2A", "2B", "3B", "3E", "4A"):  # what does not depend on which order is heard
        assert np.array_equal(result.outcomes[metric].values(), alone.outcomes[metric].values()), metric
    items = result.item_scores()["3C"].items.tolist()
    assert items == [scenes[place].id for place in good]
    for name in ("0.wav", "1.wav"):
        for label in ("dog", "hen", "rain", "train"):
            (folder / label / name).write_text("broken")
    with pytest.raises(InputError, match="none of the 12 scenes"):
        evaluate_scenes({"m": heard}, SceneSet("zste=set", benchmark, scenes), skipped)


def test_what_training_asks_for_is_what_the_whole_finds(heard, scene_set, skipped):
    """Guards against a checkpoint chosen by another order, another prompt or another mode than is evaluated."""
    model, processor = heard
    renderer = SceneRenderer(scene_set.clips, 44100, skipped)
    model.train()
    scores = quick_scores(model, processor, scene_set.scenes, renderer, scene_set.benchmark, skipped)
    assert model.training and set(scores) == {"accuracy_1a", "order"}
    whole = evaluate_scenes({"m": (model.eval(), processor)}, scene_set, skipped)["m"].outcomes
    assert scores["accuracy_1a"] == whole["1A"].values().mean()
    assert scores["order"] == whole["3C"].values().mean()
    ask = {"connectives": ("before", "preceded by")}
    mixed = quick_scores(model, processor, scene_set.scenes, renderer, scene_set.benchmark, skipped, **ask)
    before, preceded = whole["3C"].values().copy(), whole["6B/preceded_by"].values()
    before[1::2] = preceded[1::2]
    assert mixed["order"] == before.mean()


@pytest.mark.slow
def test_any_clap_beside_ours_at_its_own_rate(heard, scene_set, skipped, tmp_path):
    """Guards against scenes at the rate of another model, and models that hear other scenes."""
    theirs = load_checkpoint(tiny_clap(tmp_path / "clap"))
    results = evaluate_scenes({"ours": heard, "theirs": theirs}, scene_set, skipped)
    assert list(results) == ["ours", "theirs"]
    assert results["ours"].questions.captions == results["theirs"].questions.captions
    alone = evaluate_scenes({"theirs": theirs}, scene_set, skipped)["theirs"]
    for metric, of in results["theirs"].outcomes.items():
        assert np.array_equal(of.values(), alone.outcomes[metric].values()), metric
    renderer = SceneRenderer(scene_set.clips, 48000, skipped)
    (embeds,), _ = embed_scenes([theirs], scene_set.scenes[:1], every_variant(renderer), skipped)
    windows = theirs[1].feature_extractor.windows(renderer.render(scene_set.scenes[0], "overlay"))
    assert len(windows) == 5
    with torch.no_grad():
        each = theirs[0].get_audio_features(torch.from_numpy(windows)).pooler_output
    mean = torch.nn.functional.normalize(each.mean(dim=0), dim=0).numpy()
    assert cosines(embeds[:, 2], mean[None])[0, 0] == pytest.approx(1, abs=1e-5)


def test_a_model_that_gives_nan_is_told(heard, scene_set, skipped):
    """Guards against comparisons with NaN, which are all false, and a score of 0 that seems measured."""
    with torch.no_grad():
        next(heard[0].audio_projection.parameters()).fill_(float("nan"))
    with pytest.raises(InputError, match="is not finite"):
        evaluate_scenes({"m": heard}, scene_set, skipped)
