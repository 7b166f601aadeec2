"""mteb's own wrapper evaluates a checkpoint: its scores are those of `zero_shot` and `retrieval`.

The tasks are made here. Their clips are decoded, as mteb's are by torchcodec.
"""

import json

import numpy as np
import pytest
import soundfile
import torch
from conftest import CAPTIONS, settle, tiny_model
from datasets import Dataset, DatasetDict
from hub_server import HubServer, run_python
from torch.utils.data import DataLoader

from modeling_clap_student import ClapStudentModel
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
from mteb.models import SentenceTransformerEncoderWrapper  # noqa: E402


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


@pytest.fixture
def checkpoint(tmp_path) -> str:
    settle(tiny_model()[0]).save_pretrained(tmp_path / "tiny")
    return str(tmp_path / "tiny")


def wrapped(folder: str) -> SentenceTransformerEncoderWrapper:
    """As README says for a folder: mteb asks the Hub alone what a model hears."""
    model = SentenceTransformerEncoderWrapper(folder, trust_remote_code=True, target_sampling_rate=44100, device="cpu")
    model.mteb_model_meta = model.mteb_model_meta.model_copy(update={"modalities": ["audio", "text"]})
    return model


def decoded(folder) -> list[dict]:
    """The clips as `datasets` decodes them."""
    read = [soundfile.read(file, dtype="float32", always_2d=True) for file in sorted(folder.glob("*.wav"))]
    return [{"array": samples.mean(axis=1), "sampling_rate": rate} for samples, rate in read]


def run(task, model, folder) -> tuple[dict, dict]:
    """The task's scores and what it says it predicted."""
    task.data_loaded = True
    result = mteb.evaluate(model, task, cache=None, prediction_folder=folder, show_progress_bar=False)
    predictions = json.loads((folder / f"{task.metadata.name}_predictions.json").read_text())
    return result.task_results[0].scores["test"][0], predictions["default"]["test"]


def test_zero_shot_task_scores_as_zero_shot_does(checkpoint, clips_folder, tmp_path):
    """Guards against clips cut, resampled or mixed down in another way, and vectors compared in another way."""
    benchmark = read_benchmark(str(clips_folder))
    model, processor = load_checkpoint(checkpoint)
    expected = zero_shot(model, processor, benchmark, SkippedClips(tmp_path / "skipped.csv"))
    assert benchmark.class_names == LABELS and len(set(expected.predictions)) > 1 and 0 < expected.accuracy < 1
    task = ToneLabels()
    labels = [LABELS.index(label) for label in benchmark.clips["label"]]
    task.dataset = DatasetDict({"test": Dataset.from_dict({"audio": decoded(clips_folder), "label": labels})})
    scores, cosines = run(task, wrapped(checkpoint), tmp_path)
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
    audio = Dataset.from_dict({"id": [f"a{number}" for number in range(12)], "audio": decoded(clips_folder)})
    text = Dataset.from_dict({"id": [f"t{number}" for number in range(24)], "text": texts})
    model_of_mteb = wrapped(checkpoint)
    for task, way in ((TonesToTexts(), "audio_to_text"), (TextsToTones(), "text_to_audio")):
        queries, corpus = (audio, text) if way == "audio_to_text" else (text, audio)
        relevant: dict[str, dict[str, int]] = {}
        for number, clip in enumerate(clip_of_text):
            query, item = (f"a{clip}", f"t{number}") if way == "audio_to_text" else (f"t{number}", f"a{clip}")
            relevant.setdefault(query, {})[item] = 1
        data = {"queries": queries, "corpus": corpus, "relevant_docs": relevant, "top_ranked": None}
        task.dataset = {"default": {"test": data}}
        with pytest.warns(UserWarning, match="what goes beyond is cut"):
            scores, _ = run(task, model_of_mteb, tmp_path)
        for theirs, ours in (("hit_rate_at_1", "R@1"), ("hit_rate_at_5", "R@5"), ("map_at_10", "mAP@10")):
            assert scores[theirs] == pytest.approx(expected[f"{way}_{ours}"], abs=1e-5), (way, ours)


def encode(model, table: Dataset) -> np.ndarray:
    metadata = ToneLabels.metadata
    return model.encode(DataLoader(table), task_metadata=metadata, hf_split="test", hf_subset="default")


def test_text_beside_audio_is_added(checkpoint, clips_folder):
    """Guards against a row of both whose text or audio is left out, as in tasks of mixed queries."""
    model = wrapped(checkpoint)
    both = Dataset.from_dict({"audio": decoded(clips_folder)[:3], "text": CAPTIONS[:3]})
    got = encode(model, both)
    parts = [encode(model, both.select_columns(name)) for name in ("audio", "text")]
    np.testing.assert_allclose(got, sum(parts) / np.linalg.norm(sum(parts), axis=1)[:, None], rtol=1e-5)


def test_clips_at_the_models_rate_embed_to_the_bit(checkpoint, clips_folder):
    """Guards against a second resampling, and clips whose rate is taken for another."""
    table = Dataset.from_dict({"audio": decoded(clips_folder)[::3]})
    expected = ClapStudentModel.from_pretrained(checkpoint).encode_audio(sorted(clips_folder.glob("*.wav"))[::3])
    assert torch.equal(torch.from_numpy(encode(wrapped(checkpoint), table)), expected)


@pytest.mark.slow
def test_a_model_of_the_hub_is_loaded_by_its_name(checkpoint):
    """Guards against a checkpoint that mteb takes for one of texts alone."""
    code = f"""
from modeling_clap_student import ClapStudentModel
ClapStudentModel.from_pretrained({checkpoint!r}).push_to_hub("me/tiny")
"""
    ask = """
import sys; sys.modules["modeling_clap_student"] = None
import mteb
model = mteb.get_model("me/tiny", trust_remote_code=True, target_sampling_rate=44100, device="cpu")
meta = model.mteb_model_meta
print()  # after transformers' question whether to trust the config's code
print(*meta.modalities, meta.revision, type(model).__name__, type(model.model[0]).__name__, model.target_sampling_rate)
"""
    with HubServer({"hf_me_secret": "me"}) as server:
        run_python(code, server, "hf_me_secret")
        seen = run_python(ask, server).stdout.strip().splitlines()[-1].split()
        revision = server.repos["models", "me/tiny"].commits[-1].id
    assert seen == ["audio", "text", revision, "SentenceTransformerEncoderWrapper", "SentenceClapStudent", "44100"]
