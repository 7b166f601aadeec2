"""Checkpoints as mteb evaluates them: on its zero-shot classification, retrieval and other tasks of sounds and texts.

import mteb
from modeling_clap_student.evaluation.mteb_adapter import MtebModel

print(mteb.evaluate(MtebModel("outputs/student"), mteb.get_tasks(["ESC50_Zeroshot", "ClothoT2ARetrieval"])))
"""

from collections.abc import Iterator

import numpy as np
import torch
from accelerate import PartialState
from datasets import Audio, Dataset
from tqdm.auto import tqdm

from ..checkpoints.embedding import embed_texts
from ..checkpoints.inference import for_inference
from ..checkpoints.loading import load_checkpoint
from ..data.decoding import decode_windows
from ..data.sources import split_revision
from ..data.tables import UNDECODED
from ..encoding_clap_student import embed_windows
from ..errors import ClipError, InputError
from ..hub_clap_student import fingerprint
from ..processing_clap_student import longest_text
from ..resampling_clap_student import resample


try:
    from mteb.models.abs_encoder import AbsEncoder
    from mteb.models.model_meta import ModelMeta, ScoringFunction
except ImportError as error:
    raise ImportError(f"can't import mteb ({error}): pip install 'modeling_clap_student[mteb]'") from error


class MtebModel(AbsEncoder):
    """An mteb encoder whose vectors are those of `encode_audio` and `encode_text`, compared by their cosine.

    mteb keeps results by name and revision, and does not run a task again whose results it has. The revision is the
    Hub's commit, or of a folder the digest of its weights: trained anew in the same place, it is another model.

    Args:
        name: as `load_checkpoint` takes it: a folder or a Hub id, perhaps behind `st:`.
        device: where to embed; by default where accelerate would.
    """

    def __init__(self, name: str, device: str | torch.device | None = None):
        model, self.processor = load_checkpoint(name)
        self.mteb_model_meta = _describe(str(name), model, self.processor)
        self.model = for_inference(model.to(device or PartialState().device))

    def encode(self, inputs, *, batch_size: int = 32, show_progress_bar: bool = True, **task_and_prompt) -> np.ndarray:
        """Embeds what mteb asks for.

        Args:
            inputs: a DataLoader; what it loads has a column `text`, `audio`, or both, whose vectors are then added.
            batch_size: windows at a time.
            task_and_prompt: the task's metadata, split, subset and kind of prompt: no vector depends on them.

        Returns:
            (rows, dim) float32 unit vectors.

        Raises:
            InputError: neither column, or a clip that can't be read; mteb wants a vector of each.
        """
        rows, embeds = inputs.dataset, []
        if "text" in rows.features:
            embeds.append(embed_texts(self.model, self.processor, list(rows["text"])))
        if "audio" in rows.features:
            embeds.append(self._embed_clips(rows.select_columns("audio"), batch_size, show_progress_bar))
        if not embeds:
            raise InputError(f"expected a column 'text' or 'audio' to embed, got {', '.join(rows.column_names)}")
        if len(embeds) == 1:
            return embeds[0]
        total = sum(embeds)
        return total / np.linalg.norm(total, axis=1, keepdims=True)

    def _embed_clips(self, rows: Dataset, batch_size: int, show_progress_bar: bool) -> np.ndarray:
        # Not through the loader: it would decode with torchcodec, which needs FFmpeg, and whole clips at a time.
        if isinstance(rows.features["audio"], Audio):
            rows = rows.cast_column("audio", UNDECODED)
        extractor = self.processor.feature_extractor
        bar = tqdm(rows, desc="audio", unit="clip", disable=not show_progress_bar)
        clips = (_windows(number, row["audio"], extractor) for number, row in enumerate(bar))
        return embed_windows(self.model, clips, batch_size).numpy()


def _windows(number: int, audio: dict | None, extractor) -> Iterator[np.ndarray]:
    """The windows of a row's clip: an encoded file, or `{"array": (samples,) or (channels, samples), …}`."""
    try:
        if audio is None or "array" not in audio:
            yield from decode_windows(audio, extractor)
            return
        samples = np.atleast_2d(np.asarray(audio["array"], dtype=np.float32)).mean(axis=0)
        if samples.size == 0 or not np.isfinite(samples).all():
            raise ClipError("holds no samples, or NaN or infinite ones")
        yield from extractor.windows(resample(samples, audio["sampling_rate"], extractor.sampling_rate))
    except ClipError as error:
        raise InputError(f"can't read the audio of row {number}: {error}") from error


def _describe(name: str, model, processor) -> ModelMeta:
    repository, _ = split_revision(name)
    return ModelMeta.create_empty(
        {
            # A name in mteb always has a slash.
            "name": repository if "/" in repository else f"local/{repository}",
            "revision": model.config._commit_hash or fingerprint(model),
            "modalities": ["audio", "text"],
            "similarity_fn_name": ScoringFunction.COSINE,
            "n_parameters": model.num_parameters(),
            "embed_dim": model.config.projection_dim,
            "max_tokens": longest_text(processor.tokenizer),
            "framework": ["PyTorch"],
        }
    )
