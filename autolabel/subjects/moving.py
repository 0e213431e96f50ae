"""From the CPU to where the model is, without waiting."""

from __future__ import annotations

import torch
from torch import Tensor


def moved(x: Tensor, device: torch.device) -> Tensor:
    """x on the device; itself on the CPU. To a GPU through pinned memory: an ordinary copy waits until the GPU has done all that it was given."""
    return x.pin_memory().to(device, non_blocking=True) if device.type == "cuda" and x.device.type == "cpu" else x.to(device)
