"""The arguments of the app: which models and pairs it shows, where it listens, and what it takes from a visitor."""

from dataclasses import dataclass
from typing import ClassVar

from ..data.sources import check_hub_id
from ..utils.arguments import COUNT, POSITIVE, CheckedArguments, Range, flag


@dataclass
class AppArguments(CheckedArguments):
    title: ClassVar[str] = "App"
    ranges: ClassVar[dict[str, Range]] = {
        "port": Range(1, 65535),
        "max_minutes": POSITIVE,
        "max_upload_mb": COUNT,
        "num_verdicts": Range(1, 500),
    }

    model: str | None = flag(None, "Checkpoint folder or Hub id of the student, or of any model.")
    baseline: str | None = flag(
        None, "The teacher, or another model, to show beside it. Default: the one that made --pool, where it is here."
    )
    pool: str | None = flag(
        None, "An Improvement-Set that curate.py made: its pool is searched, its pairs are reviewed."
    )
    embedding_store: str = flag("outputs/embeddings", "Folder where curate.py kept the pool's embeddings.")
    labels: str | None = flag(None, "Class names to begin with, with commas. Default: the labels of --pool.")
    num_verdicts: int = flag(100, "Pairs to judge, of a review that begins.")
    host: str = flag("127.0.0.1", "Who may open the page: this machine; 0.0.0.0: all that can reach it.")
    port: int | None = flag(None, "Default: 7860, or the next one that is free.")
    open_browser: bool = flag(True, "Open the page in the browser.")
    max_minutes: float = flag(60.0, "Longest recording that is classified.")
    max_upload_mb: int = flag(200, "Largest file that may be uploaded, megabytes.")
    output_dir: str | None = flag(None, "Write the app as a Hugging Face Space into this folder, and don't start it.")
    push_to_hub: str | None = flag(None, "Also upload that folder as this Space, someone/space.")
    private: bool = flag(False, "Make the new Space private.")
    dry_run: bool = flag(False, "Only say which files the Space would have.")

    def __post_init__(self):
        super().__post_init__()
        if self.push_to_hub:
            check_hub_id(self.push_to_hub)

    @property
    def is_space(self) -> bool:
        """Whether a Space is to be made, rather than a page opened."""
        return bool(self.output_dir or self.push_to_hub or self.dry_run)
