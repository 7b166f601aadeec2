"""Curates an Improvement-Set: a teacher pairs captions with unlabelled audio.

One process:        python curate.py --strategy ads --teacher outputs/teacher --captions my_captions/ \
                        --audio my_pool/ --labels my_labels.txt --output_dir outputs/improvement_set
Several GPUs:       accelerate launch --num_processes 2 curate.py --strategy ads …
Several machines:   accelerate launch --num_machines 2 --machine_rank 0 --main_process_ip HOST --num_processes 16 \
                        curate.py --strategy ads …

du:  every clip of the pool with every training caption that is similar enough.
ds:  the training pairs whose caption is near the prompt of one of the labels.
ads: the captions chosen as in ds, with every clip of the pool that is similar enough.

Listen and judge:   python curate.py review outputs/improvement_set
"""

from modeling_clap_student.commands.curate import main


if __name__ == "__main__":
    main()
