"""meshhw.managers."""
