"""What the error of a captured GPU output is made of: rounded operands, and how the products were added."""
