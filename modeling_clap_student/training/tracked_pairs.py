"""Logs a few pairs as audio in trackio, beside the curves of the training that learns from them."""

import os

import numpy as np
from datasets import Dataset
from transformers import TrainerCallback

from ..data.decoding import open_clip
from ..errors import ClipError


_PAIRS, _SECONDS, _RATE = 5, 10, 24_000
_SENDS = ("TRACKIO_SPACE_ID", "TRACKIO_BUCKET_ID", "TRACKIO_SERVER_URL")  # trackio then keeps nothing on this machine


class TrackedPairs(TrainerCallback):
    """Logs the beginnings of five clips with their captions when a training starts. A resumed one has them already.

    Nothing is logged if trackio sends its data to a Space, a bucket or a server: recordings stay on this machine.

    Args:
        pairs: with `audio` and `caption`, and in an Improvement-Set `similarity` and `label`.
        seed: of the draw.
    """

    def __init__(self, pairs: Dataset, seed: int):
        self.pairs, self.seed = pairs, seed

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        sends = args.trackio_space_id or args.trackio_bucket_id or any(map(os.environ.get, _SENDS))
        if state.is_world_process_zero and not state.global_step and not sends:
            import trackio  # an extra

            rows = np.random.default_rng(self.seed).permutation(len(self.pairs))
            if clips := [clip for row in rows[:_PAIRS] if (clip := _as_audio(self.pairs[int(row)])) is not None]:
                trackio.log({f"pairs/{number}": clip for number, clip in enumerate(clips, 1)})


def _as_audio(pair: dict):
    """`trackio.Audio` of a pair; None if its clip can't be read."""
    import trackio

    try:
        with open_clip(pair["audio"], _RATE) as clip:
            samples = clip.read(0, min(clip.length, _SECONDS * _RATE))
    except ClipError:  # the training will list it
        return None
    facts = [pair.get("label") or "", "" if (cosine := pair.get("similarity")) is None else f"cosine {cosine:.3f}"]
    told = ", ".join(filter(None, facts))
    caption = pair["caption"][:200] + (f" ({told})" if told else "")
    return trackio.Audio((samples.clip(-1, 1) * 32767).astype(np.int16), caption=caption, sample_rate=_RATE)
