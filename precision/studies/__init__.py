"""Studies: comparisons that people made by hand, run again at full size, every row of them explained."""
