"""Models of other libraries as teachers: a `SentenceTransformer`, and what transformers' Auto classes load."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import CAPTIONS, FAST, ROOT, SMALL, check_failure, numbers, tiny_clap, with_bfloat16
from datasets import Dataset
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModel,
    AutoTokenizer,
    BertConfig,
    BertModel,
    ClapModel,
    Wav2Vec2FeatureExtractor,
)

from modeling_clap_student import (
    ClapStudentTrainer,
    ClapStudentTrainingArguments,
    InputError,
    curate,
    evaluate_zero_shot,
)
from modeling_clap_student.checkpoints.embedding import embed_texts
from modeling_clap_student.checkpoints.foreign import ForeignModel
from modeling_clap_student.checkpoints.inference import for_inference
from modeling_clap_student.checkpoints.initialization import scratch_tokenizer
from modeling_clap_student.checkpoints.loading import as_checkpoint, load_checkpoint
from modeling_clap_student.commands import curate as run_curate
from modeling_clap_student.commands import evaluate as run_eval
from modeling_clap_student.commands import student as run_student
from modeling_clap_student.data.sources import split_revision
from modeling_clap_student.encoding_clap_student import embed_windows
from modeling_clap_student.hub_clap_student import fingerprint
from modeling_clap_student.redaction_clap_student import public
from modeling_clap_student.training.frozen_teacher import FrozenTeacher


library = pytest.importorskip("sentence_transformers")
SentenceTransformer = library.SentenceTransformer

# A first module that hears 8 kHz, in windows of half a second, and reads letters.
HEARING = """
import torch
from sentence_transformers.base.modules import InputModule


class Hearing(InputModule):
    config_keys = ["dim", "text_dim"]
    sampling_rate, window_seconds = 8000, 0.5
    modalities = {modalities}

    def __init__(self, dim=6, text_dim=6):
        super().__init__()
        self.dim, self.text_dim = dim, text_dim
        self.audio, self.text = torch.nn.Linear(400, dim), torch.nn.Embedding(128, text_dim)

    def preprocess(self, inputs, prompt=None, **kwargs):
        if isinstance(inputs[0], str):
            longest = max(map(len, inputs))
            letters = [[ord(letter) % 128 for letter in text.ljust(longest)] for text in inputs]
            return {{"letters": torch.tensor(letters)}}
        assert all(clip["sampling_rate"] == 8000 for clip in inputs)
        longest = max(len(clip["array"]) for clip in inputs)
        if longest < {shortest}:
            raise ValueError("a clip is too short")
        clips = [torch.from_numpy(clip["array"]) for clip in inputs]
        return {{"samples": torch.stack([torch.nn.functional.pad(clip, (0, longest - len(clip))) for clip in clips])}}

    def forward(self, features, **kwargs):
        if "letters" in features:
            vectors = self.text(features["letters"]).mean(dim=1)
        else:
            frames = features["samples"].unfold(1, 400, 200)
            vectors = self.audio(frames * {gain}).tanh().mean(dim=1)
        return features | {{"sentence_embedding": vectors}}

    def save(self, output_path, *args, safe_serialization=True, **kwargs):
        self.save_config(output_path)
        self.save_torch_weights(output_path, safe_serialization=safe_serialization)

    @classmethod
    def load(cls, model_name_or_path, **kwargs):
        names = ("subfolder", "token", "cache_folder", "revision", "local_files_only")
        hub = {{name: kwargs[name] for name in names if name in kwargs}}
        module = cls(**cls.load_config(model_name_or_path, **hub))
        return cls.load_torch_weights(model_name_or_path, model=module, **hub)
"""
USUAL = {"modalities": '["text", "audio"]', "shortest": 400, "gain": "1"}

# A model of transformers of a kind that it does not know: 16 kHz, with or without a name for what it returns.
TINY = """
import torch
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling


class TinyConfig(PreTrainedConfig):
    model_type = "tiny_hearing"

    def __init__(self, dim=6, named=False, vocab_size=99, **kwargs):
        self.dim, self.named, self.vocab_size = dim, named, vocab_size
        super().__init__(**kwargs)


class TinyModel(PreTrainedModel):
    config_class = TinyConfig

    def __init__(self, config):
        super().__init__(config)
        self.audio = torch.nn.Linear(400, config.dim)
        self.words = torch.nn.Embedding(config.vocab_size, config.dim)
        self.logit_scale = torch.nn.Parameter(torch.tensor(2.0))
        self.post_init()

    def get_audio_features(self, input_values):
        return self._output(self.audio(input_values.unfold(1, 400, 200)).tanh().mean(dim=1))

    def get_text_features(self, input_ids, attention_mask=None):
        mask = attention_mask[..., None]
        return self._output((self.words(input_ids) * mask).sum(dim=1) / mask.sum(dim=1))

    def _output(self, vectors):
        return BaseModelOutputWithPooling(pooler_output=vectors) if self.config.named else vectors
"""


@pytest.fixture(autouse=True)
def own_cache_of_code(tmp_path_factory, monkeypatch):
    """Code from checkpoints is copied into a folder that stays: transformers reads it again in later tests."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path_factory.mktemp("modules")))
    monkeypatch.setattr(sys, "path", list(sys.path))


def hearing(folder: Path, monkeypatch, sizes=(6, 6), **changes):
    """A `SentenceTransformer` of two modules, the first of them of code that lies in the folder."""
    from sentence_transformers.base.modules import Dense

    name = f"hearing_{folder.parent.name}_{folder.name}".replace("-", "_")
    folder.mkdir()
    (folder / f"{name}.py").write_text(HEARING.format(**USUAL | changes))
    monkeypatch.syspath_prepend(str(folder))
    torch.manual_seed(1)
    first = importlib.import_module(name).Hearing(*sizes)
    torch.nn.init.normal_(first.audio.weight, std=0.2)
    modules = [first, Dense(6, 5, bias=False)] if sizes == (6, 6) else [first]
    model = SentenceTransformer(modules=modules, device="cpu")
    model.save(str(folder))
    (folder / f"{name}.py").write_text(HEARING.format(**USUAL | changes))
    return model


def tiny_auto(folder: Path, named: bool = False) -> str:
    folder.mkdir()
    (folder / "modeling_tiny.py").write_text(TINY)
    tokenizer = scratch_tokenizer([*CAPTIONS, "this is a sound of hum hiss whistle tone"])
    config = {"model_type": "tiny_hearing", "named": named, "vocab_size": len(tokenizer)}
    code = {"AutoConfig": "modeling_tiny.TinyConfig", "AutoModel": "modeling_tiny.TinyModel"}
    (folder / "config.json").write_text(json.dumps(config | {"auto_map": code}))
    torch.manual_seed(2)
    model = AutoModel.from_config(
        AutoConfig.from_pretrained(folder, trust_remote_code=True), trust_remote_code=True
    ).eval()
    torch.nn.init.normal_(model.audio.weight, std=0.2)
    torch.nn.init.normal_(model.words.weight)
    written = json.loads((folder / "config.json").read_text())
    model.save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps(written | {"architectures": ["TinyModel"]}))
    (folder / "modeling_tiny.py").write_text(TINY)
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(params=["st of CLAP", "st of two modules", "auto"])
def teacher(request, tmp_path, monkeypatch):
    """(what is given for a teacher, its own embedding of clips and of texts)."""
    if request.param == "auto":
        folder = tiny_auto(tmp_path / "tiny")
        model = AutoModel.from_pretrained(folder, trust_remote_code=True).eval()
        return (model, Parts(folder)), *by_itself(model, folder)
    if request.param == "st of CLAP":
        model = SentenceTransformer(tiny_clap(tmp_path / "clap"), device="cpu")
    else:
        model = hearing(tmp_path / "two", monkeypatch)

    def clips(windows, rate):
        return [model.encode([{"array": w, "sampling_rate": rate}], normalize_embeddings=True)[0] for w in windows]

    return model, clips, lambda texts: [model.encode([text], normalize_embeddings=True)[0] for text in texts]


class Parts:
    def __init__(self, folder):
        self.feature_extractor = AutoFeatureExtractor.from_pretrained(folder)
        self.tokenizer = AutoTokenizer.from_pretrained(folder)


def by_itself(model, folder):
    parts = Parts(folder)

    @torch.no_grad()
    def clips(windows, rate):
        inputs = [parts.feature_extractor(w, sampling_rate=rate, return_tensors="pt") for w in windows]
        return [F.normalize(as_tensor(model.get_audio_features(**i)), dim=-1)[0].numpy() for i in inputs]

    @torch.no_grad()
    def texts(texts):
        tokens = [parts.tokenizer([text], return_tensors="pt") for text in texts]
        tokens = [{name: each[name] for name in ("input_ids", "attention_mask")} for each in tokens]
        return [F.normalize(as_tensor(model.get_text_features(**each)), dim=-1)[0].numpy() for each in tokens]

    return clips, texts


def as_tensor(output):
    return output if isinstance(output, torch.Tensor) else output.pooler_output


def sounds(rate: int, window: int) -> list[np.ndarray]:
    """Longer and shorter than a window, and exactly one."""
    rng = np.random.default_rng(0)
    sizes = [window, window // 2, 2 * window + window // 3, window - 100, window, window // 2]
    return [rng.uniform(-0.5, 0.5, size).astype(np.float32) for size in sizes]


TEXTS = ["a low hum", "hiss", "a high whistle", "a steady tone", "soft hiss", "tone"]


def test_vectors_are_its_own(teacher):
    """Guards against another rate, window, normalisation, prompt or output than the model's own."""
    given, clips_by_itself, texts_by_itself = teacher
    model, processor = as_checkpoint(given)
    extractor = processor.feature_extractor
    rate, window = extractor.sampling_rate, extractor.window_samples
    assert (rate, window) in [(48000, 96000), (8000, 4000), (16000, 160000)]
    waveforms = sounds(rate, window)
    for waveform, vector in zip(waveforms, model.encode_audio(waveforms, rate, batch_size=4), strict=True):
        starts = [*range(0, len(waveform) - window, window), max(0, len(waveform) - window)]
        expected = np.mean(clips_by_itself([waveform[s : s + window] for s in starts], rate), axis=0)
        np.testing.assert_allclose(vector, expected / np.linalg.norm(expected), atol=1e-6)
    np.testing.assert_allclose(embed_texts(model, processor, TEXTS), np.array(texts_by_itself(TEXTS)), atol=1e-6)
    assert model.config.projection_dim == len(vector)
    stereo = np.stack([waveforms[0], np.zeros_like(waveforms[0])])
    assert torch.equal(model.encode_audio(stereo, rate)[0], model.encode_audio(waveforms[0] / 2, rate)[0])


def test_the_same_to_the_bit_in_any_company(teacher):
    """Guards against batches whose size, length or order moves the last bits."""
    model, processor = as_checkpoint(teacher[0])
    rate, window = processor.feature_extractor.sampling_rate, processor.feature_extractor.window_samples
    waveforms = sounds(rate, window)
    together = model.encode_audio(waveforms, rate, batch_size=4)
    assert torch.equal(model.encode_audio(waveforms[::-1], rate, batch_size=4).flip(0), together)
    for waveform, vector in zip(waveforms, together, strict=True):
        assert torch.equal(model.encode_audio(waveform, rate, batch_size=4)[0], vector)
    texts = [f"{text} {'and ' * number}hum" for number, text in enumerate(TEXTS * 3)]
    vectors = embed_texts(model, processor, texts)
    assert np.array_equal(embed_texts(model, processor, texts[::-1])[::-1], vectors)
    assert all(np.array_equal(embed_texts(model, processor, [t])[0], v) for t, v in zip(texts, vectors, strict=True))


def test_a_caption_is_never_fetched(tmp_path, captioned_folder):
    """Guards against captions of a stranger's table that name addresses, or files of this machine."""
    given = SentenceTransformer(tiny_clap(tmp_path / "clap"), device="cpu")
    model, processor = as_checkpoint(given)
    file = str(captioned_folder / "0.wav")
    vectors = embed_texts(model, processor, ["https://example.invalid/a.mp3", file, "hum"])
    tokens = given.tokenizer(["https://example.invalid/a.mp3"], return_tensors="pt")
    with torch.no_grad():
        expected = given[0].model.get_text_features(**tokens).pooler_output[0]
    np.testing.assert_allclose(vectors[0], expected, atol=1e-6)
    np.testing.assert_allclose(vectors[1], given.encode({"text": file}), atol=1e-6)


def test_batches_give_each_its_own(teacher, monkeypatch):
    """Guards against vectors that change places in the batches of a GPU."""
    model, processor = as_checkpoint(teacher[0])
    rate, window = processor.feature_extractor.sampling_rate, processor.feature_extractor.window_samples
    waveforms, texts = sounds(rate, window), TEXTS * 2
    alone, texts_alone = model.encode_audio(waveforms, rate, batch_size=4), embed_texts(model, processor, texts)
    monkeypatch.setattr(ForeignModel, "_at_once", lambda self, count: count)
    torch.testing.assert_close(model.encode_audio(waveforms, rate, batch_size=4), alone, atol=1e-6, rtol=0)
    np.testing.assert_allclose(embed_texts(model, processor, texts), texts_alone, atol=1e-6)


def test_named_outputs(tmp_path):
    """Guards against an output object that is taken for a vector."""
    vectors = []
    for named in (False, True):
        model, processor = load_checkpoint(tiny_auto(tmp_path / str(named), named), trust_remote_code=True)
        vectors.append(embed_texts(model, processor, TEXTS))
    assert np.array_equal(*vectors)


def test_bfloat16_and_a_frozen_copy(teacher):
    """Guards against inputs of another dtype than the weights, and a user's model that is changed."""
    model, processor = as_checkpoint(teacher[0])
    before, print_of_it = {p: p.requires_grad for p in model.parameters()}, fingerprint(model)
    rate, window = processor.feature_extractor.sampling_rate, processor.feature_extractor.window_samples
    windows = [processor.feature_extractor.windows(waveform) for waveform in sounds(rate, window)]
    assert for_inference(model) is model
    half = for_inference(model, "bfloat16")
    full, rounded = (embed_windows(each, windows, batch_size=4) for each in (model, half))
    assert not torch.equal(full, rounded) and F.cosine_similarity(full, rounded).min() > 0.99
    frozen = FrozenTeacher(model, processor.tokenizer)
    values = torch.from_numpy(np.concatenate(windows))
    embeds = frozen.embed_audio({"values": values}, torch.tensor([len(clip) for clip in windows]))
    torch.testing.assert_close(embeds, full, atol=1e-6, rtol=0)
    np.testing.assert_allclose(frozen.embed_texts(TEXTS), embed_texts(model, processor, TEXTS), atol=1e-6)
    assert {p: p.requires_grad for p in model.parameters()} == before and fingerprint(model) == print_of_it


@pytest.mark.parametrize("kind", ["st", "auto"])
def test_the_chain(kind, command, tmp_path, captioned_folder, pool_folder, labelled_folder, capsys):
    """Guards against curation, training, stores or evaluation that only know CLAP."""
    name, trust = f"st:{tiny_clap(tmp_path / 'clap')}", []
    if kind == "auto":
        name, trust = tiny_auto(tmp_path / "tiny"), ["--trust_remote_code", "true"]
    files = ["--captions", captioned_folder, "--audio", pool_folder, "--labels", labelled_folder]
    made = ["--strategy", "ads", "--teacher", name, *trust, *files, *numbers("ads")]
    assert command(run_curate, *made, "--output_dir", "set") == 0
    assert ("may run" in capsys.readouterr().out) == bool(trust)
    stored = sorted(Path("outputs/embeddings").rglob("*.vectors"))
    assert command(run_curate, *made, "--output_dir", "again") == 0
    assert sorted(Path("outputs/embeddings").rglob("*.vectors")) == stored  # nothing was embedded again
    provenance = json.loads(Path("set/provenance.json").read_text())
    assert provenance["teacher"] == name and "trust_remote_code" not in provenance["arguments"]
    assert provenance["teacher_fingerprint"] == fingerprint(load_checkpoint(name, trust_remote_code=True)[0])
    flags = ["--strategy", "ads", "--improvement_set", "set", "--task", labelled_folder, *FAST]
    flags += ["--teacher", name, *trust] if trust else []
    fresh = [*flags, "--init", "fresh", *SMALL, "--distillation_weight", "1"]
    assert command(run_student, *fresh, "--output_dir", "out") == 0
    results = json.loads(Path("out/results.json").read_text())
    assert results["num_pairs"] == 8 and results["teacher_accuracy"] is not None
    record = json.loads(Path("out/config.json").read_text())["record"]
    assert record["teacher"]["name"] == public(name)
    assert str(tmp_path) not in Path("out/config.json").read_text()
    assert command(run_eval, "--model", "out", "--baseline", name, *trust, "--task", labelled_folder) == 0
    capsys.readouterr()
    check_failure(command(run_student, *flags, "--output_dir", "copy"), capsys, "can't be trained", "--init fresh")


@pytest.mark.slow
def test_several_processes_make_the_same_set(tmp_path, captioned_folder, pool_folder, labelled_folder):
    """Guards against processes that load the model where another one works, or that embed differently."""
    name = f"st:{tiny_clap(tmp_path / 'clap')}"
    files = ["--captions", captioned_folder, "--audio", pool_folder, "--labels", labelled_folder]
    for processes in (1, 2):
        flags = ["--strategy", "ads", "--teacher", name, *files, *numbers("ads"), "--output_dir", f"set{processes}"]
        flags += ["--embedding_store", f"store{processes}"]
        launch = ["-m", "accelerate.commands.launch", "--cpu", "--num_processes", str(processes), ROOT / "curate.py"]
        done = subprocess.run([sys.executable, *map(str, [*launch, *flags])], cwd=tmp_path, capture_output=True)
        assert done.returncode == 0, done.stderr.decode()[-2000:]
    one, two = (sorted((tmp_path / name / "data").glob("*.parquet")) for name in ("set1", "set2"))
    assert [file.read_bytes() for file in one] == [file.read_bytes() for file in two]


def test_from_python(tmp_path, captioned_folder, pool_folder, labelled_folder, tiny):
    """Guards against doors that take names alone."""
    folder = tiny_clap(tmp_path / "clap")
    given = SentenceTransformer(folder, device="cpu")
    options = {"strategy": "ads", "captions": captioned_folder, "labels": ["hum", "hiss"], "progress": False}
    options |= {"audio": pool_folder, "num_captions": 3, "num_pairs": 8, "embedding_store": str(tmp_path / "store")}
    improvement = curate(given, **options)
    named = curate(f"st:{folder}", **options)
    assert improvement.pairs["similarity"] == named.pairs["similarity"]
    assert improvement.provenance["teacher"] == named.provenance["teacher"] == f"st:{folder}"
    args = ClapStudentTrainingArguments(
        str(tmp_path / "out"), max_steps=2, per_device_train_batch_size=4, disable_tqdm=True
    )
    trainer = ClapStudentTrainer(tiny[0], args, improvement, teacher=f"st:{folder}")
    trainer.train()
    assert trainer.model.config.record["teacher"]["name"] == f"st:{folder}"
    result = evaluate_zero_shot(given, labelled_folder, baseline=ClapModel.from_pretrained(folder), progress=False)
    # the same weights hear the same where the clips, of a second, fill no window
    assert result.difference.value == 0
    with pytest.raises(InputError, match=r"st:.*clap can teach, and can't be trained.*--init fresh"):
        ClapStudentTrainer(given, args, improvement)
    auto = tiny_auto(tmp_path / "tiny")
    assert evaluate_zero_shot(auto, labelled_folder, progress=False, trust_remote_code=True).n == 6


def test_pair_threshold_auto_needs_a_scale(tmp_path, monkeypatch, captioned_folder, pool_folder):
    """Guards against an estimate from an untrained scale, noticed only after hours of embedding."""
    options = {"strategy": "ads", "captions": captioned_folder, "labels": ["hum", "hiss"], "progress": False}
    options |= {"audio": pool_folder, "num_captions": 3, "pair_threshold": "auto"}
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="this sentence_transformers model does not tell its logit scale"):
        curate(hearing(tmp_path / "two", monkeypatch), **options)
    assert not Path("outputs").exists()
    model, _ = as_checkpoint(SentenceTransformer(tiny_clap(tmp_path / "clap"), device="cpu"))
    assert model.logit_scale.item() == model.inner[0].model.logit_scale_a.item()


def test_code_of_a_checkpoint_runs_when_it_is_asked_for_alone(
    tmp_path, monkeypatch, command, capsys, captioned_folder, labelled_folder
):
    """Guards against code that runs unasked, or that of a teacher whom somebody else named."""
    hearing(tmp_path / "two", monkeypatch)
    auto = tiny_auto(tmp_path / "tiny")
    for name in (f"st:{tmp_path / 'two'}", auto):
        with pytest.raises(InputError, match=r"^\S+ needs the code in the checkpoint.*--trust_remote_code true"):
            load_checkpoint(name)
        check_failure(command(run_eval, "--model", name, "--task", labelled_folder), capsys, "--trust_remote_code")
        assert load_checkpoint(name, trust_remote_code=True)[0].device.type == "cpu"
    flags = ["--strategy", "ads", "--improvement_set", "set", "--trust_remote_code", "true"]
    check_failure(command(run_student, *flags), capsys, "--trust_remote_code", "--teacher")
    flags = ["--strategy", "du", "--remake", "set", "--trust_remote_code", "true"]
    check_failure(command(run_curate, *flags), capsys, "--trust_remote_code", "--teacher")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"modalities": '["text"]'}, "embeds no audio: a teacher embeds audio and text"),
        ({"sizes": (4, 6)}, "makes 4 numbers of a clip and 6 of a text"),
        ({"gain": "torch.rand(())"}, "gives the same clip another vector each time"),
        ({"gain": "(torch.arange(frames.shape[1])[:, None] < 3)"}, "hears only a part of a window of 0.5 s"),
        ({"gain": "torch.ones(7)"}, "can't embed a clip of 0.5 s: "),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_one_that_can_not_teach(changes, words, tmp_path, monkeypatch):
    """Guards against tracebacks, and against vectors of something else than the clip."""
    model = hearing(tmp_path / "two", monkeypatch, **changes)
    with pytest.raises(InputError, match=words) as error:
        as_checkpoint(model)
    assert "\n" not in str(error.value)


def test_a_processor_that_refuses_short_clips(tmp_path, monkeypatch):
    """Guards against short clips that are refused for no reason, and a reason that nobody tells."""
    model, _ = as_checkpoint(hearing(tmp_path / "two", monkeypatch, shortest=2000))
    assert len(model.encode_audio(np.ones(2400, np.float32), 8000)) == 1
    with pytest.raises(InputError, match=r"can't embed a clip of 0\.2 s: a clip is too short"):
        model.encode_audio(np.ones(1600, np.float32), 8000)


def test_wrong_checkpoints(tmp_path, monkeypatch, command, capsys, labelled_folder):
    """Guards against tracebacks of three libraries."""
    bert = tmp_path / "text"
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    BertModel(BertConfig(vocab_size=99, **sizes)).save_pretrained(bert)
    scratch_tokenizer(CAPTIONS).save_pretrained(bert)
    tower = tmp_path / "tower"
    ClapModel.from_pretrained(tiny_clap(tmp_path / "clap")).text_model.save_pretrained(tower)
    for folder, kind in ((bert, "bert"), (tower, "clap_text_model")):
        with pytest.raises(InputError, match=f"is a '{kind}' checkpoint, and a 'clap_student' or 'clap' one"):
            load_checkpoint(folder)
    with pytest.raises(InputError, match="embeds no audio"):
        load_checkpoint(f"st:{bert}")
    with pytest.raises(InputError, match=r"no such checkpoint folder: /nowhere/at/all"):
        load_checkpoint("st:/nowhere/at/all")
    fused = SentenceTransformer(tiny_clap(tmp_path / "fused", "fusion"), device="cpu")
    with pytest.raises(InputError, match="draws at random"):
        as_checkpoint(fused)
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    failed = command(run_eval, "--model", f"st:{tmp_path / 'clap'}", "--task", labelled_folder)
    check_failure(failed, capsys, "pip install 'modeling_clap_student[st]'")


def test_an_auto_model_without_parts(tmp_path):
    """Guards against tracebacks, and towers of random numbers."""
    for missing, words in (("preprocessor_config.json", "feature extractor"), ("tokenizer*", "tokenizer")):
        folder = Path(tiny_auto(tmp_path / words.replace(" ", "_")))
        for file in folder.glob(missing):
            file.unlink()
        with pytest.raises(InputError, match=f"has no {words}"):
            load_checkpoint(folder, trust_remote_code=True)
    folder = Path(tiny_auto(tmp_path / "half"))
    model = AutoModel.from_pretrained(folder, trust_remote_code=True)
    weights = {name: value for name, value in model.state_dict().items() if not name.startswith("audio")}
    model.save_pretrained(folder, state_dict=weights)
    (folder / "modeling_tiny.py").write_text(TINY)
    with pytest.raises(InputError, match=r"do not fit its config: audio\.bias; audio\.weight missing"):
        load_checkpoint(folder, trust_remote_code=True)


def test_one_in_half_precision_is_computed_in_float32(tmp_path):
    """Guards against a user's model that is cast in place."""
    model = SentenceTransformer(tiny_clap(tmp_path / "clap"), device="cpu").bfloat16()
    teacher, _ = as_checkpoint(model)
    assert model.dtype == torch.bfloat16 and teacher.inner.dtype == torch.float32


def test_commands_take_bfloat16(tmp_path, monkeypatch, command, labelled_folder):
    """Guards against a --dtype that is passed over."""
    with_bfloat16(tmp_path, monkeypatch)
    flags = ["--model", f"st:{tiny_clap(tmp_path / 'clap')}", "--task", labelled_folder, "--dtype", "bfloat16"]
    assert command(run_eval, *flags) == 0


def test_names():
    """Guards against a prefix that hides a revision, or a folder of the user's machine."""
    assert split_revision("st:me/model@v1") == ("st:me/model", "v1")
    assert split_revision("st:me/model") == ("st:me/model", None)
    assert split_revision("st:/data/model@v1") == ("st:/data/model@v1", None)
    assert public("st:/home/me/model") == "st:model" and public("st:me/model") == "st:me/model"


def test_a_dataset_in_memory(tmp_path, tiny, monkeypatch):
    """Guards against crops that the teacher's processor can't take: shorter and longer than its window."""
    rng = np.random.default_rng(0)
    clips = [{"array": rng.uniform(-0.5, 0.5, 16000 * (1 + n % 3)), "sampling_rate": 16000} for n in range(4)]
    table = Dataset.from_dict({"audio": clips, "caption": [f"sound {n}" for n in range(4)]})
    args = ClapStudentTrainingArguments(str(tmp_path / "out"), max_steps=1, per_device_train_batch_size=4)
    args.dataloader_num_workers = 1
    trainer = ClapStudentTrainer(tiny[0], args, table, teacher=hearing(tmp_path / "two", monkeypatch))
    assert np.isfinite(trainer.train().training_loss)
