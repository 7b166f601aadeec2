"""Names the sounds in files: python examples/classify_files.py MODEL clip.wav rain.mp3 --labels "dog bark" rain"""

import argparse

from modeling_clap_student import classify


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("model", help="checkpoint folder or Hub id, of this package or of transformers' CLAP")
parser.add_argument("files", nargs="+", help="wav, flac, ogg or mp3, of any rate and length")
parser.add_argument("--labels", nargs="+", required=True, help="two names or more")
args = parser.parse_args()

for file, probabilities in zip(args.files, classify(args.model, args.files, args.labels), strict=True):
    label = max(probabilities, key=probabilities.get)
    print(f"{file}: {label} ({probabilities[label]:.0%})")
