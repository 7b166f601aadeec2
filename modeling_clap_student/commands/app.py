r"""Opens a page to hear, see and judge models: which sounds a clip holds and when, clips of the pool, pairs to review.

After make demo:    clap-app
Your own:           clap-app --model outputs/student --baseline outputs/teacher --pool outputs/pairs
As a Space:         clap-app --model outputs/student --pool outputs/pairs --push_to_hub me/space
"""

import os

from ..app.arguments import AppArguments
from ..app.scratch import temporary_folder
from ..errors import InputError
from .command_line import command, parse_arguments


@command
def main():
    (args,) = parse_arguments((AppArguments,), __doc__)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # otherwise gradio reports its use to its makers
    try:
        import gradio  # noqa: F401
    except ImportError as error:
        raise InputError("the app needs gradio: pip install 'modeling_clap_student[app]'") from error
    with temporary_folder() as scratch:  # what imports gradio comes late, so that --help and wrong flags are fast
        if args.is_space:
            from ..app.space import make_space

            make_space(args, scratch)
        else:
            from ..app.page import serve

            serve(args, scratch)


if __name__ == "__main__":
    main()
