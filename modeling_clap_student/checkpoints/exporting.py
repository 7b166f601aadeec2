"""Exports the two towers as ONNX graphs: waveforms or tokens in, unit embeddings out."""

import copy
import warnings
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from ..errors import InputError, reading
from ..modeling_clap_student import ClapStudentModel
from ..utils.outputs import output_folder, whole_file


_AUDIO, _TEXT = "audio_tower.onnx", "text_tower.onnx"
_OUTPUTS = {_AUDIO: "audio_embeds", _TEXT: "text_embeds"}


class AudioTower(nn.Module):
    """(windows, samples) floating-point waveforms in [-1, 1] -> (windows, dim) L2-normalised embeddings.

    A clip of several windows is embedded as the normalised mean of its windows' embeddings, as in
    `get_audio_features`. The model is shared, not copied. `forward` raises a ValueError for a wrong number of axes or
    too few samples.
    """

    def __init__(self, model: ClapStudentModel):
        super().__init__()
        self.model = model

    def forward(self, input_values: Tensor) -> Tensor:
        return self.model.get_audio_features(input_values).pooler_output


class TextTower(nn.Module):
    """(texts, tokens) int64 ids and int64 mask, 0 where padded -> (texts, dim) L2-normalised embeddings."""

    def __init__(self, model: ClapStudentModel):
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.model.get_text_features(input_ids, attention_mask).pooler_output


def export_onnx(model: ClapStudentModel, output_dir: str | Path) -> tuple[Path, Path]:
    """Writes `audio_tower.onnx` and `text_tower.onnx`, in float32 and eval mode, each completely or not at all.

    The audio graph takes `input_values` (windows, samples) float32 and gives `audio_embeds` (windows, dim) float32.
    The text graph takes `input_ids` and `attention_mask` (texts, tokens) int64 and gives `text_embeds` (texts, dim)
    float32. Every axis except dim may have any length that the model takes. The model is not changed. Older graphs in
    the folder are replaced.

    Returns:
        the paths of the audio and the text graph.
    """
    missing = [name for name in ("onnx", "onnxscript") if find_spec(name) is None]
    if missing:
        raise InputError(f"{' and '.join(missing)} missing: pip install onnx onnxscript")
    model = copy.deepcopy(model).cpu().float().eval()
    folder = Path(output_dir)
    waveforms = torch.zeros(2, 3 * model.audio_model.min_samples + 1)  # a length with no special property
    # Two different tensors: one tensor given twice would be traced as a single input.
    tokens = {"input_ids": torch.ones(2, 8).long(), "attention_mask": torch.ones(2, 8).long()}
    with output_folder(folder, check=_refuse_others):
        return (
            _write(folder / _AUDIO, AudioTower(model), {"input_values": waveforms}, ("windows", "samples")),
            _write(folder / _TEXT, TextTower(model), tokens, ("texts", "tokens")),
        )


def _refuse_others(folder: Path) -> None:
    """Raises an InputError if a file with a graph's name is not such a graph."""
    import onnx  # from the extra

    for name, output in _OUTPUTS.items():
        file = folder / name
        if not file.exists():
            continue
        with reading(file, "graph of a tower, and would be replaced"):
            graph = onnx.load(file, load_external_data=False).graph
            if [value.name for value in graph.output] != [output]:
                raise ValueError("name another --output_dir")


def _write(path: Path, tower: nn.Module, inputs: dict[str, Tensor], axes: tuple[str, str]) -> Path:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="# The axis name")  # ids and mask share their axes on purpose
        program = torch.onnx.export(
            tower.eval(),
            kwargs=inputs,
            dynamic_shapes={name: dict(enumerate(axes)) for name in inputs},
            output_names=[_OUTPUTS[path.name]],
            dynamo=True,
            verbose=False,
        )
    with whole_file(path) as partial:
        program.save(partial)
    return path
