"""What can be wrong with a lab's data, one question a module."""
