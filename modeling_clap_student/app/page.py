"""The page: its tabs and its style, and the server that shows it."""

import re
import threading
import webbrowser
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import gradio as gr
import uvicorn
from fastapi import FastAPI
from huggingface_hub.utils import disable_progress_bars

from ..curation.report import page as report
from ..errors import InputError
from ..soundscapes import demo
from ..soundscapes.corpus import TEST_CLASSES
from ..utils.console import say, short_names
from .about import AboutTab
from .arguments import AppArguments
from .classify import ClassifyTab, read_names
from .models import Model, open_models
from .order import OrderTab, has_heard_order
from .pool import Pool, built_in_clips, open_index, open_pool, some_clips
from .review import Review, ReviewTab
from .scratch import without_old_files
from .search import PoolSearch, SearchTab
from .serving import PoolPlayer, Shelf, add_routes, free_port, is_loopback, protect


TITLE = "CLAP Student"
_USUAL_CLIPS = 100  # by which a model learns what clips are like
_HERE = Path(__file__).parent
_FONT = ["-apple-system", "Segoe UI", "Roboto", "Noto Sans", "Ubuntu", "Cantarell", "Liberation Sans", "Arial"]


@dataclass(frozen=True)
class Content:
    """What the page shows.

    Attributes:
        models: the student, and perhaps the teacher.
        labels: class names to begin with.
        pool: None where none was named.
        search, review: None where the pool can't be searched, or not be reviewed; `no_search` and `no_review` say why.
    """

    models: list[Model]
    labels: list[str]
    pool: Pool | None
    search: PoolSearch | None
    review: Review | None
    no_search: str = ""
    no_review: str = ""


def with_demo(args: AppArguments) -> AppArguments:
    """The built-in demo's models and pairs where no model is named.

    Raises:
        InputError: they are not there.
    """
    if args.model is not None:
        return args
    if args.baseline or args.pool:
        raise InputError("--model is missing: name the checkpoint that the page is to show")
    args.model, args.baseline, args.pool = demo_folders()
    if missing := next(
        (folder for folder in (args.model, args.baseline, args.pool) if not Path(folder).exists()), None
    ):
        raise InputError(
            f"no model: {missing} is not there. `make demo` makes it in minutes; or name one with --model"
        )
    say(f"the built-in demo: --model {args.model} --baseline {args.baseline} --pool {args.pool}")
    return args


def demo_folders() -> tuple[str, str, str]:
    """Where the demo keeps its student, its teacher and its pairs."""
    settings = demo.student("ads", 0, "teacher"), demo.teacher(0), demo.curation("ads", 0)
    return tuple(one["output_dir"] for one in settings)


def open_content(args: AppArguments, scratch: Path) -> Content:
    """Opens all that the arguments name, and says what of it can't be shown.

    Args:
        scratch: a folder for what is needed in between.

    Raises:
        InputError: no such model or set, or class names that are none.
    """
    labels = None if args.labels is None else read_names(args.labels)
    pool = None if args.pool is None else open_pool(args.pool)
    models = open_models(args.model, args.baseline or teacher_of(pool, args.model))
    search = review = None
    no_search = "No pool is open: start clap-app with --pool and an Improvement-Set that curate.py made."
    no_review = no_search
    if pool is not None:
        try:
            search, no_search = PoolSearch(pool, open_index(pool, models, args.embedding_store)), ""
        except InputError as error:
            no_search = str(error)
            say(f"no search: {no_search}")
        try:
            review, no_review = Review(pool, number=args.num_verdicts), ""
        except InputError as error:
            no_review = str(error)
            say(f"no review: {no_review}")
    hear_usual(models, pool, search, scratch)
    labels = labels or (pool.labels if pool else None) or list(TEST_CLASSES)
    return Content(models, labels, pool, search, review, no_search, no_review)


def teacher_of(pool: Pool | None, model: str) -> str | None:
    """The folder of the model that made a set, where it is on this machine and not the one on the page already."""
    teacher = None if pool is None else pool.provenance.get("teacher")
    is_here = isinstance(teacher, str) and (Path(teacher) / "config.json").is_file()
    return teacher if is_here and Path(teacher).resolve() != Path(model).resolve() else None


def hear_usual(models: Sequence[Model], pool: Pool | None, search: PoolSearch | None, folder: Path) -> None:
    """Shows each model some clips as they come, by which it tells what is none of the classes."""
    clips = built_in_clips(_USUAL_CLIPS) if pool is None else pool.clips
    clips = clips.select(some_clips(clips, _USUAL_CLIPS))
    for model in models:
        if search is not None and search.index.model is model:
            places = some_clips(search.index.rows, _USUAL_CLIPS)
            model.set_usual(search.index.vectors[places])
        else:
            say(f"{model.role.lower()} {model.name} hears {len(clips)} clips, to tell what is none of the classes")
            model.hear_usual(clips.select_columns(["audio", "audio_id"]), folder)


def build(content: Content, args: AppArguments) -> FastAPI:
    """The server's application."""
    shelf, pool = Shelf(), content.pool
    tables = {} if pool is None else {"clips": pool.clips, "pairs": pool.pairs}
    players = {name: PoolPlayer(table, pool.check) for name, table in tables.items()}
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    protect(app, args.host)
    add_routes(app, shelf, players)
    return gr.mount_gradio_app(
        app, blocks(content, args, shelf), "/", server_name=args.host, footer_links=[], run_history=False,
        allowed_paths=[], max_file_size=f"{args.max_upload_mb}mb", ssr_mode=False, theme=theme(), head=head(),
        show_error=True, enable_monitoring=False, mcp_server=False, pwa=False,
    )  # fmt: skip


def blocks(content: Content, args: AppArguments, shelf: Shelf) -> gr.Blocks:
    """All tabs; that of order where a model has heard it."""
    with gr.Blocks(title=TITLE, analytics_enabled=False) as page:
        short = short_names(model.name for model in content.models)
        names = " beside ".join(short[model.name] for model in content.models)
        refused = '<p class="wrong" id="microphone" role="alert" hidden></p>'
        gr.HTML(f'<h1>{TITLE}</h1><p class="note">{escape(names)}</p>{refused}', elem_id="title")
        with gr.Tabs():
            with gr.Tab("Classify"):
                ClassifyTab(content.models, content.labels, args.max_minutes).build()
            with gr.Tab("Search"):
                SearchTab(content.pool, content.search, content.no_search, shelf).build()
            with gr.Tab("Review"):
                ReviewTab(content.review, content.no_review).build(page)
            if any(map(has_heard_order, content.models)):
                with gr.Tab("Order"):
                    OrderTab(content.models, shelf).build()
            with gr.Tab("About"):
                AboutTab(content.models, content.pool).build()
    return page


def theme() -> gr.themes.Base:
    """gradio's own parts in the page's colours, and in the fonts that the machine has."""
    look = {
        "body_background_fill": "page", "background_fill_primary": "card", "background_fill_secondary": "page",
        "body_text_color": "ink", "body_text_color_subdued": "muted", "block_background_fill": "card",
        "block_border_color": "rule", "block_label_text_color": "muted", "block_title_text_color": "ink",
        "block_info_text_color": "muted", "block_label_background_fill": "card", "border_color_primary": "rule",
        "border_color_accent": "accent", "color_accent": "accent", "color_accent_soft": "tint",
        "input_background_fill": "card",
        "input_border_color": "rule", "input_border_color_focus": "accent", "input_placeholder_color": "muted",
        "button_primary_background_fill": "accent", "button_primary_background_fill_hover": "accent",
        "button_primary_text_color": "card", "button_primary_border_color": "accent",
        "button_primary_border_color_hover": "accent", "button_secondary_background_fill": "card",
        "button_secondary_background_fill_hover": "page", "button_secondary_text_color": "ink",
        "button_secondary_border_color": "rule", "slider_color": "accent", "loader_color": "accent",
        "checkbox_background_color": "card", "checkbox_border_color": "muted",
        "checkbox_background_color_selected": "accent", "checkbox_border_color_selected": "accent",
        "checkbox_label_background_fill": "card", "checkbox_label_background_fill_selected": "tint",
        "checkbox_label_text_color": "ink", "checkbox_label_text_color_selected": "ink",
        "link_text_color": "accent", "link_text_color_hover": "accent", "code_background_fill": "page",
        "table_border_color": "rule", "table_even_background_fill": "card", "table_odd_background_fill": "page",
    }  # fmt: skip
    base = gr.themes.Base(
        primary_hue="violet",
        secondary_hue="violet",
        neutral_hue="stone",
        font=_FONT,
        font_mono=["ui-monospace", "Menlo", "Consolas", "monospace"],
    )
    values = {name + mode: f"var(--{color})" for name, color in look.items() for mode in ("", "_dark")}
    known = {name: value for name, value in values.items() if hasattr(base, name)}
    lines = {f"{part}_border_width{mode}": "1px" for part in ("input", "button") for mode in ("", "_dark")}
    return base.set(**known, **lines, block_shadow="none", block_radius="12px", button_large_radius="10px")


def head() -> str:
    """The report's colours, light and dark, how the page's own parts look, and what keys and players do."""
    css = (Path(report.__file__).parent / "base.css").read_text(encoding="utf-8")
    light, dark = re.findall(r":root \{(.*?)\}", css, re.S)
    own = (_HERE / "page.css").read_text(encoding="utf-8")
    script = (_HERE / "page.js").read_text(encoding="utf-8")
    return f"<style>:root {{{light}}}\n.dark {{{dark}}}\n{own}</style><script>{script}</script>"


def serve(args: AppArguments, scratch: Path) -> None:
    """Opens the page, until it is interrupted.

    Raises:
        InputError: what is named is not there, or the port is taken.
    """
    disable_progress_bars()
    args = with_demo(args)
    port = free_port(args.host, args.port)
    app = build(open_content(args, scratch), args)
    address = f"http://{'127.0.0.1' if args.host == '0.0.0.0' else args.host}:{port}"
    say(f"open {address} (Ctrl-C ends it)")
    if not is_loopback(args.host):
        say(f"everybody who can reach this machine on port {port} can open it, and judge")
    if args.open_browser:
        threading.Timer(1, webbrowser.open, [address]).start()
    with without_old_files(scratch):
        uvicorn.run(app, host=args.host, port=port, log_level="warning", timeout_graceful_shutdown=2)
