"""meshhw.dare."""
