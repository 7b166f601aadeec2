"""The tab About: what the models are, how they scored and were made, and how the pairs were."""

from collections.abc import Sequence

import gradio as gr

from ..card_clap_student import model_card
from ..curation.report.page import facts
from .models import Model
from .pictures import dictionary
from .pool import Pool


def card_of(model: Model) -> str:
    """A model's card as Markdown, of what its weights know of themselves."""
    return model_card(model.name, model.config, model.fingerprint).text.strip()


class AboutTab:
    """Builds the tab."""

    def __init__(self, models: Sequence[Model], pool: Pool | None):
        self.models, self.pool = models, pool

    def build(self) -> None:
        """Inside a `gr.Tab`."""
        for number, model in enumerate(self.models):
            with gr.Accordion(f"{model.role}: {model.name}", open=number == 0):
                gr.Markdown(card_of(model), elem_classes="model-card")
        if self.pool is not None:
            made_by = self.pool.provenance
            rows = {"Pairs": f"{len(self.pool.pairs):,}", "Strategy": str(made_by.get("strategy", "–")).upper()}
            with gr.Accordion(f"Pairs: {self.pool.name}", open=False):
                gr.HTML(dictionary(rows | dict(facts(made_by))))
