"""How each table of the city's rules follows from the catalogue; build_rules.py writes them.

A row is a mapping of column to cell. A condition that is left out is `-`, any other cell empty.
"""
