"""What a framework says."""

from dataclasses import dataclass


@dataclass
class Said:
    """What a framework says: the signal at the image, per layer and place `(activation, signal)`, and how many rectifiers had another rule."""

    image: object
    layers: list
    rectifiers: int = 0
