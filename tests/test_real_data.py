"""The readers on real recordings, where they are at hand (CLAP_STUDENT_DATA)."""

import numpy as np

from modeling_clap_student.data.benchmarks import read_benchmark, read_labels
from modeling_clap_student.data.corpora import read_corpora
from modeling_clap_student.data.decoding import ClipReader
from modeling_clap_student.data.pools import read_pools
from modeling_clap_student.data.skipping import SkippedClips


def test_captioned_corpora(real_data):
    """Guards against real titles and metadata that the readers trip over."""
    specs = [
        f"audiofolder={real_data}/captioned_sfx",
        f"esc50={real_data}/esc50_extra",
        f"esc50:1,2={real_data}/esc10",
    ]
    corpus = read_corpora(specs)
    assert 1350 <= len(corpus) <= 1049 + 192 + 160  # titles of digits alone are dropped
    assert all(caption.strip() for caption in corpus["caption"])
    titles = corpus.filter(lambda source: source != "captioned_sfx", input_columns="source")["caption"]
    assert not any(".wav" in t or "_" in t or any(c.isdigit() for c in t) or t != t.lower() for t in titles)
    assert "rose bark" in titles


def test_caption_lists(real_data):
    """Guards against published csv files that can't be read: AudioCaps' one caption, Clotho's five."""
    clotho = read_corpora([f"{real_data}/captions/clotho_captions_evaluation.csv"], needs_audio=False)
    audiocaps = read_corpora([f"{real_data}/captions/audiocaps_val.csv"], needs_audio=False)
    assert len(clotho) % 5 == 0 and len(set(clotho["audio_id"])) == len(clotho) // 5
    assert len(audiocaps) > 400 and set(audiocaps["audio"]) == {None}


def test_pools_and_folds_do_not_meet(real_data):
    """Guards against downstream clips in the pool."""
    pool = read_pools([f"{real_data}/wild", f"urbansound8k:1={real_data}/urbansound8k", f"esc50:3={real_data}/esc10"])
    downstream = read_benchmark(f"esc50:4,5={real_data}/esc10")
    assert pool.column_names == ["audio", "audio_id", "source", "origin_id"] and len(pool) == 380 + 866 + 80
    assert len(downstream.clips) == 160 and len(downstream.class_names) == 10
    assert not {a["path"] for a in pool["audio"]} & {a["path"] for a in downstream.clips["audio"]}
    assert read_labels(f"{real_data}/urbansound8k")[1] == "urbansound8k"


def test_real_files_decode(real_data, tmp_path):
    """Guards against formats and rates in the wild that the decoder refuses or scrambles."""
    skipped = SkippedClips(tmp_path / "skipped.csv")
    pool = read_pools([f"{real_data}/wild", f"urbansound8k:1={real_data}/urbansound8k", f"esc50:3={real_data}/esc10"])
    rows = [pool[i] for i in range(0, len(pool), 25)]
    clips = ClipReader(44100, skipped).read(rows)
    assert skipped.read() == {}
    assert all(clip.dtype == np.float32 and clip.ndim == 1 and len(clip) > 1000 for clip in clips)
    assert max(np.abs(clip).max() for clip in clips) < 2
