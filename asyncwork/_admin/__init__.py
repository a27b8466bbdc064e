"""How a client finds jobs, shows them and changes them."""
