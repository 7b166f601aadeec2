"""Writes the two towers of a checkpoint as ONNX graphs.

clap-export --model outputs/student --output_dir outputs/onnx
"""

import logging
from dataclasses import dataclass
from typing import ClassVar

from ..utils.arguments import CheckedArguments, flag
from ..utils.console import say
from ..utils.outputs import probe_folder
from .command_line import command, parse_arguments


@dataclass
class ExportArguments(CheckedArguments):
    title: ClassVar[str] = "Export"

    model: str = flag(help="Checkpoint folder or Hub id.")
    output_dir: str = flag("outputs/onnx", "Where the two .onnx files go.")


@command
def main():
    (args,) = parse_arguments((ExportArguments,), __doc__)
    from ..checkpoints.exporting import export_onnx  # imported late, so that --help and errors in flags are fast
    from ..checkpoints.loading import load_checkpoint

    probe_folder(args.output_dir)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # otherwise it lists operators that only torchvision needs
    model, processor = load_checkpoint(args.model, kinds=("clap_student",))
    audio, text = export_onnx(model, args.output_dir)
    rate, shortest = processor.feature_extractor.sampling_rate, model.audio_model.min_samples
    say(f"{audio}: input_values (windows, samples at {rate} Hz, {shortest} or more) -> audio_embeds")
    say(f"{text}: input_ids, attention_mask (texts, tokens) -> text_embeds")


if __name__ == "__main__":
    main()
