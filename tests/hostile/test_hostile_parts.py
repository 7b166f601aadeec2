"""Names that end in a part of a file: they lead no further than the file itself, and no number breaks them."""

import pyarrow as pa
import pytest
from conftest import write_tone

from modeling_clap_student.data.corpora import read_corpora
from modeling_clap_student.data.decoding import decode_clip
from modeling_clap_student.data.files import are_outside, is_outside
from modeling_clap_student.data.sources import ExclusionLog
from modeling_clap_student.errors import ClipError, InputError


def test_a_part_hides_no_link(tmp_path):
    """Guards against a name that the check does not resolve, and opening does."""
    secret = write_tone(tmp_path / "secret.wav", 300)
    folder = tmp_path / "folder"
    write_tone(folder / "own.wav", 500)
    (folder / "link.wav").symlink_to(secret)
    names = ["link.wav#t=0,1", "../secret.wav#t=0,1", f"{secret}#t=0,1", "own.wav#t=0,0.5"]
    for name in names:
        path = str(folder / name)
        inside = name.startswith("own")
        assert is_outside(path, (str(folder),)) != inside
        assert are_outside(pa.array([path]), (str(folder),)).tolist() == [not inside]
    lines = ["file_name,caption", *(f'"{name}",a hum' for name in names)]
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n")
    log = ExclusionLog()
    table = read_corpora(str(folder), exclusions=log)
    assert [audio["path"] for audio in table["audio"]] == [f"{folder}/own.wav#t=0,0.5"]
    assert len(decode_clip(table[0]["audio"], 8000)) == 4000 and "3 of 4 rows left out" in log.lines[0]
    (folder / "metadata.csv").write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(InputError, match="none of its 3 files lies in"):
        read_corpora(str(folder))


_NINES = "9" * 400


@pytest.mark.parametrize(
    "part", [f"{_NINES},1", f"0,{_NINES}", "1e300,2e300", "nan,1", "-1,1", "0,1#t=0,1", "999999999,1", "3,2"]
)
def test_numbers_that_are_no_times(tmp_path, part):
    path = write_tone(tmp_path / "x.wav", 300)
    with pytest.raises(ClipError, match=r"no such file|has no part|not decodable"):
        decode_clip({"path": f"{path}#t={part}", "bytes": None}, 8000)
