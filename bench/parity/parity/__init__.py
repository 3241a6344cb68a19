"""whycam against PyTorch on a zoo of models."""
