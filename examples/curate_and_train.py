"""Improves a CLAP in your domain: python examples/curate_and_train.py TEACHER captions/ audio/ OUTPUT --labels …"""

import argparse

from modeling_clap_student import ClapStudentTrainer, ClapStudentTrainingArguments, curate


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("teacher", help="checkpoint folder or Hub id, of this package or of transformers' CLAP")
parser.add_argument("captions", help="a captioned corpus, as curate.py --captions takes it")
parser.add_argument("audio", help="recordings without text, as --audio takes them")
parser.add_argument("output_dir")
parser.add_argument("--labels", nargs="+", required=True, help="the classes that you care about")
parser.add_argument("--num_captions", type=int, default=200)
parser.add_argument("--num_pairs", type=int, default=20_000)
parser.add_argument("--epochs", type=float, default=5)
args = parser.parse_args()

improvement = curate(args.teacher, strategy="ads", captions=args.captions, audio=args.audio, labels=args.labels,
                     num_captions=args.num_captions, num_pairs=args.num_pairs)  # fmt: skip
improvement.save(f"{args.output_dir}/pairs")
training = ClapStudentTrainingArguments(f"{args.output_dir}/student", num_train_epochs=args.epochs)
trainer = ClapStudentTrainer(args.teacher, training, train_dataset=improvement, teacher=args.teacher)
trainer.train()
trainer.save_model()
print(f"{len(improvement.pairs)} pairs; the student is in {training.output_dir}")
