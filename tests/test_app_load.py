"""The load program in its short form."""

import pytest
from app_world import make_world, unused_port
from conftest import ROOT


@pytest.mark.slow
def test_visitors_side_by_side(tmp_path, monkeypatch):
    """Guards against visitors who wait for ever, a server that fails one of them, and uploads that stay."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    from app_load import measure

    world = make_world(tmp_path)
    flags = ["--model", "student", "--baseline", "teacher", "--pool", "set", "--embedding_store", "embeddings"]
    flags = [flag if flag.startswith("--") else str(world / flag) for flag in flags]
    found = measure(flags, visitors=3, seconds=5, port=unused_port())
    assert found["failures"] == [] and found["files_left"] == []
    assert all(found[what]["count"] >= 3 for what in ("classify", "search", "play"))
    assert max(found["memory_mib"]) < min(found["memory_mib"]) + 300
