"""meshhw.cli."""
