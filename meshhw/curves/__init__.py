"""meshhw.curves."""
