"""meshhw.lab."""
