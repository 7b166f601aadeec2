"""Files and bytes to mono waveforms at the model's rate, and the list of the clips that could not be read."""

import csv
import io
import os
import re
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

import numpy as np
import soundfile
import torch
import torchaudio

from ..errors import ClipError
from . import soundscapes


_LONGEST_OGG_PAGE = 65307


@lru_cache(maxsize=16)
def _resampler(from_rate: int, to_rate: int) -> torchaudio.transforms.Resample:
    return torchaudio.transforms.Resample(from_rate, to_rate)


def decode_clip(audio: dict, sampling_rate: int) -> np.ndarray:
    """Decodes one clip.

    Args:
        audio: datasets' undecoded form, `{"path": ..., "bytes": ...}`; bytes win. Paths that begin with
            `soundscapes://` are synthesised.
        sampling_rate: wanted, Hz.

    Returns:
        (samples,) float32, the mean of the channels, resampled.

    Raises:
        ClipError: missing, not decodable, truncated, empty, or with NaN or infinite samples.
    """
    if audio is None:
        raise ClipError("has no audio")
    path = audio.get("path")
    if audio.get("bytes") is None and path is not None and soundscapes.is_soundscape(path):
        samples, rate = soundscapes.render(path), soundscapes.SAMPLING_RATE
    else:
        samples, rate = _read_file(audio)
    if samples.size == 0:
        raise ClipError("holds no samples")
    if not np.isfinite(samples).all():
        raise ClipError("holds NaN or infinite samples")
    if rate != sampling_rate:
        with torch.inference_mode():
            samples = _resampler(rate, sampling_rate)(torch.from_numpy(samples)).numpy()
    return samples


def _read_file(audio: dict) -> tuple[np.ndarray, int]:
    if audio.get("bytes") is None and not os.path.isfile(audio.get("path") or ""):
        raise ClipError("no such file")
    try:
        with soundfile.SoundFile(audio["path"] if audio.get("bytes") is None else io.BytesIO(audio["bytes"])) as file:
            samples = file.read(dtype="float32", always_2d=True)
            if len(samples) < file.frames or _cut_wav(file.extra_info) or _cut_ogg(audio):
                raise ClipError("truncated")
            return samples.mean(axis=1, dtype=np.float32), file.samplerate
    except (soundfile.LibsndfileError, OSError, RuntimeError) as error:
        raise ClipError(f"not decodable: {error}") from error


def _cut_wav(log: str) -> bool:
    """Whether libsndfile's log tells of a data chunk shorter than its header says: it reads on in silence.

    Programs that write to a pipe can't know the size and leave the largest number there: such files are whole.
    """
    remark = re.search(r"data : (\d+) \(should be", log)
    return remark is not None and int(remark[1]) < 2**32 - 2**12


def _cut_ogg(audio: dict) -> bool:
    """Whether an Ogg file ends before the page that is marked as its last; libsndfile takes it for a shorter clip."""
    if audio.get("bytes") is not None:
        head, tail = audio["bytes"][:4], audio["bytes"][-_LONGEST_OGG_PAGE:]
    else:
        with open(audio["path"], "rb") as file:
            head = file.read(4)
            if head != b"OggS":
                return False
            file.seek(max(0, os.path.getsize(audio["path"]) - _LONGEST_OGG_PAGE))
            tail = file.read()
    last_page = tail.rfind(b"OggS")
    return head == b"OggS" and (last_page < 0 or len(tail) < last_page + 6 or not tail[last_page + 5] & 4)


class SkippedClips:
    """The clips that could not be used: a csv file of `audio_id,reason` that every process and worker appends to.

    Args:
        path: the file; it appears with the first entry. Its folder must exist by then.
    """

    def __init__(self, path: Path | str):
        self.path = Path(path)

    def add(self, audio_id: str, reason: str) -> None:
        line = io.StringIO(newline="")
        csv.writer(line).writerow([audio_id, " ".join(reason.split())])
        with open(self.path, "a", encoding="utf-8", newline="") as file:
            file.write(line.getvalue())

    def read(self) -> dict[str, str]:
        """audio_id -> reason, each clip once."""
        if not self.path.exists():
            return {}
        with open(self.path, encoding="utf-8", newline="") as file:
            return dict(csv.reader(file))


class ClipReader:
    """Decodes the clips of a batch side by side in threads, and skips the bad ones.

    soundfile, numpy and torchaudio release the interpreter lock, so that threads use the cores without the memory and
    the start-up time of worker processes.

    Args:
        sampling_rate: wanted, Hz.
        skipped: where bad clips are listed.
    """

    def __init__(self, sampling_rate: int, skipped: SkippedClips):
        self.sampling_rate = sampling_rate
        self.skipped = skipped
        self._threads: ThreadPoolExecutor | None = None

    def __getstate__(self):
        return {**self.__dict__, "_threads": None}

    def read(self, rows: list[dict]) -> list[np.ndarray | None]:
        """Rows with `audio` and `audio_id` -> waveforms, None for a skipped clip."""
        if self._threads is None:
            workers = torch.utils.data.get_worker_info()
            self._threads = ThreadPoolExecutor(1 if workers else torch.get_num_threads())
        return list(self._threads.map(self._read_one, rows))

    def _read_one(self, row: dict) -> np.ndarray | None:
        try:
            return decode_clip(row["audio"], self.sampling_rate)
        except ClipError as error:
            self.skipped.add(row["audio_id"], str(error))
            return None


__all__ = ["ClipReader", "SkippedClips", "decode_clip"]
