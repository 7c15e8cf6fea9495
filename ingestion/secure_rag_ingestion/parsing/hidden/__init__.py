"""Finding what a document conceals, one module for each format.

Detection runs in the confined process, because it reads hostile input. It reports what ends up in the extracted
text without being visible, and what is plainly concealed. When in doubt whether a background is dark, it is not.
"""
