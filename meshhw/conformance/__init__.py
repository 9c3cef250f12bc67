"""meshhw.conformance."""
