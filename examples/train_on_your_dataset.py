"""Trains on files and captions of your own: python examples/train_on_your_dataset.py MODEL captions.csv OUTPUT"""

import argparse
import csv

from datasets import Audio, Dataset

from modeling_clap_student import ClapStudentModel, ClapStudentTrainer, ClapStudentTrainingArguments


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("model", help="checkpoint folder or Hub id to start from")
parser.add_argument("captions", help="csv file with the columns file and text")
parser.add_argument("output_dir")
parser.add_argument("--epochs", type=float, default=5)
args = parser.parse_args()

# Any datasets.Dataset with an Audio column will do.
with open(args.captions, encoding="utf-8", newline="") as file:
    dataset = Dataset.from_list(list(csv.DictReader(file))).cast_column("file", Audio())
parts = dataset.train_test_split(test_size=0.25, seed=0)
options = {"num_train_epochs": args.epochs, "per_device_train_batch_size": 8, "eval_strategy": "epoch"}
trainer = ClapStudentTrainer(
    ClapStudentModel.from_pretrained(args.model), ClapStudentTrainingArguments(args.output_dir, **options),
    parts["train"], eval_dataset=parts["test"], column_mapping={"file": "audio", "text": "caption"},
)  # fmt: skip
trainer.train()
trainer.save_model()
print(f"recall on held-out clips: {trainer.evaluate()['eval_recall']:.1%}")
