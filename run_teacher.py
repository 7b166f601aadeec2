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
