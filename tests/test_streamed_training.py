"""Captioned streams, and training from them: tar shards, Parquet, pushed Improvement-Sets."""

import io
import json
import os
import pickle
import tarfile
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import CAPTIONS, FAST, tiny_model, write_tone
from datasets import Dataset

from modeling_clap_student import ClapStudentTrainer, ClapStudentTrainingArguments, InputError
from modeling_clap_student.commands import curate
from modeling_clap_student.commands import student as run_student
from modeling_clap_student.commands import teacher as run_teacher
from modeling_clap_student.data import stream_sounds
from modeling_clap_student.data.collation import ClapCollator
from modeling_clap_student.data.corpora import read_corpora
from modeling_clap_student.data.decoding import hear_clip
from modeling_clap_student.data.leakage import SAME_SOUND, EvaluationSounds, LeakageFilter
from modeling_clap_student.data.skipping import SkippedClips
from modeling_clap_student.data.sound_store import SoundStore
from modeling_clap_student.data.tables import CAPTION_COLUMNS, UNDECODED
from modeling_clap_student.resampling_clap_student import resample


def pack(path: Path, members: list[tuple[str, bytes]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


@pytest.fixture
def tones(tmp_path) -> list[bytes]:
    return [write_tone(tmp_path / "files" / f"{n}.wav", 200 * (n + 1)).read_bytes() for n in range(12)]


@pytest.fixture
def shards(tmp_path, tones) -> Path:
    """12 captioned clips in three WebDataset shards, with the three ways to write a caption."""
    for shard in range(3):
        members = []
        for number in range(4 * shard, 4 * shard + 4):
            text = CAPTIONS[number // 3]
            members.append((f"{number:02d}_30.000.wav", tones[number]))
            if shard == 0:
                members.append((f"{number:02d}_30.000.txt", f"{text}\n".encode()))
            else:
                told = {"caption": text} if shard == 1 else {"text": [text, f"{text} again"], "tag": ["x"]}
                members.append((f"{number:02d}_30.000.json", json.dumps(told).encode()))
        pack(tmp_path / "shards" / f"{shard}.tar", members)
    return tmp_path / "shards"


@pytest.fixture
def parquet(tmp_path, tones) -> Path:
    for shard in range(3):
        numbers = range(4 * shard, 4 * shard + 4)
        table = Dataset.from_dict(
            {
                "audio": [{"bytes": tones[n], "path": f"{n}.wav"} for n in numbers],
                "captions": [[CAPTIONS[n // 3], None, f"{CAPTIONS[n // 3]} again"] for n in numbers],
                "youtube_id": [f"video{n}" for n in numbers],
            }
        ).cast_column("audio", UNDECODED)
        (tmp_path / "parquet").mkdir(exist_ok=True)
        table.to_parquet(tmp_path / "parquet" / f"train-{shard}-of-3.parquet")
    return tmp_path / "parquet"


def test_captions_of_tar_shards(shards, tones):
    """Guards against captions beside another clip, ids that are cut at a dot, and tags taken for captions."""
    rows = list(read_corpora([str(shards)], streams=True))
    assert list(rows[0]) == list(CAPTION_COLUMNS) and len(rows) == 16
    for row in rows:
        number = int(row["audio"]["path"][:2])
        assert row["audio"]["bytes"] == tones[number]
        assert row["caption"].removesuffix(" again") == CAPTIONS[number // 3]
        assert row["audio_id"] == f"shards/{number // 4}.tar/{number:02d}_30.000.wav"
    assert sum(row["caption"].endswith("again") for row in rows) == 4


def test_tar_clips_without_captions(tmp_path, tones):
    """Guards against the caption of the clip before, and an error, where there is none or it can't be read."""
    texts = {"a.txt": b"rain", "c.json": b"{", "d.txt": b"\xff\xfe\x00", "e.json": b'{"title": "dog"}'}
    clips = {f"{name}.wav": tone for name, tone in zip("abcde", tones, strict=False)}
    members = sorted({**texts, **clips}.items(), key=lambda member: (member[0][0], not member[0].endswith("wav")))
    pack(tmp_path / "t" / "0.tar", members)
    read = [row["caption"] for row in read_corpora([str(tmp_path / "t")], streams=True)]
    assert read == ["rain", "", "", "", ""]
    named = read_corpora([f"webdataset={tmp_path / 't'}#caption=title"], streams=True)
    assert [row["caption"] for row in named][-1] == "dog"
    with pytest.raises(InputError, match="tar archives have no column of audio"):
        read_corpora([f"webdataset={tmp_path / 't'}#audio=x"], streams=True)


def test_captions_of_parquet(parquet, tones):
    """Guards against lists of captions taken for one, nulls among them, and lost recordings."""
    rows = list(read_corpora([f"stream={parquet}"], streams=True))
    assert len(rows) == 24 and {row["origin_id"] for row in rows} == {f"youtube:video{n}" for n in range(12)}
    for row in rows:
        number = int(row["origin_id"].removeprefix("youtube:video"))
        assert row["audio"]["bytes"] == tones[number]
        assert row["caption"].removesuffix(" again") == CAPTIONS[number // 3]
    with pytest.raises(InputError, match="has no column text: its columns are audio, captions, youtube_id"):
        read_corpora([f"stream={parquet}#caption=text"], streams=True)


def test_streams_join_tables(shards, captioned_folder):
    """Guards against corpora that can't be mixed, or clips lost where they are."""
    both = read_corpora([str(shards), str(captioned_folder)], streams=True)
    assert len({row["audio_id"] for row in both}) == 24


def test_a_stream_is_no_table(shards, tiny_folder, pool_folder, command, capsys):
    """Guards against curation that would count and search what can't be counted."""
    flags = ["--strategy", "du", "--teacher", tiny_folder, "--captions", shards, "--audio", pool_folder]
    assert command(curate, *flags) == 1
    assert "is laid out as 'webdataset', which is not a captioned corpus" in capsys.readouterr().err


def trainer_of(stream, replay, folder, **arguments):
    model, processor = tiny_model()
    for part in model.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.2
    args = ClapStudentTrainingArguments(
        output_dir=str(folder), max_steps=12, per_device_train_batch_size=4, save_steps=5, save_total_limit=None,
        gradient_accumulation_steps=2, disable_tqdm=True, learning_rate=1e-3, **arguments,
    )  # fmt: skip
    folder.mkdir(exist_ok=True)
    collator = ClapCollator(processor, SkippedClips(folder / "skipped.csv"))
    return ClapStudentTrainer(
        model, args, stream, replay, data_collator=collator, processing_class=processor, teacher=tiny_model()[0]
    )


@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_run_is_the_uninterrupted_one(shards, parquet, tmp_path, workers):
    """Guards against clips, crops, replay draws or dropout of a resumed run that are others: weights to the bit."""
    weights = []
    for resume in (None, str(tmp_path / "run" / "checkpoint-5")):
        stream, replay = (read_corpora([spec], streams=True) for spec in (str(shards), f"stream={parquet}"))
        trainer = trainer_of(stream, replay, tmp_path / "run", dataloader_num_workers=workers)
        torch.manual_seed(3 if resume is None else 4)
        trainer.train(resume_from_checkpoint=resume)
        weights.append({name: value.clone() for name, value in trainer.model.state_dict().items()})
    assert all(torch.equal(weights[0][name], value) for name, value in weights[1].items())
    assert (tmp_path / "run" / "checkpoint-10" / "stream_state_0.pth").exists()


def test_broken_and_wordless_clips_of_a_stream_are_listed(tmp_path, tones):
    """Guards against a broken clip that ends the run, or goes unsaid."""
    members = [(f"{n}.wav", tone) for n, tone in enumerate(tones)]
    pairs = [pair for n, member in enumerate(members) for pair in (member, (f"{n}.txt", b"--" if n == 3 else b"hum"))]
    pairs[0] = ("0.wav", b"no audio")
    pack(tmp_path / "t" / "0.tar", pairs)
    trainer = trainer_of(read_corpora([str(tmp_path / "t")], streams=True), None, tmp_path / "run")
    trainer.train()
    listed = trainer.data_collator.reader.skipped.read()
    assert {name: reason.split(":")[0] for name, reason in listed.items()} == {
        "t/0.tar/0.wav": "not decodable",
        "t/0.tar/3.wav": "no word in the caption",
    }


def melody(rng: np.random.Generator, rate: int = 44100) -> np.ndarray:
    """Four seconds of short tones that nobody else plays."""
    time = np.arange(rate // 5) / rate
    tones = [np.sin(2 * np.pi * rng.uniform(300, 5000) * time) * np.exp(-8 * time) for _ in range(20)]
    return np.concatenate(tones).astype(np.float32) / 2


def as_file(samples: np.ndarray, kind: str, rate: int = 44100) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind)
    return file.getvalue()


@pytest.mark.parametrize("workers", [0, 2])
def test_copies_of_evaluation_clips_are_not_learnt_from_a_stream(tmp_path, workers, monkeypatch):
    """Guards against an evaluation clip that comes back in a stream under other bytes, in a loader's worker too."""
    rng = np.random.default_rng(0)
    melodies = [melody(rng) for _ in range(6)]
    copy = as_file(resample(melodies[2] / 2, 44100, 32000), "OGG", 32000)
    (tmp_path / "test.wav").write_bytes(as_file(melodies[2], "WAV"))
    test = Dataset.from_list([{"audio": {"bytes": None, "path": str(tmp_path / "test.wav")}, "audio_id": "test"}])
    test = test.cast_column("audio", UNDECODED)
    heard = []
    monkeypatch.setattr(stream_sounds, "hear_clip", lambda audio: heard.append(1) or hear_clip(audio))
    files = [(f"{n}.wav", as_file(samples, "WAV")) for n, samples in enumerate(melodies)]
    files[2] = ("2.ogg", copy)
    pack(tmp_path / "t" / "0.tar", [part for n, file in enumerate(files) for part in (file, (f"{n}.txt", b"hum"))])
    leakage = LeakageFilter([test], sounds=EvaluationSounds([test], SoundStore(tmp_path / "store")))
    row = {"audio": {"bytes": copy, "path": None}, "audio_id": "x"}
    assert leakage.reason(row) is None
    leakage.listen_to_streams()
    assert pickle.loads(pickle.dumps(leakage)).reason(row) == SAME_SOUND
    assert leakage.reason({"audio": {"bytes": b"no audio", "path": None}, "audio_id": "y"}) is None
    heard.clear()
    stream = read_corpora([str(tmp_path / "t")], streams=True)
    trainer = trainer_of(stream, None, tmp_path / "run", dataloader_num_workers=workers)
    trainer.data_collator.leakage = leakage
    trainer.train()
    assert trainer.data_collator.reader.skipped.read() == {"t/0.tar/2.ogg": SAME_SOUND}
    assert len(heard) == (0 if workers else 6)  # each once, though several epochs went by


def test_streams_need_a_number_of_steps(shards, tmp_path):
    """Guards against a training that never ends."""
    with pytest.raises(InputError, match="--max_steps is missing"):
        trainer_of(read_corpora([str(shards)], streams=True), None, tmp_path / "run").args.max_steps = -1
        args = ClapStudentTrainingArguments(output_dir=str(tmp_path / "x"))
        ClapStudentTrainer(tiny_model()[0], args, read_corpora([str(shards)], streams=True))


@pytest.fixture
def text_model(tiny, tmp_path) -> Path:
    """A BERT and its tokenizer."""
    tiny[0].text_model.save_pretrained(tmp_path / "bert")
    tiny[1].tokenizer.save_pretrained(tmp_path / "bert")
    return tmp_path / "bert"


def test_the_chain_on_streams(shards, text_model, pool_folder, labelled_folder, captioned_folder, tmp_path, command):
    """Guards against commands that take a stream and can't count, save, score or describe it."""
    size = ["--base_channels", 2, "--hop_length", 1024, "--projection_dim", 16, *FAST]
    teacher, pairs = tmp_path / "teacher", tmp_path / "pairs"
    flags = ["--corpus", shards, "--text_model", text_model, "--output_dir", teacher, *size]
    assert command(run_teacher, *flags, "--dry_run") == 0 and not teacher.exists()
    assert command(run_teacher, *flags) == 0
    assert json.loads((teacher / "results.json").read_text())["num_pairs"] is None
    flags = ["--strategy", "ads", "--teacher", teacher, "--captions", captioned_folder, "--labels", labelled_folder]
    flags += ["--audio", pool_folder, "--num_captions", 4, "--num_pairs", 8, "--output_dir", pairs]
    assert command(curate, *flags) == 0
    student = tmp_path / "student"
    flags = ["--strategy", "ads", "--improvement_set", f"stream={pairs}", "--task", labelled_folder]
    assert command(run_student, *flags, "--output_dir", student, *FAST) == 0
    results = json.loads((student / "results.json").read_text())
    assert results["student_accuracy"] is not None and results["num_pairs"] is None
    assert "stream=" in (student / "README.md").read_text()
    flags = ["--strategy", "none", "--teacher", teacher, "--output_dir", tmp_path / "none", *FAST]
    assert command(run_student, *flags) == 0


def test_streams_refuse_what_needs_a_count(shards, text_model, tmp_path, command, capsys):
    """Guards against tracebacks, and folders left behind."""
    flags = ["--corpus", shards, "--output_dir", tmp_path / "made", "--per_device_train_batch_size", 4]
    for more, told in (
        (["--text_model", text_model], "--max_steps is missing"),
        (["--text_model", "scratch", "--max_steps", 2], "needs all captions beforehand"),
        (["--text_model", text_model, "--max_steps", 2, "--subset_fraction", 0.1], "--subset_fraction needs"),
    ):
        assert command(run_teacher, *flags, *more) == 1
        assert told in capsys.readouterr().err and not os.path.exists(tmp_path / "made")


def test_first_rows_come_without_reading_all(parquet):
    """Guards against a stream that is read through before the first batch."""
    assert len(list(islice(iter(read_corpora([f"stream={parquet}"], streams=True)), 2))) == 2
