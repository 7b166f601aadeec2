"""Collects the wheels that a machine without a network lacks for `benchmarks/gpu/run.py`, for Linux on x86-64.

    python benchmarks/gpu/wheels.py [--python 3.12] [--have LIST] [--folder benchmarks/gpu/wheelhouse]

LIST is the output of `pip list --format=freeze` there. Without it, that machine is assumed to have torch, torchaudio,
transformers, accelerate, matplotlib, rich, and pandas with pyarrow, and everything that these need. The folder is made
again each time. More than 64 MiB are refused.
"""

import argparse
import re
import shutil
import subprocess
import sys
from email import message_from_bytes
from pathlib import Path
from zipfile import ZipFile

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


HERE = Path(__file__).resolve().parent
MOST_MIB = 64
# glibc versions for which a wheel may be built: pip needs each by name.
PLATFORMS = [f"manylinux_2_{minor}_x86_64" for minor in (34, 31, 28, 27, 26, 24, 17)] + ["manylinux2014_x86_64"]
HAVE = (
    "torch", "torchaudio", "transformers", "accelerate", "huggingface_hub", "tokenizers", "safetensors", "numpy",
    "pandas", "pyarrow", "matplotlib", "pillow", "pyyaml", "rich", "tqdm", "jinja2", "filelock", "fsspec", "aiohttp",
    "xxhash", "requests", "httpx", "packaging", "psutil", "typing-extensions", "regex",
)  # fmt: skip


def requirements() -> list[str]:
    """The package's requirements, from setup.py."""
    text = (HERE.parents[1] / "setup.py").read_text(encoding="utf-8")
    listed = text[text.index("REQUIRES = [") : text.index("]\nONNX")]
    return re.findall(r'^ +"([^"]+)"', listed, re.MULTILINE)


def download(requirement: Requirement, python: str, folder: Path) -> Path:
    """Downloads one wheel, without its requirements.

    Raises:
        SystemExit: pip finds none.
    """
    before = set(folder.glob("*.whl"))
    wanted = f"{requirement.name}{requirement.specifier}"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:",
               "--python-version", python, "--implementation", "cp", *(f"--platform={name}" for name in PLATFORMS),
               "--dest", folder, wanted]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"no wheel of {wanted} for Python {python}: {done.stderr.strip().splitlines()[-1]}")
    (wheel,) = set(folder.glob("*.whl")) - before
    return wheel


def needs(wheel: Path, python: str) -> list[Requirement]:
    """The requirements of a wheel on that machine, without extras."""
    with ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name))
        listed = message_from_bytes(archive.read(name)).get_all("Requires-Dist") or []
    there = {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": "linux", "extra": "",
             "platform_system": "Linux", "platform_machine": "x86_64", "platform_python_implementation": "CPython",
             "implementation_name": "cpython", "os_name": "posix"}  # fmt: skip
    found = map(Requirement, listed)
    return [one for one in found if one.marker is None or one.marker.evaluate(there)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", default="3.12", help="version there")
    parser.add_argument("--have", type=Path, help="what `pip list --format=freeze` prints there")
    parser.add_argument("--folder", type=Path, default=HERE / "wheelhouse")
    args = parser.parse_args()
    listed = args.have.read_text(encoding="utf-8").split() if args.have else HAVE
    have = {canonicalize_name(line.split("==")[0]) for line in listed}
    shutil.rmtree(args.folder, ignore_errors=True)
    args.folder.mkdir(parents=True)
    waiting = list(map(Requirement, requirements()))
    while waiting:
        requirement = waiting.pop(0)
        name = canonicalize_name(requirement.name)
        if name not in have:
            have.add(name)
            waiting += needs(download(requirement, args.python, args.folder), args.python)
    wheels = sorted(args.folder.glob("*.whl"))
    size = sum(wheel.stat().st_size for wheel in wheels) / 2**20
    if size > MOST_MIB:
        sys.exit(f"{len(wheels)} wheels take {size:.1f} MiB, more than {MOST_MIB}: list what is there, --have LIST")
    print(*(wheel.name for wheel in wheels), f"{size:.1f} MiB in {args.folder}", sep="\n")


if __name__ == "__main__":
    main()
