"""Converts checkpoints of Microsoft's CLAP 2022, of the paper, and of PANNs' Cnn14.

clap-convert CLAP_weights_2022.pth --output_dir clap_2022
clap-convert Cnn14_mAP=0.431.pth --output_dir cnn14 --push_to_hub me/cnn14
"""

from ..data.sources import check_hub_id
from ..errors import InputError
from ..utils.console import say
from ..utils.outputs import check_new_folder
from .command_line import OneLineParser, command


@command
def main():
    parser = OneLineParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", help="CLAP_weights_2022.pth, a checkpoint of the paper's, or Cnn14_….pth")
    parser.add_argument("--output_dir", required=True, help="Folder of the converted checkpoint; a new one.")
    parser.add_argument(
        "--tokenizer", help="Tokenizer of CLAP's text tower: Hub id or folder. Default: bert-base-uncased."
    )
    parser.add_argument("--push_to_hub", metavar="ID", help="Also upload the checkpoint.")
    parser.add_argument("--private", action="store_true", help="Make the new repository private.")
    parser.add_argument("--license", default="unknown", help="Licence of the weights, for the pushed card.")
    args = parser.parse_args()
    from ..checkpoints import conversion  # imported late, so that --help and errors in flags are fast

    if empty := next(
        (name for name, value in vars(args).items() if isinstance(value, str) and not value.strip()), None
    ):
        raise InputError(f"{empty} is empty: give it a value, or leave it out")
    if args.push_to_hub:
        check_hub_id(args.push_to_hub)
    check_new_folder(args.output_dir)
    if conversion.checkpoint_kind(conversion.read_state_dict(args.checkpoint)) == "panns":
        converted = conversion.convert_panns_checkpoint(args.checkpoint, args.output_dir)
    else:
        converted = conversion.convert_msclap_checkpoint(args.checkpoint, args.output_dir, args.tokenizer)
    rate = f"{converted.mel_sampling_rate} Hz" if converted.mel_sampling_rate else "an unknown rate"
    say(f"mel matrix of {rate} (last bin {converted.last_mel_bin}), kept as found")
    say(f"not needed: {', '.join(converted.ignored)}")
    say(f"saved in {converted.output_dir}")
    if args.push_to_hub:
        from transformers import AutoConfig

        from ..card_clap_student import model_card
        from ..checkpoints.loading import push_folder

        config = AutoConfig.from_pretrained(converted.output_dir)
        config.record["license"] = args.license
        model_card(args.push_to_hub, config).save(converted.output_dir / "README.md")
        say(f"pushed to {push_folder(converted.output_dir, args.push_to_hub, args.private)}")


if __name__ == "__main__":
    main()
