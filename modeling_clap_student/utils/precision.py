"""Chooses the number format: bfloat16 is fast on processors with instructions for it, and very slow on others."""

from pathlib import Path

from .console import say


AUTO = "auto"
DTYPES = ("float32", "bfloat16")
DTYPE_HELP = (
    "Number format of the towers. auto: bfloat16 on GPUs that have it (a cosine of 0.999 or more with float32), "
    "float32 on CPUs. bfloat16 is faster on CPUs with instructions for it; on others float32 is used."
)
NO_BFLOAT16 = "this processor has no bfloat16 instructions, and would be many times slower: using float32"

_CPUINFO = Path("/proc/cpuinfo")  # on Linux
_INSTRUCTIONS = {"avx512_bf16", "amx_bf16", "bf16"}  # the last one is Arm's


def supports_bfloat16(device: str = "cpu") -> bool:
    """Whether a device has instructions for bfloat16. A CPU without them emulates it, slowly.

    Args:
        device: its type: "cpu", "cuda", "mps" …
    """
    if device == "cpu" and _CPUINFO.exists():
        return cpuinfo_tells_bfloat16(_CPUINFO.read_text(encoding="utf-8", errors="replace"))
    import torch

    if device == "cpu":
        capabilities = getattr(torch.cpu, "get_capabilities", dict)()
        return any(capabilities.get(name) for name in _INSTRUCTIONS)
    if device in ("cuda", "xpu"):
        return torch.get_device_module(device).is_bf16_supported(including_emulation=False)
    return device == "mps" and torch.backends.mps.is_macos_or_newer(14, 0)


def cpuinfo_tells_bfloat16(text: str) -> bool:
    """Whether the text of Linux's /proc/cpuinfo shows bfloat16: every core must have the instructions."""
    lines = (line.partition(":") for line in text.splitlines())
    cores = [set(value.split()) for name, _, value in lines if name.strip().lower() in ("flags", "features")]
    return bool(cores) and all(core & _INSTRUCTIONS for core in cores)


def usable_dtype(dtype: str, device: str) -> str:
    """The meaning of `--dtype` on a device, float32 or bfloat16. Says so if it is not the requested one."""
    if dtype == AUTO:
        # Never on CPUs: the same command gives the same vectors on all of them.
        return "bfloat16" if device != "cpu" and supports_bfloat16(device) else "float32"
    if dtype == "bfloat16" and not supports_bfloat16(device):
        say(NO_BFLOAT16)
        return "float32"
    return dtype


def settle_dtype(args, device: str) -> None:
    """Replaces `args.dtype` by the format that will be used, if it is auto or if the device lacks it.

    `arguments.json`, the provenance and the store of embeddings record it, so that another machine uses the same.
    """
    args.dtype = usable_dtype(args.dtype, device)
    if args.flags is not None:
        args.flags["dtype"] = args.dtype
