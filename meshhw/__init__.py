"""meshhw: the Mathematical Mesh 3.0 with device and administration keys held in hardware."""

__version__ = "0.1.0"
