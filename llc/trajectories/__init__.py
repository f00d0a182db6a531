"""The learning coefficient over training: checkpoints in, one file a checkpoint on disk, a curve with errors out."""
