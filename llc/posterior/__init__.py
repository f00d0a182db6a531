"""The tempered posterior around a checkpoint, its gradients and its curvature."""
