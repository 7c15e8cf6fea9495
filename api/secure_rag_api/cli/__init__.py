"""`secure-rag`, the command line. One file per group of commands; `main.py` joins them."""
