"""The benchmark of growth, in its short form."""

import pytest
from conftest import ROOT


@pytest.mark.slow
def test_every_process_count_finds_the_same(tmp_path, monkeypatch, capfd):
    """Guards against a program that has rotted, shares that overlap or leave clips out, and rows without figures."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    import growth

    monkeypatch.setattr(growth.tempfile, "tempdir", str(tmp_path))
    growth.main(["--embed", "40", "80", "--match", "1000", "2001", "--captions", "50", "--processes", "1", "2"])
    rows = [line.strip("| ").split(" | ") for line in capfd.readouterr().out.splitlines() if line.startswith("| ")]
    figures = {(kind, int(clips), int(count)): found for kind, clips, count, found, *_ in rows[1:]}
    assert len(figures) == 8 and not list(tmp_path.iterdir())
    for kind, clips in (("embedding", 40), ("embedding", 80), ("matching", 1000), ("matching", 2001)):
        found = {int(figures[kind, clips, count]) for count in (1, 2)}
        assert found == {clips} if kind == "embedding" else len(found) == 1 and min(found) > 0
    assert all(float(figure) > 0 for row in rows[1:] for figure in row[5:])
