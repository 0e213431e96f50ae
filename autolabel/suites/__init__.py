"""What `autolabel eval` runs: one file per suite, whose function takes the suite's settings and gives lines of a report."""
