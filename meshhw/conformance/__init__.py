"""What every token promises, asked of a token through the key-store protocols alone."""
