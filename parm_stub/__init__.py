"""Stage 2, PARM: validates what terminals say, transforms brand dialects into canonical events, and routes them."""
