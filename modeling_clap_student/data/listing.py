"""What can be named: the published corpora and the layouts for one's own files, as a table."""

from rich.markup import escape
from rich.table import Table

from .published import PUBLISHED
from .published.corpus import Corpus


# Layouts of no particular corpus: what they serve as, and how they look.
LAYOUTS = {
    "soundscapes": ("captions, pool, evaluation", "nothing on disk: the package makes its clips itself"),
    "audiofolder": (
        "captions, pool, evaluation",
        "metadata.csv or metadata.jsonl with file_name and caption or label",
    ),
    "csv": (
        "captions, evaluation",
        "a .csv or .jsonl with file_name and caption, or caption_1 …, or a list captions; for evaluation with label",
    ),
    "hub": (
        "captions, pool, evaluation",
        "someone/dataset[@revision], or a folder of Parquet or Arrow files: audio and caption or label",
    ),
    "folder": ("pool, evaluation", "audio files in any folders; for evaluation a folder a class"),
    "stream": (
        "captions to train on, pool",
        "stream[:SPLIT]=… what hub takes, read as it comes: neither downloaded nor copied first",
    ),
    "webdataset": (
        "captions to train on, pool",
        "tar archives: a folder of them, one, x-{000..099}.tar, a glob, an address; captions in x.txt or x.json "
        "behind x.flac",
    ),
}
GRAMMAR = (
    "NAME[:PART,…][=PATH]; a path or a Hub id alone will mostly do. Of csv, audiofolder and hub the columns can be "
    "named: hub:test=someone/dataset#audio=file,caption=text (or label=class)"
)


def serves_as(corpus: Corpus) -> str:
    """What a published corpus can be used for."""
    uses = {"captions": corpus.captioned, "pool": corpus.pool, "evaluation": corpus.labelled}
    return ", ".join(use for use, reader in uses.items() if reader)


def list_corpora() -> Table:
    """A table of everything that `--corpus`, `--captions`, `--audio` and `--task` know by name."""
    table = Table(
        title="Corpora", title_justify="left", caption=escape(GRAMMAR), caption_justify="left", show_lines=True
    )
    table.add_column("name", no_wrap=True)
    table.add_column("serves as", max_width=11)
    table.add_column("layout, parts, size, where it is published", overflow="fold")
    for name, corpus in sorted(PUBLISHED.items()):
        parts = f"parts: {corpus.parts}" if corpus.parts else ""
        about = [corpus.title, corpus.layout, parts, corpus.size, corpus.address]
        table.add_row(name, serves_as(corpus), escape("\n".join(filter(None, about))))
    for name, (uses, layout) in LAYOUTS.items():
        table.add_row(name, uses, escape(layout))
    return table


__all__ = ["GRAMMAR", "LAYOUTS", "list_corpora", "serves_as"]
