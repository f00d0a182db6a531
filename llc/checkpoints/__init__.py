"""Weights from the files people have: a path in, a `Checkpoint(step, params, metadata, path)` out, no code ever run.

Read are .safetensors, .npz, .eqx (with a template), PyTorch's .pt, .pth and .ckpt, and orbax folders.
"""

from llc.checkpoints.checkpoint import Checkpoint
from llc.checkpoints.read import find, read, read_folder
from llc.checkpoints.recorder import Recorder
from llc.checkpoints.write import save

__all__ = ["Checkpoint", "Recorder", "find", "read", "read_folder", "save"]
