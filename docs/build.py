"""Collects the site's pages in `build/docs`, from README, docs/ and the notebooks, for `make docs`.

The pages can also be read in the repository. Their links are changed to those of the site.
"""

import json
import re
import shutil
from pathlib import Path


ROOT = Path(__file__).parents[1]
PAGES = ROOT / "build" / "docs"
# Place in the repository -> place in the site.
ROOT_PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
}
ASSETS = (".png", ".svg", ".css")
REPORT = ROOT / "outputs" / "soundscapes" / "seed-0" / "improvement_set_ads" / "report.html"  # made by `make demo`
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")


def of_site(text: str, folder: Path) -> str:
    """A page's text with the site's links. A link to a file that is not in the site becomes the file's name."""

    def turned(match: re.Match) -> str:
        mark, words, target = match.groups()
        path, anchor = (*target.split("#", 1), "")[:2]
        if "://" in target or not path:
            return match[0]
        file = (folder / path).resolve()
        name = ROOT_PAGES.get(str(file.relative_to(ROOT)), file.name)
        if file.parent not in (ROOT / "docs", PAGES) and name == file.name:
            return f"{words} (`{file.relative_to(ROOT)}`)" if words != path else f"`{path}`"
        if words.endswith(".md"):  # the page's title says more
            words = title_of(file)
        return f"{mark}[{words}]({name}{'#' * bool(anchor)}{anchor})"

    return _LINK.sub(turned, text)


def title_of(page: Path) -> str:
    """A page's first heading."""
    return next(line[2:] for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("# "))


def of_notebook(path: Path) -> str:
    """A notebook as a page: its texts, its code, and the output."""
    parts = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"])
        parts.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
        parts += filter(None, map(of_output, cell.get("outputs", [])))
    return "\n\n".join(parts) + "\n"


def of_output(output: dict) -> str:
    """What a cell left: a picture, a player of a sound, or text. Other objects have nothing to show."""
    kinds = {"text/plain": output.get("text", "")} | output.get("data", {})
    text, html, image = ("".join(kinds.get(kind, "")).strip("\n") for kind in ("text/plain", "text/html", "image/png"))
    if image:
        return f'<img alt="the cell\'s picture" src="data:image/png;base64,{"".join(image.split())}">'
    if html.lstrip().startswith("<audio"):
        return " ".join(html.split())
    return "" if not text or re.fullmatch(r"<[\w.]+ (object|at 0x\w+)>", text) else f"```text\n{text.rstrip()}\n```"


def bring_together() -> list[str]:
    """Writes all pages again. Returns their names."""
    shutil.rmtree(PAGES, ignore_errors=True)
    PAGES.mkdir(parents=True)
    pages = {name: ROOT / source for source, name in ROOT_PAGES.items()}
    pages |= {source.name: source for source in sorted((ROOT / "docs").glob("*.md"))}
    for name, source in pages.items():
        (PAGES / name).write_text(of_site(source.read_text(encoding="utf-8"), source.parent), encoding="utf-8")
    for notebook in sorted((ROOT / "examples").glob("*.ipynb")):
        (PAGES / f"{notebook.stem}.md").write_text(of_notebook(notebook), encoding="utf-8")
    for file in (ROOT / "docs").iterdir():
        if file.suffix in ASSETS:
            shutil.copy(file, PAGES / file.name)
    if REPORT.exists():
        shutil.copy(REPORT, PAGES / REPORT.name)
        curation = (PAGES / "curation.md").read_text(encoding="utf-8")
        link = f"## The report\n\nThe demo made [this one]({REPORT.name}).\n"
        (PAGES / "curation.md").write_text(curation.replace("## The report\n", link), encoding="utf-8")
    return sorted(page.name for page in PAGES.glob("*.md"))


if __name__ == "__main__":
    print(f"{len(bring_together())} pages in {PAGES.relative_to(ROOT)}")
