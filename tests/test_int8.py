"""The benchmark of int8, in its short form."""

import pytest
from conftest import ROOT


def test_int8_is_compared_with_float32(tiny_folder, pool_folder, tmp_path, monkeypatch, capsys):
    """Guards against a program that has rotted, and a comparison of float32 with itself."""
    pytest.importorskip("onnxruntime")
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import int8

    monkeypatch.setattr(int8, "KEPT", 0.2)
    captions = tmp_path / "captions.txt"
    captions.write_text("".join(f"a sound of number {number}\n" for number in range(9)))
    int8.main(["--model", str(tiny_folder), "--clips", str(pool_folder), "--captions", str(captions)])
    lines = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    rows = {
        name: (float(least), float(mean), float(stays.removesuffix(" %"))) for name, least, mean, stays in lines[1:]
    }
    assert list(rows) == ["bfloat16", "int8", "int8, first block in float32"]
    assert all(0.8 < least <= mean <= 1.00001 and 0 <= stays <= 100 for least, mean, stays in rows.values())
    assert rows["int8"][1] < 0.99999
