"""meshhw.threshold."""
