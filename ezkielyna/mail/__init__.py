"""Mail: letters from templates, and the ways by which they leave."""
