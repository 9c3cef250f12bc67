"""meshhw.schema."""
