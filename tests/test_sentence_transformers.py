"""A checkpoint as sentence-transformers loads it: its vectors are the model's own, to the bit."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import CAPTIONS, settle, tiny_model
from transformers import AutoModel

from modeling_clap_student import ClapStudentModel


pytest.importorskip("sentence_transformers", reason="is not installed: pip install -e '.[st]'")
from sentence_transformers import SentenceTransformer


TEXTS = [*CAPTIONS, "", "rain", "a dog barks " * 9, "a low hum and a soft hiss " * 3, "hum.wav hiss"]
WITHOUT_PACKAGE = "import sys; sys.modules['modeling_clap_student'] = None\n"
WITHOUT_LIBRARY = "sys.modules['sentence_transformers'] = None\n"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints") / "tiny"
    settle(tiny_model()[0]).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def model(checkpoint):
    return ClapStudentModel.from_pretrained(checkpoint)


@pytest.fixture
def sentences(checkpoint) -> SentenceTransformer:
    return load(checkpoint)


def load(folder) -> SentenceTransformer:
    return SentenceTransformer(str(folder), trust_remote_code=True, device="cpu")


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> list[Path]:
    """12 clips: four formats, three rates, from a tenth of a second to three windows, every other one in stereo."""
    folder, rng, made = tmp_path_factory.mktemp("clips"), np.random.default_rng(0), []
    for number in range(12):
        rate, seconds = (44100, 48000, 16000)[number % 3], (0.1, 3.0, 6.5, 13.0)[number % 4]
        kind = ("wav", "flac", "ogg", "mp3")[number // 3]
        time = np.arange(int(seconds * rate)) / rate
        tone = 0.4 * np.sin(2 * np.pi * 150 * 1.5**number * time)[:, None]
        noise = 0.05 * rng.normal(size=(len(time), 1 + number % 2))
        made.append(folder / f"{number:02}.{kind}")
        soundfile.write(made[-1], tone + noise, rate)
    return made


def differing_bits(first, second) -> int:
    first, second = (np.ascontiguousarray(one, dtype=np.float32) for one in (first, second))
    assert first.shape == second.shape and np.isfinite(first).all()
    return int(np.unpackbits((first.view(np.uint32) ^ second.view(np.uint32)).view(np.uint8)).sum())


def test_files_embed_as_encode_audio_does(sentences, model, files):
    """Guards against other windows, another mix of channels or resampling, and vectors in the order of lengths."""
    expected = model.encode_audio(files)
    assert len(torch.unique(expected, dim=0)) == len(files)
    as_bytes = [file.read_bytes() for file in files]
    as_dicts = [{"bytes": content, "path": "x"} for content in as_bytes]
    wrapped = [{"audio": str(file)} for file in files]
    for clips in (list(map(str, files)), files, as_bytes, as_dicts, wrapped):
        assert differing_bits(sentences.encode(clips), expected) == 0


def test_arrays_embed_as_encode_audio_does(sentences, model, files):
    """Guards against arrays whose shape, kind of numbers or rate passes unseen."""
    for file in files[:6]:
        samples, rate = soundfile.read(file, dtype="float32")
        forms = [samples, samples.astype(np.float64), (samples * 2**15).clip(-(2**15), 2**15 - 1).astype(np.int16)]
        forms += [np.ascontiguousarray(samples.T)] if samples.ndim == 2 else [samples[:, None], samples[None]]
        forms += [torch.from_numpy(form) for form in forms]
        expected = model.encode_audio(forms, sampling_rate=rate)
        assert differing_bits(sentences.encode(forms, sampling_rate=rate), expected) == 0
        dicts = [{"array": form, "sampling_rate": rate} for form in forms]
        assert differing_bits(sentences.encode(dicts), expected) == 0
        assert differing_bits(sentences.encode(dicts, sampling_rate=8000), expected) == 0  # their own goes before


def test_a_vector_depends_on_no_neighbour(sentences, model, files):
    """Guards against the sorting by length, and against batches of another size."""
    expected = model.encode_audio(files)
    for batch_size in (1, 5, 64):
        assert differing_bits(sentences.encode(files[::-1], batch_size=batch_size)[::-1], expected) == 0
        assert differing_bits(sentences.encode(TEXTS, batch_size=batch_size), model.encode_text(TEXTS, 32)) == 0
    assert differing_bits(sentences.encode(files[3]), expected[3]) == 0
    sentences[0].batch_size = 8
    assert differing_bits(sentences.encode(files), model.encode_audio(files, batch_size=8)) == 0


def test_texts_embed_as_encode_text_does(sentences, model):
    """Guards against a prompt that is lost, or stands before clips."""
    expected = model.encode_text(TEXTS, batch_size=32)
    for encode in (sentences.encode, sentences.encode_query, sentences.encode_document):
        assert differing_bits(encode(TEXTS), expected) == 0
    prompted = model.encode_text([f"this is a sound of {text}" for text in TEXTS], batch_size=32)
    assert differing_bits(sentences.encode(TEXTS, prompt="this is a sound of "), prompted) == 0
    with pytest.warns(UserWarning, match="what goes beyond is cut"):
        sentences.encode("hum " * 200)


def test_texts_and_clips_in_one_call(sentences, model, files):
    """Guards against a mixture in another order, and a pair that loses one half."""
    clips, texts = model.encode_audio(files[:3]), model.encode_text(TEXTS[:3], batch_size=32)
    mixed = [TEXTS[0], str(files[0]), files[1], {"text": TEXTS[1]}, {"text": TEXTS[2]}, str(files[2])]
    expected = torch.stack([texts[0], clips[0], clips[1], texts[1], texts[2], clips[2]])
    assert differing_bits(sentences.encode(mixed, prompt=""), expected) == 0
    both = sentences.encode([{"audio": file, "text": text} for file, text in zip(files[:3], TEXTS[:3], strict=True)])
    torch.testing.assert_close(torch.from_numpy(both), torch.nn.functional.normalize(clips + texts))
    named = sentences.encode([{"text": "there.wav"}])
    assert differing_bits(named, model.encode_text(["there.wav"], batch_size=32)) == 0


def test_what_else_sentence_transformers_offers(sentences, model, files):
    """Guards against a model that encodes, and whose size, similarity or tensors are not known."""
    clips, texts = sentences.encode(files, convert_to_tensor=True), sentences.encode(TEXTS, convert_to_tensor=True)
    torch.testing.assert_close(sentences.similarity(clips, texts), clips @ texts.T)
    assert sentences.get_embedding_dimension() == 32 and sentences.max_seq_length == 100
    assert sentences.supports("audio") and sentences.supports("text") and not sentences.supports("image")
    assert sentences.tokenizer("hum")["input_ids"] == model.processor.tokenizer("hum")["input_ids"]
    assert differing_bits(sentences.encode(files, truncate_dim=8), model.encode_audio(files)[:, :8]) == 0
    assert sentences.encode([]).shape == (0,)


@pytest.mark.slow
def test_processes_embed_as_one_does(sentences, model, files):
    """Guards against a model that other processes can't take over, and chunks that change a vector."""
    pool = sentences.start_multi_process_pool(["cpu", "cpu"])
    try:
        assert differing_bits(sentences.encode(files, pool=pool, chunk_size=5), model.encode_audio(files)) == 0
        with pytest.warns(DeprecationWarning):
            texts = sentences.encode_multi_process(TEXTS, pool)
        assert differing_bits(texts, model.encode_text(TEXTS, batch_size=32)) == 0
    finally:
        sentences.stop_multi_process_pool(pool)


def test_what_it_saves_loads_both_ways(sentences, model, files, tmp_path):
    """Guards against a checkpoint that one of the two libraries has saved and the other can't load."""
    folder, expected = tmp_path / "first", model.encode_audio(files)
    sentences.save_pretrained(str(folder))
    for round_trip in ("second", "third"):
        loaded = AutoModel.from_pretrained(folder, trust_remote_code=True)
        assert differing_bits(loaded.encode_audio(files), expected) == 0
        loaded.save_pretrained(folder := tmp_path / round_trip)
        assert differing_bits(load(folder).encode(files), expected) == 0
        load(folder).save_pretrained(str(folder := tmp_path / f"{round_trip} again"))


def test_a_tower_alone_is_no_sentence_transformer(model, tmp_path):
    """Guards against a checkpoint that says it embeds texts, and can't."""
    with pytest.warns(UserWarning, match="without a processor"):
        model.audio_model.save_pretrained(tmp_path)
    assert not (tmp_path / "modules.json").exists()


def run(code: str, folder: Path) -> str:
    """What a fresh interpreter prints, started elsewhere, without the package."""
    command = [sys.executable, "-I", "-c", WITHOUT_PACKAGE + code]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_it_loads_where_neither_the_package_nor_the_library_is_known(checkpoint, model, files, tmp_path):
    """Guards against code that a checkpoint lacks, and code that asks for a library which nobody needs.

    The second process has transformers alone, and saves anew what the third one loads with the library.
    """
    names = json.dumps([str(file) for file in files])
    with_transformers = f"""
from transformers import AutoModel
model = AutoModel.from_pretrained({str(checkpoint)!r}, trust_remote_code=True)
model.save_pretrained("anew")
print(model.encode_audio({names}).numpy().tobytes().hex())
"""
    with_library = """
from sentence_transformers import SentenceTransformer
model = SentenceTransformer({!r}, trust_remote_code=True, device="cpu")
print(model.encode({}).tobytes().hex(), type(model[0]).__module__)
"""
    expected = model.encode_audio(files).numpy().tobytes().hex()
    assert run(WITHOUT_LIBRARY + with_transformers, tmp_path).split() == [expected]
    for folder in (checkpoint, tmp_path / "anew"):
        embeds, module = run(with_library.format(str(folder), names), tmp_path).split()
        assert embeds == expected and module.startswith("transformers_modules.")


def test_code_that_is_not_trusted_is_not_run(checkpoint):
    """Guards against an error that does not say what to do."""
    with pytest.raises(ValueError, match="`trust_remote_code=True`"):
        SentenceTransformer(str(checkpoint), device="cpu")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("gone.wav", "can't read gone.wav: no such file; a text that ends so is given as"),
        ("https://host/rain.mp3", "can't read https://host/rain.mp3: no such file"),
        (Path("gone"), "can't read gone: no such file"),
        (b"no audio", "a clip not decodable"),
        (np.zeros(9), "give the sampling rate of the audio: sampling_rate=44100"),
        (np.zeros((9, 8, 7)), "Modality 'image' is not supported"),
        ({"array": np.zeros((50, 60)), "sampling_rate": 16000}, r"a clip has the shape \(50, 60\)"),
        ({"array": np.array([np.nan]), "sampling_rate": 16000}, "a clip holds NaN"),
        ({"array": np.zeros(9)}, "give the sampling rate"),
        ({"text": None}, "expected a text, or a clip"),
        ({"role": "user", "content": "hum"}, "expected a text, or a clip as a path, an array or a dict, got"),
        (("a low hum", "soft hiss"), "expected a text, or a clip"),
        (None, "expected a text, or a clip as a path, an array or a dict, got None"),
        (7, "expected a text, or a clip as a path, an array or a dict, got 7"),
    ],
)
def test_what_is_neither_text_nor_audio_is_refused(sentences, files, given, says):
    """Guards against a file that isn't there embedded as text, and arrays whose rate is assumed."""
    with pytest.raises(ValueError, match=says) as caught:
        sentences.encode([given])
    assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(ValueError):
        sentences.encode([str(files[0]), given])


def test_what_it_can_not_do_is_said(checkpoint, sentences):
    """Guards against training without gradients, and a backend that is not taken."""
    with pytest.raises(ValueError, match="train it with ClapStudentTrainer"):
        sentences.train()(sentences.preprocess(["a low hum"]))
    with pytest.raises(ValueError, match="this model runs in torch; clap-export"):
        SentenceTransformer(str(checkpoint), trust_remote_code=True, backend="onnx")
    with pytest.raises(ValueError, match="takes the processor that it was saved with"):
        SentenceTransformer(str(checkpoint), trust_remote_code=True, processor_kwargs={"max_length": 9})
    with pytest.raises(ValueError, match="sampling_rat'"):
        sentences.encode(["a low hum"], sampling_rat=44100)


def test_the_library_that_is_missing_is_named():
    """Guards against a traceback from inside of transformers."""
    code = f"import sys\n{WITHOUT_LIBRARY}import modeling_clap_student.sentence_clap_student"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "pip install sentence-transformers" in done.stderr.splitlines()[-1]


def test_weights_in_half_precision(checkpoint, files):
    """Guards against a dtype that is asked for and not taken."""
    half = SentenceTransformer(
        str(checkpoint), trust_remote_code=True, device="cpu", model_kwargs={"dtype": torch.bfloat16}
    )
    embeds = half.encode(files[:2])
    assert half.dtype == torch.bfloat16 and embeds.dtype == np.float32
    exact = load(checkpoint).encode(files[0])
    assert 0.99 < embeds[0] @ exact < 1.01 and not np.array_equal(embeds[0], exact)
