"""The Trainer as a newcomer calls it: a table of one's own, defaults, evaluation, every wrong input."""

import json
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import soundfile
import torch
from conftest import CAPTIONS, settle, tiny_clap, tiny_model
from datasets import Audio, Dataset, DatasetDict, Features, IterableDataset, Value
from transformers import ClapModel, TrainingArguments

from modeling_clap_student import ClapStudentModel, ClapStudentTrainer, ClapStudentTrainingArguments, InputError
from modeling_clap_student.checkpoints.loading import load_checkpoint
from modeling_clap_student.data.collation import ClapCollator
from modeling_clap_student.data.corpora import as_pairs, read_corpora
from modeling_clap_student.data.skipping import SkippedClips
from modeling_clap_student.training.validation import validate


@pytest.fixture
def model():
    """A tiny model that knows its processor, as a loaded one does."""
    model, processor = tiny_model()
    model.processor = processor
    return model


def arguments(tmp_path, **options):
    usual = {"max_steps": 2, "per_device_train_batch_size": 4, "save_strategy": "no", "logging_steps": 1}
    return ClapStudentTrainingArguments(str(tmp_path / "out"), **{**usual, "disable_tqdm": True, **options})


def losses(trainer) -> list[float]:
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def columns(folder) -> tuple[list[str], list[str]]:
    return [str(folder / f"{number}.wav") for number in range(12)], [CAPTIONS[number // 3] for number in range(12)]


def tables(folder) -> dict[str, Dataset]:
    """The captioned folder, as users have it."""
    files, captions = columns(folder)
    arrays = [soundfile.read(file, dtype="float32") for file in files]
    held = [{"bytes": (folder / f"{number}.wav").read_bytes(), "path": "a.wav"} for number in range(12)]
    paths = Dataset.from_dict({"audio": files, "caption": captions})
    dicts = [{"array": array, "sampling_rate": rate} for array, rate in arrays]
    integers = [
        {"array": np.round(array * 2**15).astype(np.int16), "sampling_rate": rate, "path": None}
        for array, rate in arrays
    ]
    large = pa.table({"audio": pa.array(files, pa.large_string()), "caption": pa.array(captions, pa.large_string())})
    features = Features({"audio": Audio(decode=False), "text": Value("string")})
    return {
        "paths": paths,
        "large strings": Dataset(large),
        "Audio()": paths.cast_column("audio", Audio()),
        "Audio(decode=False)": paths.cast_column("audio", Audio(sampling_rate=16000, decode=False)),
        "bytes": Dataset(pa.table({"audio": held, "text": captions}).cast(features.arrow_schema)).with_format("torch"),
        "arrays": Dataset.from_dict({"audio": dicts, "caption": captions}),
        "integers": Dataset.from_dict({"audio": integers, "caption": captions}),
        "two channels": Dataset.from_dict(
            {"audio": [{**row, "array": np.stack([row["array"]] * 2)} for row in dicts], "caption": captions}
        ),
    }


@pytest.mark.slow
def test_every_kind_of_table_trains_alike(captioned_folder, tmp_path):
    """Guards against torchcodec, a missing audio_id, and audio that another kind of column turns into another."""

    def trained(table, **options):
        model, processor = tiny_model()
        model.processor = processor
        return losses(ClapStudentTrainer(model, arguments(tmp_path), train_dataset=table, **options))

    processor = tiny_model()[1]
    collator = ClapCollator(processor, SkippedClips(tmp_path / "s.csv"))
    expected = trained(read_corpora([str(captioned_folder)]), data_collator=collator, processing_class=processor)
    assert len(expected) == 2
    for kind, table in tables(captioned_folder).items():
        assert trained(table) == pytest.approx(expected, rel=1e-6), kind
    named = tables(captioned_folder)["Audio()"].rename_columns({"audio": "file", "caption": "text"})
    named = named.add_column("audio", ["something else"] * 12)
    assert trained(named, column_mapping={"file": "audio", "text": "caption"}) == pytest.approx(expected, rel=1e-6)


def test_clips_of_several_captions_are_one_clip(captioned_folder):
    """Guards against two captions of a clip that are negatives of each other."""
    files, captions = columns(captioned_folder)
    twice = Dataset.from_dict({"audio": files * 2, "caption": captions + [f"{text} again" for text in captions]})
    assert as_pairs(twice)["audio_id"][:] == files * 2
    held = [{"bytes": (captioned_folder / f"{number}.wav").read_bytes(), "path": "a.wav"} for number in range(12)]
    features = Features({"audio": Audio(decode=False), "captions": [Value("string")]})
    lists = Dataset.from_dict({"audio": held[:2], "captions": [["a", "b"], ["c"]]}).cast(features)
    pairs = as_pairs(lists)
    rows = sorted(zip(pairs["audio_id"], pairs["caption"], strict=True))
    assert rows == [("train_dataset/0", "a"), ("train_dataset/0", "b"), ("train_dataset/1", "c")]
    same = Dataset.from_dict({"audio": [held[0], held[1], held[0]], "caption": ["a", "b", "c"]})
    assert as_pairs(same)["audio_id"][:] == ["train_dataset/0", "train_dataset/1", "train_dataset/0"]
    known = read_corpora([str(captioned_folder)])
    assert as_pairs(known) is known


def test_streams_of_any_columns_train(model, captioned_folder, tmp_path):
    """Guards against a stream that only the commands' readers can make."""
    rows = tables(captioned_folder)
    for name in ("Audio()", "arrays", "paths"):
        stream = rows[name].rename_column("caption", "words").to_iterable_dataset(2)
        trainer = ClapStudentTrainer(model, arguments(tmp_path), stream, column_mapping={"words": "caption"})
        assert np.isfinite(losses(trainer)).all()

    renamed = rows["Audio()"].to_iterable_dataset(2).rename_column("caption", "text")
    with pytest.raises(InputError, match=r"decodes its audio before .* column_mapping"):
        ClapStudentTrainer(model, arguments(tmp_path), renamed)

    def generate():
        yield from ({"audio": row["audio"], "text": row["caption"]} for row in rows["arrays"])

    trainer = ClapStudentTrainer(model, arguments(tmp_path), IterableDataset.from_generator(generate))
    assert np.isfinite(losses(trainer)).all()


def test_an_improvement_set_is_enough(model, captioned_folder, tmp_path, capsys):
    """Guards against a replay set that is left behind, a processor that is not saved, and lines nobody asked for."""
    pairs = read_corpora([str(captioned_folder)])
    improvement = SimpleNamespace(pairs=pairs.select(range(8)), replay=pairs.select(range(8, 12)))
    teacher = tiny_model()[0]
    teacher.processor = model.processor
    trainer = ClapStudentTrainer(model, arguments(tmp_path), train_dataset=improvement, teacher=teacher)
    assert (trainer.num_curated, trainer.num_replay) == (8, 4) and trainer.data_collator.teacher_processor is None
    trainer.train()
    trainer.save_model()
    assert all(line.startswith("{'") for line in capsys.readouterr().out.splitlines())  # transformers' own log
    loaded = ClapStudentModel.from_pretrained(tmp_path / "out")
    assert torch.equal(loaded.encode_text("hum"), model.encode_text("hum"))
    alone = ClapStudentTrainer(model, arguments(tmp_path), SimpleNamespace(pairs=pairs, replay=None))
    assert (alone.num_curated, alone.num_replay) == (12, 0)


def test_any_clap_is_a_teacher(model, captioned_folder, tmp_path):
    """Guards against a teacher that gets the student's spectrogram or tokens."""
    name, found = tiny_clap(tmp_path / "clap"), []
    for teacher in (name, ClapModel.from_pretrained(name), load_checkpoint(name)):
        trainer = ClapStudentTrainer(
            model, arguments(tmp_path), train_dataset=tables(captioned_folder)["paths"], teacher=teacher
        )
        batch = trainer.data_collator([{**row, "draw": 0} for row in trainer.train_dataset.table.select(range(4))])
        found.append(trainer.compute_loss(model.eval(), batch).item())
        assert trainer.data_collator.teacher_processor is not None
    assert found[0] == found[1] == found[2]


def test_clips_that_can_t_be_used_are_told(model, captioned_folder, tmp_path):
    """Guards against silence about broken files, and an earlier run's list in this one's place."""
    (captioned_folder / "5.wav").write_text("broken")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "skipped.csv").write_text("old,reason\n")
    files, captions = columns(captioned_folder)
    table = Dataset.from_dict({"audio": [*files, "gone.wav"], "caption": ["", *captions[1:], "hum"]})
    options = {"num_train_epochs": 1, "max_steps": -1}
    with pytest.warns(UserWarning) as caught:
        trainer = ClapStudentTrainer(model, arguments(tmp_path, **options), train_dataset=table)
        assert trainer.num_curated == 11
        trainer.train()
    words = [str(warning.message) for warning in caught]
    for part in ("1 of 13 rows left out: no word", "rows left out: no such audio file", "1 clips could not be used"):
        assert any(part in line for line in words), words
    assert (tmp_path / "out" / "skipped.csv").read_text().startswith(f"{captioned_folder / '5.wav'},not decodable")
    assert not list((tmp_path / "out").glob(".skipped*"))


def test_evaluation_is_the_model_s_own(captioned_folder, tmp_path, capsys):
    """Guards against other scores from Python than the commands have, and ranks of other clips in compute_metrics."""
    model, processor = tiny_model()
    settle(model).processor = processor
    table, given = tables(captioned_folder)["Audio()"], []

    def compute_metrics(prediction):
        given.append(prediction)
        return {"mine": float(len(prediction.label_ids))}

    pairs = as_pairs(table)
    files = pairs["audio_id"][:]
    trainer = ClapStudentTrainer(
        model, arguments(tmp_path, eval_strategy="steps", eval_steps=1), table, eval_dataset=table.select(range(9)),
        compute_metrics=compute_metrics,
    )  # fmt: skip
    expected = validate(model, processor, pairs.select(range(9)), SkippedClips(tmp_path / "s.csv"), 4, progress=False)
    found = trainer.evaluate()
    assert found == {f"eval_{name}": value for name, value in expected.items()} | {"eval_mine": 9.0, "epoch": 0}
    (audio_embeds, text_embeds), clips = given[0].predictions, given[0].label_ids
    assert clips.shape == (9,) and np.allclose(audio_embeds[clips], model.encode_audio(files[:9]), atol=1e-5)
    assert np.allclose(text_embeds, model.encode_text(pairs["caption"][:9]), atol=1e-5)
    few = trainer.evaluate(table.select(range(4)), metric_key_prefix="few")
    assert few["few_mine"] == 4.0 and trainer.evaluate({"a": table})["eval_a_mine"] == 12.0
    trainer.train()
    steps = [entry["step"] for entry in trainer.state.log_history if "eval_recall" in entry]
    assert steps[-2:] == [1, 2] and capsys.readouterr().err == ""


def test_the_best_checkpoint_is_chosen_by_a_table(model, captioned_folder, tmp_path):
    """Guards against a metric that Trainer does not find, and two sets whose scores take each other's place."""
    table = tables(captioned_folder)["paths"].rename_column("audio", "file")
    options = {"eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps", "save_steps": 1}
    options |= {"load_best_model_at_end": True, "metric_for_best_model": "eval_b_recall", "greater_is_better": True}
    sets = {"a": table.select(range(6)), "b": table.select(range(6, 12))}
    trainer = ClapStudentTrainer(
        model, arguments(tmp_path, **options), table, eval_dataset=sets, column_mapping={"file": "audio"}
    )
    trainer.train()
    assert trainer.state.best_model_checkpoint is not None
    record = json.loads((tmp_path / "out" / "checkpoint-2" / "config.json").read_text())["record"]
    assert record["selected_by"] == "eval_b_recall on held-out pairs"


WORDLESS = {"audio": ["a.wav"] * 3, "caption": ["", "…", None]}
ONE = {"audio": ["a.wav"], "caption": ["hum"]}


@pytest.mark.parametrize(
    ("data", "options", "words"),
    [
        (Dataset.from_dict({"audio": [], "caption": []}), {}, "train_dataset has no rows"),
        (Dataset.from_dict({"file": ["a"], "caption": ["b"]}), {}, "no column audio: its columns are file, caption"),
        (Dataset.from_dict({"audio": ["a"], "words": ["b"]}), {}, "no column caption: its columns are audio, words"),
        (Dataset.from_dict(WORDLESS), {}, "train_dataset holds no caption with a word"),
        (Dataset.from_dict(ONE), {}, "1 captions, but not one of its audio files is there"),
        (Dataset.from_dict({**ONE, "audio": [3]}), {}, "column audio holds int64"),
        (Dataset.from_dict({**ONE, "audio": [[0.1, 0.2]]}), {}, "column audio holds list"),
        (Dataset.from_dict({**ONE, "audio": [{"array": [0.1]}]}), {}, "clip in row 0 is an array without its sampl"),
        (
            Dataset.from_dict({**ONE, "audio": [{"array": [1, 2], "sampling_rate": 16000}]}),
            {},
            "clip in row 0 holds int64",
        ),
        (Dataset.from_dict({**ONE, "audio": [{"array": "a", "sampling_rate": 16000}]}), {}, "row 0 holds <U1"),
        (Dataset.from_dict({**ONE, "caption": [3]}), {}, "column caption holds int64"),
        (Dataset.from_dict(ONE), {"column_mapping": {"fiel": "audio"}}, "names 'fiel', and train_dataset has no such"),
        (Dataset.from_dict(ONE), {"column_mapping": {"audio": "sound"}}, "calls 'audio' 'sound': it takes audio"),
        (DatasetDict(train=Dataset.from_dict(ONE)), {}, "has the splits train"),
        ([ONE], {}, "train_dataset is a list"),
        (None, {}, "train_dataset is a NoneType"),
    ],
)
def test_wrong_data(model, tmp_path, data, options, words):
    """Guards against tracebacks from arrow, datasets and the collator."""
    with pytest.raises(InputError, match=words) as error:
        ClapStudentTrainer(model, arguments(tmp_path), train_dataset=data, **options)
    assert "\n" not in str(error.value)


def test_wrong_company(model, captioned_folder, tmp_path):
    """Guards against a model, arguments, a teacher or a dataset of another kind that are found out hours later."""
    table, args = tables(captioned_folder)["paths"], arguments(tmp_path)
    clap = ClapModel.from_pretrained(tiny_clap(tmp_path / "clap"))
    bare = ClapStudentModel(model.config)
    stream = table.to_iterable_dataset()
    for words, given, options in (
        ("can't be used here", (clap.audio_model, args, table), {}),
        ("args must be ClapStudentTrainingArguments", (model, TrainingArguments(str(tmp_path / "o")), table), {}),
        ("came without a processor", (bare, args, table), {}),
        ("can't be used here", (model, args, table), {"teacher": clap.text_model}),
        ("no such checkpoint folder", (model, args, table), {"teacher": "gone/"}),
        ("eval_dataset is a stream", (model, args, table), {"eval_dataset": stream}),
        ("eval_dataset b has no rows", (model, args, table), {"eval_dataset": {"a": table, "b": table.select([])}}),
    ):
        with pytest.raises(InputError, match=words):
            ClapStudentTrainer(*given, **options)
    with pytest.raises(InputError, match="nothing to evaluate on"):
        ClapStudentTrainer(model, args, table).evaluate()
