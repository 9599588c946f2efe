"""Charts as accessible inline SVG, made on the server. Pure: numbers in, markup out."""
