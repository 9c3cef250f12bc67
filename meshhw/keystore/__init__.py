"""meshhw.keystore."""
