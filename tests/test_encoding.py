"""`encode_audio` and `encode_text`: what a newcomer types first."""

import warnings

import numpy as np
import pytest
import soundfile
import torch
from conftest import settle, tones, write_tone
from datasets import Dataset

from modeling_clap_student import ClapStudentModel, InputError
from modeling_clap_student.checkpoints.embedding import embed_clips
from modeling_clap_student.data.pools import read_pools
from modeling_clap_student.data.skipping import SkippedClips


def tone(seconds: float = 2.0, rate: int = 44100) -> np.ndarray:
    return (0.3 * np.sin(np.arange(int(seconds * rate)) * 0.05)).astype(np.float32)


def test_files_and_arrays_are_embedded_like_tables(tiny, tmp_path):
    """Guards against two ways from a clip to its vector: to the bit, in any company and order."""
    model, processor = tiny
    for number in range(3):
        write_tone(tmp_path / "clips" / f"{number}.wav", 300 + number, seconds=1 + 5 * number)
    files = sorted((tmp_path / "clips").iterdir())
    table, _ = embed_clips(model, processor, read_pools([str(tmp_path / "clips")]), SkippedClips(tmp_path / "s.csv"))
    embeds = model.encode_audio(files)
    assert embeds.shape == (3, 32) and embeds.dtype == torch.float32
    assert np.array_equal(embeds.numpy(), table)
    assert torch.equal(model.encode_audio(files[::-1]).flip(0), embeds)
    assert torch.equal(model.encode_audio(str(files[1])), embeds[1:2])
    arrays = [soundfile.read(file, dtype="float32")[0] for file in files]
    assert torch.equal(model.encode_audio(arrays, sampling_rate=44100), embeds)
    assert torch.equal(
        model.encode_audio([torch.from_numpy(arrays[0]), files[2]], sampling_rate=44100), embeds[[0, 2]]
    )


def test_channels_are_averaged_and_rates_changed(tiny, tmp_path):
    """Guards against stereo whose channels are put one after the other, and rates that pass unseen."""
    model, _ = tiny
    left, right = tone(), tone()[::-1].copy()
    mean = model.encode_audio((left + right) / 2, sampling_rate=44100)
    for stereo in (np.stack([left, right]), np.stack([left, right], axis=1)):
        torch.testing.assert_close(model.encode_audio(stereo, sampling_rate=44100), mean)
    soundfile.write(tmp_path / "stereo.wav", np.stack([left, right], axis=1), 44100, subtype="FLOAT")
    torch.testing.assert_close(model.encode_audio(tmp_path / "stereo.wav"), mean)
    write_tone(tmp_path / "a.wav", 400, rate=44100)
    write_tone(tmp_path / "b.wav", 400, rate=48000)
    a, b = model.encode_audio([tmp_path / "a.wav", tmp_path / "b.wav"])
    assert a @ b > 0.95


@pytest.mark.parametrize("rate", [16000, 44100, 48000])
@pytest.mark.parametrize("subtype", ["FLOAT", "PCM_16", "PCM_32", "PCM_U8"])
def test_arrays_are_what_their_files_are(tiny, tmp_path, rate, subtype):
    """Guards against another resampler, another mean of channels and another full scale for arrays than for files."""
    model, dtype = tiny[0], {"FLOAT": "float32", "PCM_16": "int16", "PCM_32": "int32", "PCM_U8": "uint8"}[subtype]
    stereo = np.stack([tone(6.0, rate), tone(6.0, rate)[::-1]], axis=1)
    soundfile.write(tmp_path / "a.wav", stereo, rate, subtype=subtype)
    if dtype == "uint8":  # which soundfile can't read as it is
        samples = np.frombuffer((tmp_path / "a.wav").read_bytes()[-stereo.size :], np.uint8)
        samples = samples.reshape(stereo.shape).copy()
    else:
        samples = soundfile.read(tmp_path / "a.wav", dtype=dtype)[0]
    expected = model.encode_audio(tmp_path / "a.wav")
    assert torch.equal(model.encode_audio(samples, sampling_rate=rate), expected)
    assert torch.equal(model.encode_audio(samples.T.copy(), sampling_rate=rate), expected)
    assert torch.equal(model.encode_audio({"array": samples, "sampling_rate": rate}, sampling_rate=8000), expected)
    row = {"bytes": (tmp_path / "a.wav").read_bytes(), "path": "b.wav"}
    assert torch.equal(model.encode_audio([row, torch.from_numpy(samples)], sampling_rate=rate), expected.repeat(2, 1))


def test_rows_of_datasets_are_taken(tiny):
    """Guards against lists of numbers, as tables give arrays back, that are taken for a list of clips."""
    table = Dataset.from_list([{"audio": {"array": tone(), "sampling_rate": 44100}}] * 2)
    rows = [row["audio"] for row in table]
    torch.testing.assert_close(tiny[0].encode_audio(rows), tiny[0].encode_audio([tone()] * 2, sampling_rate=44100))


def test_probabilities_are_those_of_the_model_s_logits(tiny, tmp_path):
    """Guards against another scale, another prompt than in the evaluation, and labels that change places."""
    model, processor = settle(tiny[0]), tiny[1]
    labels, waveforms = ["low_hum", "hiss", "high/whistle"], tones(3, 5 * 44100).numpy()
    texts = [f"this is a sound of {name}" for name in ("low hum", "hiss", "high whistle")]
    inputs = processor(text=texts, audio=list(waveforms), sampling_rate=44100, return_tensors="pt")
    with torch.no_grad():
        expected = model(**inputs).logits_per_audio.softmax(dim=1)
    found = model.classify(list(waveforms), labels, sampling_rate=44100)
    assert [list(row) for row in found] == [labels] * 3 and len({max(row, key=row.get) for row in found}) > 1
    torch.testing.assert_close(torch.tensor([list(row.values()) for row in found]), expected, atol=1e-5, rtol=1e-4)
    soundfile.write(tmp_path / "a.wav", waveforms[1], 44100, subtype="FLOAT")
    for one in (tmp_path / "a.wav", [str(tmp_path / "a.wav")], {"array": waveforms[1], "sampling_rate": 44100}):
        assert model.classify(one, labels)[0] == pytest.approx(found[1], abs=1e-6)
    other = model.classify(tmp_path / "a.wav", labels, prompt="a soft {}")[0]
    assert other != pytest.approx(found[1], abs=1e-6) and model.classify([], labels) == []


@pytest.mark.parametrize(
    ("labels", "prompt", "words"),
    [
        ("dog", "a {}", "list of names.*'dog'"),
        ([], "a {}", "0 names: at least 2"),
        (["dog"], "a {}", "1 name: at least 2"),
        (["dog", "dog"], "a {}", "'dog' twice"),
        (["dog", " "], "a {}", "none of them blank"),
        (["dog", 3], "a {}", "list of names"),
        (3, "a {}", "list of names"),
        (["dog", "rain"], "a sound", "'a sound' has no {}"),
    ],
)
def test_wrong_labels(tiny, labels, prompt, words):
    """Guards against a probability of 1 for the one name, and letters for names."""
    with pytest.raises(InputError, match=words):
        tiny[0].classify(tone(), labels, prompt)


def test_dropout_is_off_and_the_mode_comes_back(tiny):
    """Guards against another embedding at each call of a model that is being trained."""
    model, _ = tiny
    model.audio_projection.dropout.p = 0.5
    expected = model.encode_audio(tone(), sampling_rate=44100)
    model.train()
    assert torch.equal(model.encode_audio(tone(), sampling_rate=44100), expected)
    assert torch.equal(model.encode_text("hum"), model.encode_text(["hum"]))
    assert model.training


@pytest.mark.parametrize(
    ("clip", "rate", "words"),
    [
        (tone(), None, "sampling_rate=44100"),
        (tone(), 48, "48 Hz"),
        (tone(), 44100.5, "no whole number"),
        (np.zeros((4, 44100), np.float32), 44100, r"shape \(4, 44100\).*give a list"),
        (np.zeros((2, 2), np.float32), 44100, r"shape \(2, 2\)"),
        (np.zeros((1, 1, 44100), np.float32), 44100, "shape"),
        (np.zeros(0, np.float32), 44100, "no samples"),
        (np.full(44100, np.nan, np.float32), 44100, "NaN"),
        ((tone() * 32767).astype(np.int64), 44100, "int64.*int16"),
        ({"array": tone()}, None, "sampling_rate=44100"),
        ({"array": [[0.1, 0.2], [0.3]], "sampling_rate": 44100}, None, "rows differ"),
        ({"bytes": None, "path": None}, None, "a clip that is a dict"),
        (np.zeros((0, 2), np.float32), 44100, "no samples"),
        (None, 44100, "floating-point"),
        ("gone.wav", None, r"can't read gone\.wav"),
        (__file__, None, "can't read .*test_encoding"),
    ],
)
def test_wrong_clips_are_named_in_one_line(tiny, clip, rate, words):
    """Guards against silence about a wrong rate, and tracebacks from inside a convolution."""
    with pytest.raises(InputError, match=words) as error:
        tiny[0].encode_audio(clip, sampling_rate=rate)
    assert "\n" not in str(error.value)


def test_long_texts_are_cut_with_one_warning(tiny):
    """Guards against an index error deep in BERT, and against a text cut without a word."""
    model, processor = tiny
    long = "hum " * 200
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        first = model.encode_text([long, "hiss"])
        again = model.encode_text([long + "whistle"])
    assert len([w for w in caught if "100 tokens" in str(w.message)]) == 1
    torch.testing.assert_close(first[0], again[0])
    with pytest.warns(UserWarning, match="100 tokens"):
        assert processor(text=[long], return_tensors="pt")["input_ids"].shape == (1, 100)
    tokens = processor.tokenizer([long], return_tensors="pt")
    with pytest.raises(ValueError, match="202 tokens: this model reads at most 128"):
        model.get_text_features(**tokens)


def test_one_text_needs_no_list(tiny):
    """Guards against a processor that only takes lists, and a warning where nothing was cut."""
    model, processor = tiny
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert processor(text="hum")["input_ids"] == processor.tokenizer("hum")["input_ids"]
        assert len(processor(text="hum " * 200, truncation=False)["input_ids"]) == 202
    with pytest.warns(UserWarning, match="10 tokens"):
        processor(text=["hum " * 200], max_length=10)
    assert model.encode_text([]).shape == (0, 0)


def test_texts_keep_their_order(tiny):
    """Guards against de-duplication that loses the way back."""
    model, _ = tiny
    embeds = model.encode_text(["hiss", "a low hum", "hiss"], batch_size=1)
    assert torch.equal(embeds[0], embeds[2]) and not torch.equal(embeds[0], embeds[1])
    torch.testing.assert_close(embeds.norm(dim=1), torch.ones(3))


def test_progress_is_shown_for_more_than_a_batch(tiny, capsys):
    """Guards against minutes of silence, and bars where nothing takes long."""
    model, _ = tiny
    model.encode_audio([tone()] * 3, sampling_rate=44100, batch_size=2)
    assert "clip/s" in capsys.readouterr().err
    model.encode_audio([tone()] * 3, sampling_rate=44100)
    assert capsys.readouterr().err == ""


def test_a_model_without_processor_says_so(tiny, tmp_path):
    """Guards against an error that names neither cause nor remedy; and a processor that gets lost on the way."""
    model, processor = tiny
    bare = ClapStudentModel(model.config)
    with pytest.raises(ValueError, match=r"set model\.processor"):
        bare.encode_text("hum")
    bare.processor = processor
    bare.save_pretrained(tmp_path / "a")
    ClapStudentModel.from_pretrained(tmp_path / "a").save_pretrained(tmp_path / "b")  # carried along
    loaded = ClapStudentModel.from_pretrained(tmp_path / "b")
    assert torch.equal(loaded.encode_text("hum"), bare.encode_text("hum"))


def test_a_text_is_the_same_in_any_company(tiny):
    """Guards against last bits that depend on the longest text of the batch, or on how many there are."""
    model, _ = tiny
    texts = ["hum", "a low hum and a soft hiss " * 3, "hiss", "a high whistle", *(f"tone {n}" for n in range(70))]
    alone = torch.cat([model.encode_text(text) for text in texts])
    assert torch.equal(model.encode_text(texts), alone)
    assert torch.equal(model.encode_text(texts[::-1]), alone.flip(0))
