"""A pool and captions, embedded by a teacher, for the benchmarks of curation."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from accelerate import PartialState
from datasets import Dataset

from modeling_clap_student.checkpoints.embedding import embed_clips, embed_texts
from modeling_clap_student.checkpoints.loading import load_checkpoint
from modeling_clap_student.curation.strategies import label_prompts
from modeling_clap_student.data.skipping import SkippedClips


@dataclass(frozen=True)
class EmbeddedPool:
    """The embeddings by one teacher.

    Attributes:
        captions: `caption` and `caption_id`, each once.
        texts: (captions, dim) unit vectors.
        prompts: (classes, dim) unit vectors of the class names' prompts.
        clips: (readable, dim) unit vectors of the pool's clips.
        rows: (readable,) their rows in the pool.
        scale: the factor of the teacher's cosines.
    """

    captions: Dataset
    texts: np.ndarray
    prompts: np.ndarray
    clips: np.ndarray
    rows: np.ndarray
    scale: float


def embed_pool(teacher: str, corpus: Dataset, pool: Dataset, names: list[str]) -> EmbeddedPool:
    _, firsts = np.unique(corpus["caption_id"], return_index=True)
    captions = corpus.select(np.sort(firsts)).select_columns(["caption", "caption_id"])
    model, processor = load_checkpoint(teacher)
    model.to(PartialState().device)
    texts, prompts = (embed_texts(model, processor, of) for of in (captions["caption"], label_prompts(names)))
    with tempfile.TemporaryDirectory() as folder:
        skipped = SkippedClips(Path(folder) / "skipped.csv", 0.1)
        clips, rows = embed_clips(model, processor, pool, skipped, description="embedding the pool")
    return EmbeddedPool(captions, texts, prompts, clips, rows, model.logit_scale.exp().item())
