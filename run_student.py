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
# flavor = "a10g-large"
# timeout = "8h"
# secrets = ["HF_TOKEN"]
# env = { PYTHONPATH = "/package" }
# volumes = ["./modeling_clap_student:/package/modeling_clap_student"]
# ///
"""Trains a student on an Improvement-Set, with the teacher's soft labels and replay.

One process:        python run_student.py --strategy ads --teacher outputs/teacher \
                        --improvement_set outputs/improvement_set_ads --task esc50=/data/ESC-50
Several GPUs:       accelerate launch --num_processes 2 run_student.py --strategy ads …
Several machines:   accelerate launch --num_machines 2 --machine_rank 0 --main_process_ip HOST --num_processes 16 \
                        run_student.py --strategy ads …

With nothing but --strategy it runs the whole chain on the built-in soundscapes: teacher, curation, student, scores.
`--strategy none` trains on the teacher's own corpus with soft labels alone (the paper's SL row).
"""

from modeling_clap_student.commands.student import main


if __name__ == "__main__":
    main()
