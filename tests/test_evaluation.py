"""Zero-shot accuracy, its interval and the truth of pairs."""

import numpy as np
import pytest
import soundfile
import torch

from modeling_clap_student.curation.improvement_set import pair_precision
from modeling_clap_student.data.benchmarks import read_benchmark
from modeling_clap_student.data.skipping import SkippedClips
from modeling_clap_student.data.sources import Source
from modeling_clap_student.data.tables import clip_table
from modeling_clap_student.evaluation.statistics import wilson_interval
from modeling_clap_student.evaluation.zero_shot import zero_shot
from modeling_clap_student.soundscapes.corpus import captioned_clips


def test_zero_shot_is_the_nearest_prompt(tiny, labelled_folder, tmp_path):
    """Guards against labels in another order than their prompts, and against predictions on the wrong rows."""
    model, processor = tiny
    (labelled_folder / "1.wav").write_text("broken")
    benchmark = read_benchmark(str(labelled_folder))
    result = zero_shot(model, processor, benchmark, SkippedClips(tmp_path / "s.csv"), batch_size=4)
    prompts = processor.tokenizer([f"this is a sound of {n}" for n in benchmark.class_names], return_tensors="pt")
    expected = []
    for row in benchmark.clips:
        if row["audio_id"].endswith("/1.wav"):
            expected.append(None)
            continue
        samples, rate = soundfile.read(row["audio"]["path"], dtype="float32")
        inputs = processor.feature_extractor(samples, sampling_rate=rate, return_tensors="pt")
        with torch.no_grad():
            logits = model(**inputs, **prompts).logits_per_audio
        expected.append(benchmark.class_names[int(logits.argmax())])
    assert benchmark.class_names == ["high whistle", "low hum"]
    assert result.predictions == expected and result.n == 5
    right = [p == t for p, t in zip(expected, benchmark.clips["label"], strict=True) if p]
    assert result.accuracy == pytest.approx(np.mean(right))
    assert result.interval == wilson_interval(sum(right), 5)


def test_pair_precision_needs_the_truth():
    """Guards against a figure where no truth is known, and against unknown pairs counted as wrong."""
    rows = [(a, i, c) for a, i, c in captioned_clips()[:3]]
    wrong = next(c for _, _, c in captioned_clips() if c != rows[0][2] and "gun" in c)
    pairs = [*rows, (rows[0][0], "w", wrong), ("/data/a.wav", "f", "a dog barks")]
    audio, ids, captions = zip(*pairs, strict=True)
    table = clip_table(Source("s", "folder", "s"), audio, ids, caption=captions)
    assert pair_precision(table) == 0.75
    assert pair_precision(table.select([4])) is None
