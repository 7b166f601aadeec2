"""Scores a model on labelled clips: python examples/evaluate_model.py MODEL esc50=/data/ESC-50 --baseline TEACHER"""

import argparse

from modeling_clap_student import evaluate_zero_shot


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("model", help="checkpoint folder or Hub id, of this package or of transformers' CLAP")
parser.add_argument("task", help="as run_eval.py --task takes it: a folder with one folder per class, esc50=PATH, …")
parser.add_argument("--baseline", help="a model to compare with on the same clips")
args = parser.parse_args()

result = evaluate_zero_shot(args.model, args.task, baseline=args.baseline)
low, high = result.interval
print(f"accuracy {result.accuracy:.1%} ({low:.1%} – {high:.1%}) on {result.n} clips")
for label, accuracy in result.by_class.items():
    print(f"  {label}: {accuracy:.1%}")
if result.difference:
    change = result.difference
    print(f"difference {change.value:+.1%} ({change.low:+.1%} – {change.high:+.1%}), p = {change.p:.2g}")
