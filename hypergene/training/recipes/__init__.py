"""Recipes that travel with the package, as TOML."""
