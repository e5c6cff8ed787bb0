"""The jobs behind the commands, one module each."""
