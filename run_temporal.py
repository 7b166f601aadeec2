# /// script
# requires-python = ">=3.10"
# dependencies = [
#   "torch>=2.11,<2.15",
#   "torchaudio>=2.11,<2.12",
#   "torchdata>=0.11",
#   "transformers>=5.17,<5.25",
#   "datasets>=5.1,<6",
#   "accelerate>=1.12,<2",
#   "evaluate>=0.4.6",
#   "huggingface_hub>=1.31,<3",
#   "filelock>=3.30",
#   "tokenizers>=0.23.1",
#   "soundfile>=0.13",
#   "numpy>=2.0",
#   "jinja2>=3.1.4",
#   "matplotlib>=3.9",
#   "pillow>=11.0",
#   "pyyaml>=6.0.2",
#   "rich>=14.0",
#   "tqdm>=4.67",
# ]
#
# [tool.hf-jobs]
# image = "ghcr.io/astral-sh/uv:python3.12-bookworm"
# flavor = "a10g-small"
# timeout = "8h"
# secrets = ["HF_TOKEN"]
# env = { PYTHONPATH = "/package" }
# volumes = ["./modeling_clap_student:/package/modeling_clap_student"]
# ///
"""Teaches a model the order of sounds: TeminAL's stages A (one sound or two) and B (before, after, while).

One process:        python run_temporal.py --stage b --model outputs/teacher --clips esc50:1,2,3=/data/ESC-50 \
                        --validation_clips esc50:4=/data/ESC-50 --output_dir outputs/temporal
Several GPUs:       accelerate launch --num_processes 2 run_temporal.py --stage b …
Several machines:   accelerate launch --num_machines 2 --machine_rank 0 --main_process_ip HOST --num_processes 16 \
                        run_temporal.py --stage b …

`--stage ab` runs A, and then B from A's best weights. With nothing but --stage it uses the built-in soundscapes and
their teacher, and first makes the teacher if it does not exist. `run_eval.py --task zste=…` measures what was learnt.
"""

from modeling_clap_student.commands.temporal import main


if __name__ == "__main__":
    main()
