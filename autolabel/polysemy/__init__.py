"""Senses: which different things a unit fires for, each with a label of its own, and whether each of them is real.

    triggers.py  the words that stand out, each as a vector: the word and its contexts, weighed by attribution
    split.py     are these words one cluster or several? Against random words of the same corpus
    naming.py    a label for each cluster, from the explain split without the other clusters' tokens
    pursuit.py   a <- a - beta c, as long as the gain in R2 on select is above 0; explained mass, n_eff; the confusion of labels and clusters
    proof.py     the labels on test, each on its own cluster, by the rules of any label
    find.py      all of it, for the units of one layer and side

After PRISM (Kopf et al. 2025, arXiv 2506.15538), which clusters the top excerpts of a unit and labels each cluster with an LLM.
Here a cluster must be more than chance, a label must add to those before it, and it must be the best label of its own cluster.
"""
