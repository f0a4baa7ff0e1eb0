"""What a file of annotations is: its format, what it gives, and how to name it in a recipe."""
