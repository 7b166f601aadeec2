"""Trains a student on an Improvement-Set, with the teacher's soft labels and replay.

One process:        accelerate launch run_student.py --strategy ads --teacher outputs/teacher \
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
