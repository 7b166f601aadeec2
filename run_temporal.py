"""Teaches a model the order of sounds: TeminAL's stages A (one sound or two) and B (before, after, while).

One process:        python run_temporal.py --stage b --model outputs/teacher --clips esc50:1,2,3=/data/ESC-50 \
                        --validation_clips esc50:4=/data/ESC-50 --output_dir outputs/temporal
Several GPUs:       accelerate launch --num_processes 2 run_temporal.py --stage b …
Several machines:   accelerate launch --num_machines 2 --machine_rank 0 --main_process_ip HOST --num_processes 16 \
                        run_temporal.py --stage b …

`--stage ab` runs A and then B from A's best weights. With nothing but --stage it takes the built-in soundscapes and
their teacher, which is made first when it is not there. `run_eval.py --task zste=…` tells what was learnt.
"""

from modeling_clap_student.commands.temporal import main


if __name__ == "__main__":
    main()
