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
# timeout = "1d"
# secrets = ["HF_TOKEN"]
# env = { PYTHONPATH = "/package" }
# volumes = ["./modeling_clap_student:/package/modeling_clap_student"]
# ///
"""Trains a teacher: CLAP (CNN14 and BERT) on captioned audio, with the symmetric contrastive loss.

One process:        python run_teacher.py --corpus my_clips/ --output_dir outputs/teacher
Several GPUs:       accelerate launch --num_processes 2 run_teacher.py --corpus my_clips/ --output_dir outputs/teacher
Several machines:   accelerate launch --num_machines 2 --machine_rank 0 --main_process_ip HOST --num_processes 16 \
                        run_teacher.py --corpus my_clips/ --output_dir outputs/teacher

Without --corpus it trains a small teacher on the built-in soundscapes.
"""

from modeling_clap_student.commands.teacher import main


if __name__ == "__main__":
    main()
