"""mteb's evaluation of our checkpoints, on tasks made here: its scores are those of `zero_shot` and `retrieval`."""

import io
import json

import numpy as np
import pytest
import soundfile
import torch
from conftest import CAPTIONS, settle, tiny_clap, tiny_model
from datasets import Audio, Dataset, DatasetDict
from torch.utils.data import DataLoader

from modeling_clap_student import InputError
from modeling_clap_student.checkpoints.embedding import embed_clips, embed_texts
from modeling_clap_student.checkpoints.loading import load_checkpoint
from modeling_clap_student.curation.strategies import label_prompts
from modeling_clap_student.data.benchmarks import read_benchmark
from modeling_clap_student.data.skipping import SkippedClips
from modeling_clap_student.evaluation.zero_shot import zero_shot
from modeling_clap_student.utils.ranking import retrieval


mteb = pytest.importorskip("mteb", reason="mteb is not installed: pip install -e '.[mteb]'")
from mteb.abstasks import AbsTaskRetrieval, AbsTaskZeroShotClassification  # noqa: E402
from mteb.abstasks.task_metadata import TaskMetadata  # noqa: E402

from modeling_clap_student.evaluation.mteb_adapter import MtebModel  # noqa: E402


LABELS = ["hiss", "hum", "whistle"]
LONG = "a low hum and a soft hiss " * 40  # more tokens than either model reads


def about(name: str, kind: str, score: str, modalities: list[str], category: str) -> TaskMetadata:
    return TaskMetadata(
        name=name, type=kind, main_score=score, modalities=modalities, category=category, description="tones",
        dataset={"path": "no/where", "revision": "1"}, eval_splits=["test"], eval_langs=["eng-Latn"],
        reference=None, date=None, domains=None, task_subtypes=None, license=None, annotations_creators=None,
        dialect=None, sample_creation=None, bibtex_citation="",
    )  # fmt: skip


class ToneLabels(AbsTaskZeroShotClassification):
    metadata = about("ToneLabels", "AudioZeroshotClassification", "accuracy", ["audio", "text"], "a2t")
    input_column_name = "audio"

    def get_candidate_labels(self):
        return label_prompts(LABELS)


class TonesToTexts(AbsTaskRetrieval):
    metadata = about("TonesToTexts", "Any2AnyRetrieval", "hit_rate_at_1", ["audio", "text"], "a2t")


class TextsToTones(AbsTaskRetrieval):
    metadata = about("TextsToTones", "Any2AnyRetrieval", "hit_rate_at_1", ["text", "audio"], "t2a")


@pytest.fixture
def clips_folder(tmp_path):
    """12 tones of three classes: of other rates, some in stereo, some longer than a window, one much longer."""
    lines, rng = ["file_name,label"], np.random.default_rng(0)
    for number in range(12):
        rate, seconds = (44100, 48000, 16000)[number % 3], (0.7, 3.0, 6.5, 13.0)[number % 4]
        time = np.arange(int(seconds * rate)) / rate
        tone = np.sin(2 * np.pi * 150 * 1.5**number * time) * 0.6 / (1 + number)
        clip = tone[:, None] + 0.02 * number * rng.normal(size=(len(time), 1 + number % 2))
        (tmp_path / "clips").mkdir(exist_ok=True)
        soundfile.write(tmp_path / "clips" / f"{number:02}.wav", clip, rate)
        lines.append(f"{number:02}.wav,{LABELS[number * 7 % 3]}")
    (tmp_path / "clips" / "metadata.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "clips"


@pytest.fixture(params=["clap_student", "clap"])
def checkpoint(request, tmp_path) -> str:
    """Either kind of model that `load_checkpoint` opens."""
    if request.param == "clap":
        return tiny_clap(tmp_path / "clap")
    settle(tiny_model()[0]).save_pretrained(tmp_path / "tiny")
    return str(tmp_path / "tiny")


def file_bytes(folder) -> list[dict]:
    """The files as a Parquet file of the Hub holds them."""
    return [{"bytes": file.read_bytes(), "path": None} for file in sorted(folder.glob("*.wav"))]


def run(task, model, folder) -> tuple[dict, dict]:
    """The task's scores and what it says it predicted."""
    task.data_loaded = True
    result = mteb.evaluate(model, task, cache=None, prediction_folder=folder, show_progress_bar=False)
    predictions = json.loads((folder / f"{task.metadata.name}_predictions.json").read_text())
    return result.task_results[0].scores["test"][0], predictions["default"]["test"]


def test_zero_shot_task_scores_as_zero_shot_does(checkpoint, clips_folder, tmp_path):
    """Guards against clips cut, resampled or mixed down in another way, and vectors that are compared otherwise."""
    benchmark = read_benchmark(str(clips_folder))
    model, processor = load_checkpoint(checkpoint)
    expected = zero_shot(model, processor, benchmark, SkippedClips(tmp_path / "skipped.csv"))
    assert benchmark.class_names == LABELS and len(set(expected.predictions)) > 1 and 0 < expected.accuracy < 1
    task = ToneLabels()
    labels = [LABELS.index(label) for label in benchmark.clips["label"]]
    table = Dataset.from_dict({"audio": file_bytes(clips_folder), "label": labels}).cast_column("audio", Audio())
    task.dataset = DatasetDict({"test": table})
    scores, cosines = run(task, MtebModel(checkpoint), tmp_path)
    assert scores["accuracy"] == pytest.approx(expected.accuracy)
    assert [LABELS[number] for number in np.argmax(cosines, axis=1)] == expected.predictions


def test_retrieval_tasks_score_as_retrieval_does(checkpoint, clips_folder, tmp_path):
    """Guards against a text too long for the model, and clips or texts in another order than their ids."""
    clips = read_benchmark(str(clips_folder)).clips
    texts = [
        f"{CAPTIONS[number % 4]} {' and '.join(LABELS[: number // 4])} {'tone ' * number}" for number in range(23)
    ]
    texts.append(LONG)
    clip_of_text = np.arange(24) % 12
    model, processor = load_checkpoint(checkpoint)
    audio_embeds, _ = embed_clips(model, processor, clips, SkippedClips(tmp_path / "skipped.csv"))
    with pytest.warns(UserWarning, match="what goes beyond is cut"):
        text_embeds = embed_texts(model, processor, texts)
    expected = retrieval(audio_embeds, text_embeds, clip_of_text)
    audio = {"id": [f"a{number}" for number in range(12)], "audio": file_bytes(clips_folder)}
    audio = Dataset.from_dict(audio).cast_column("audio", Audio())
    text = Dataset.from_dict({"id": [f"t{number}" for number in range(24)], "text": texts})
    adapter = MtebModel(checkpoint)
    for task, way in ((TonesToTexts(), "audio_to_text"), (TextsToTones(), "text_to_audio")):
        queries, corpus = (audio, text) if way == "audio_to_text" else (text, audio)
        relevant: dict[str, dict[str, int]] = {}
        for number, clip in enumerate(clip_of_text):
            query, item = (f"a{clip}", f"t{number}") if way == "audio_to_text" else (f"t{number}", f"a{clip}")
            relevant.setdefault(query, {})[item] = 1
        data = {"queries": queries, "corpus": corpus, "relevant_docs": relevant, "top_ranked": None}
        task.dataset = {"default": {"test": data}}
        with pytest.warns(UserWarning, match="what goes beyond is cut"):
            scores, _ = run(task, adapter, tmp_path)
        for theirs, ours in (("hit_rate_at_1", "R@1"), ("hit_rate_at_5", "R@5"), ("map_at_10", "mAP@10")):
            assert scores[theirs] == pytest.approx(expected[f"{way}_{ours}"], abs=1e-5), (way, ours)


def encode(model, table: Dataset) -> np.ndarray:
    return model.encode(DataLoader(table), task_metadata=None, hf_split="test", hf_subset="default")


@pytest.fixture
def adapter(tiny_folder):
    return MtebModel(tiny_folder)


def test_decoded_clips_embed_as_files_do(adapter, clips_folder):
    """Guards against clips given as arrays whose rate or channels pass unseen."""
    files, decoded = sorted(clips_folder.glob("*.wav"))[:6], []
    for file in files:
        samples, rate = soundfile.read(file, dtype="float32")
        decoded.append({"array": samples if samples.ndim == 1 else samples.T.tolist(), "sampling_rate": rate})
    encoded = [{"bytes": None, "path": str(file)} for file in files]
    embeds = [encode(adapter, Dataset.from_dict({"audio": [clip]})) for clip in (*decoded, *encoded)]
    expected = adapter.model.encode_audio(files)
    for got in (embeds[:6], embeds[6:]):
        torch.testing.assert_close(torch.from_numpy(np.concatenate(got)), expected)
    torch.testing.assert_close(expected.norm(dim=1), torch.ones(6))


def test_text_beside_audio_is_added(adapter, clips_folder):
    """Guards against a row of both whose text or audio is left out, as in tasks of mixed queries."""
    both = Dataset.from_dict({"audio": file_bytes(clips_folder)[:3], "text": CAPTIONS[:3]})
    got = encode(adapter, both)
    parts = [encode(adapter, both.select_columns(name)) for name in ("audio", "text")]
    np.testing.assert_allclose(got, sum(parts) / np.linalg.norm(sum(parts), axis=1)[:, None], rtol=1e-5)
    with pytest.raises(InputError, match=r"'text' or 'audio' .* got image"):
        encode(adapter, Dataset.from_dict({"image": [1]}))


@pytest.mark.parametrize(
    ("clip", "reason"),
    [
        ({"bytes": b"no audio", "path": None}, "not decodable"),
        ({"bytes": None, "path": "gone.wav"}, "no such file"),
        ({"array": [], "sampling_rate": 44100}, "no samples"),
        ({"array": [0.0, float("nan")], "sampling_rate": 44100}, "NaN"),
    ],
)
def test_a_clip_that_cannot_be_read_is_named(adapter, clip, reason):
    """Guards against rows left out, after which every score speaks of other rows."""
    tone = np.full(44100, 0.1, dtype=np.float32)
    soundfile.write(file := io.BytesIO(), tone, 44100, format="WAV")
    whole = {"array": tone, "sampling_rate": 44100} if "array" in clip else {"bytes": file.getvalue(), "path": None}
    with pytest.raises(InputError, match=f"row 1: .*{reason}"):
        encode(adapter, Dataset.from_dict({"audio": [whole, clip]}))


def test_a_model_trained_anew_is_another_revision(tiny, tmp_path):
    """Guards against mteb's cache, which gives the old model's scores to a new one in the same folder."""
    model, _ = tiny
    model.save_pretrained(tmp_path / "tiny")
    first = MtebModel(tmp_path / "tiny").mteb_model_meta
    again = MtebModel(tmp_path / "tiny").mteb_model_meta
    with torch.no_grad():
        next(model.parameters()).add_(1)
    model.save_pretrained(tmp_path / "tiny")
    changed = MtebModel(tmp_path / "tiny").mteb_model_meta
    assert first.revision == again.revision != changed.revision
    assert first.name == changed.name == str(tmp_path / "tiny")
    assert set(first.modalities) == {"audio", "text"} and first.embed_dim == 32 and first.max_tokens == 100
